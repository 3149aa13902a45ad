/*
 * The estimate is that of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
 * (2017), algorithm 6: without bias over the whole range, and without tables.
 */
#include "metadata/distinct.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>

#define INDEX_BITS   16
#define RANK_MAX     (64 - INDEX_BITS + 1)
#define CAPACITY_MIN 8

enum { KIND_EMPTY, KIND_EXACT, KIND_REGISTERS };

_Static_assert(DISTINCT_REGISTERS == 1 << INDEX_BITS, "a register for each index");

void distinct_init(struct distinct *distinct)
{
    *distinct = (struct distinct){0};
}

void distinct_fini(struct distinct *distinct)
{
    mem_free(distinct->hashes);
    mem_free(distinct->registers);
    *distinct = (struct distinct){0};
}

void distinct_clear(struct distinct *distinct)
{
    distinct_fini(distinct);
}

uint64_t distinct_hash(struct bytes thing)
{
    return hash_bytes(thing);
}

static uint64_t *slot_find(uint64_t *hashes, uint32_t capacity, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (capacity - 1);
    while (hashes[at] != 0 && hashes[at] != hash)
        at = (at + 1) & (capacity - 1);
    return &hashes[at];
}

static enum err hashes_grow(struct distinct *distinct)
{
    uint32_t capacity = distinct->capacity ? distinct->capacity * 2 : CAPACITY_MIN;
    uint64_t *hashes = mem_zalloc(capacity, sizeof(*hashes));
    if (!hashes)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < distinct->capacity; i++)
        if (distinct->hashes[i] != 0)
            *slot_find(hashes, capacity, distinct->hashes[i]) = distinct->hashes[i];
    mem_free(distinct->hashes);
    distinct->hashes = hashes;
    distinct->capacity = capacity;
    return ERR_OK;
}

static bool register_add(uint8_t *registers, uint64_t hash)
{
    uint64_t rest = hash << INDEX_BITS;
    uint8_t rank = rest == 0 ? RANK_MAX : (uint8_t)(__builtin_clzll(rest) + 1);
    uint8_t *at = &registers[hash >> (64 - INDEX_BITS)];
    if (rank <= *at)
        return false;
    *at = rank;
    return true;
}

static enum err registers_begin(struct distinct *distinct)
{
    uint8_t *registers = mem_zalloc(DISTINCT_REGISTERS, 1);
    if (!registers)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < distinct->capacity; i++)
        if (distinct->hashes[i] != 0)
            (void)register_add(registers, distinct->hashes[i]);
    mem_free(distinct->hashes);
    *distinct = (struct distinct){.registers = registers};
    return ERR_OK;
}

bool distinct_has(const struct distinct *distinct, uint64_t hash)
{
    hash += hash == 0;
    return distinct->capacity > 0 && *slot_find(distinct->hashes, distinct->capacity, hash) == hash;
}

enum err distinct_add(struct distinct *distinct, uint64_t hash, bool *ret_new)
{
    enum err err = ERR_OK;
    *ret_new = false;
    if (hash == 0)
        hash = 1;
    if (!distinct->registers) {
        if (distinct->capacity > 0 &&
            *slot_find(distinct->hashes, distinct->capacity, hash) == hash)
            return ERR_OK;
        if (distinct->count >= DISTINCT_EXACT_MAX)
            err = registers_begin(distinct);
        else if ((distinct->count + 1) * 2 > distinct->capacity)
            err = hashes_grow(distinct);
        if (err != ERR_OK)
            return err;
    }
    if (distinct->registers) {
        *ret_new = register_add(distinct->registers, hash);
        return ERR_OK;
    }
    *slot_find(distinct->hashes, distinct->capacity, hash) = hash;
    distinct->count++;
    *ret_new = true;
    return ERR_OK;
}

static enum err registers_merge(struct distinct *into, const uint8_t *registers)
{
    enum err err = into->registers ? ERR_OK : registers_begin(into);
    uint8_t *mine = into->registers;
    if (err != ERR_OK || !mine)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < DISTINCT_REGISTERS; i++)
        if (registers[i] > mine[i])
            mine[i] = registers[i];
    return ERR_OK;
}

enum err distinct_merge(struct distinct *into, const struct distinct *from)
{
    enum err err = ERR_OK;
    bool is_new;
    if (from->registers)
        return registers_merge(into, from->registers);
    for (uint32_t i = 0; err == ERR_OK && i < from->capacity; i++)
        if (from->hashes[i] != 0)
            err = distinct_add(into, from->hashes[i], &is_new);
    return err;
}

bool distinct_equal(const struct distinct *a, const struct distinct *b)
{
    if (a->registers || b->registers)
        return a->registers && b->registers &&
               memcmp(a->registers, b->registers, DISTINCT_REGISTERS) == 0;
    bool same = a->count == b->count;
    for (uint32_t i = 0; i < a->capacity && same; i++)
        same = a->hashes[i] == 0 || distinct_has(b, a->hashes[i]);
    return same;
}

bool distinct_is_empty(const struct distinct *distinct)
{
    return !distinct->registers && distinct->count == 0;
}

static double sigma(double x)
{
    double y = 1, z = x, before;
    if (x == 1)
        return HUGE_VAL;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    double y = 1, z = 1 - x, before;
    if (x == 0 || x == 1)
        return 0;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

uint64_t distinct_count(const struct distinct *distinct)
{
    const double m = DISTINCT_REGISTERS;
    uint32_t counts[RANK_MAX + 1] = {0};
    if (!distinct->registers)
        return distinct->count;
    for (size_t i = 0; i < DISTINCT_REGISTERS; i++)
        counts[distinct->registers[i]]++;
    double z = m * tau(1 - counts[RANK_MAX] / m);
    for (int rank = RANK_MAX - 1; rank >= 1; rank--)
        z = (z + counts[rank]) * 0.5;
    z += m * sigma(counts[0] / m);
    return (uint64_t)llround(m * m / (2 * M_LN2 * z));
}

/* --- encoded ------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void exact_encode(const struct distinct *distinct, struct buf *out)
{
    buf_byte(out, KIND_EXACT);
    buf_u32(out, distinct->count);
    uint64_t *sorted = mem_zalloc(distinct->count, sizeof(*sorted));
    if (!sorted) {
        out->err = out->err ? out->err : ERR_NO_MEMORY;
        return;
    }
    size_t count = 0;
    for (uint32_t i = 0; i < distinct->capacity; i++)
        if (distinct->hashes[i] != 0)
            sorted[count++] = distinct->hashes[i];
    qsort(sorted, count, sizeof(*sorted), by_value);
    for (size_t i = 0; i < count; i++)
        buf_u64(out, sorted[i]);
    mem_free(sorted);
}

void distinct_encode(const struct distinct *distinct, struct buf *out)
{
    if (distinct->registers) {
        buf_byte(out, KIND_REGISTERS);
        buf_append(out, distinct->registers, DISTINCT_REGISTERS);
    } else if (distinct->count > 0) {
        exact_encode(distinct, out);
    } else {
        buf_byte(out, KIND_EMPTY);
    }
}

static enum err exact_decode(struct distinct *distinct, struct bytes body)
{
    bool is_new;
    enum err err = ERR_OK;
    if (body.size < 4 || load_u32(body.data) > DISTINCT_EXACT_MAX ||
        body.size != 4 + 8 * (size_t)load_u32(body.data))
        return ERR_CORRUPT;
    for (size_t at = 4; at < body.size && err == ERR_OK; at += 8)
        err = distinct_add(distinct, load_u64(body.data + at), &is_new);
    return err;
}

static enum err registers_decode(struct distinct *distinct, struct bytes body)
{
    if (body.size != DISTINCT_REGISTERS)
        return ERR_CORRUPT;
    for (size_t i = 0; i < body.size; i++)
        if (body.data[i] > RANK_MAX)
            return ERR_CORRUPT;
    distinct->registers = mem_dup(body.data, body.size);
    return distinct->registers ? ERR_OK : ERR_NO_MEMORY;
}

enum err distinct_decode(struct distinct *distinct, struct bytes encoded)
{
    if (encoded.size == 0)
        return ERR_CORRUPT;
    struct bytes body = bytes_from(encoded.data + 1, encoded.size - 1);
    switch (encoded.data[0]) {
    case KIND_EMPTY:
        return body.size == 0 ? ERR_OK : ERR_CORRUPT;
    case KIND_EXACT:
        return exact_decode(distinct, body);
    case KIND_REGISTERS:
        return registers_decode(distinct, body);
    default:
        return ERR_CORRUPT;
    }
}
