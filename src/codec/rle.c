/*
 * Both encoders walk in groups of eight. A stretch of equal values becomes a run when that is
 * smaller than packing it, all other groups gather into one packed stretch, whose length is known
 * when it is written, so its header is never patched:
 *
 *     run:    varint(count << 1)       value, (width + 7) / 8 bytes
 *     packed: varint(groups << 1 | 1)  groups * width bytes, values from the least significant bit
 *
 * Only the last packed group may be padded.
 */
#include "codec/rle.h"

size_t rle_bytes_max(size_t count, unsigned width)
{
    return (count / 8 + 2) * (width + 10) + 64;
}

unsigned rle_width(uint32_t value)
{
    return value <= 1 ? 1 : 32 - (unsigned)__builtin_clz(value);
}

static uint8_t *put_varint(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

/* A run costs its header, its value and, in the middle of packed groups, a second header of those.
 */
static size_t run_length_min(unsigned width)
{
    size_t length = (32 + 2 * (size_t)width) / width;
    return length < 8 ? 8 : (length + 7) & ~(size_t)7;
}

uint8_t *rle_encode_run(uint8_t *to, uint32_t value, size_t count, unsigned width)
{
    to = put_varint(to, (uint64_t)count << 1);
    store_u32(to, value);
    return to + (width + 7) / 8;
}

/* Eight bytes of width bits each, drawn together pair by pair. */
static uint64_t pack_group(uint64_t group, unsigned width)
{
    group = (group & 0x00ff00ff00ff00ff) | (group & 0xff00ff00ff00ff00) >> (8 - width);
    group = (group & 0x0000ffff0000ffff) | (group & 0xffff0000ffff0000) >> (16 - 2 * width);
    return (group & 0xffffffff) | group >> 32 << 4 * width;
}

static uint64_t load_group(const uint8_t *from, size_t count)
{
    uint64_t group = 0;
    memcpy(&group, from, count < 8 ? count : 8);
    return group;
}

static uint8_t *pack_levels(uint8_t *to, const uint8_t *levels, size_t count, unsigned width)
{
    size_t i = 0;
    if (count == 0)
        return to;
    to = put_varint(to, (count + 7) / 8 << 1 | 1);
    for (; i + 8 <= count; i += 8) {
        store_u64(to, pack_group(load_u64(levels + i), width));
        to += width;
    }
    if (i < count) {
        store_u64(to, pack_group(load_group(levels + i, count - i), width));
        to += width;
    }
    return to;
}

static size_t level_run_length(const uint8_t *levels, size_t count)
{
    const uint64_t broadcast = levels[0] * 0x0101010101010101ULL;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        uint64_t differing = load_u64(levels + i) ^ broadcast;
        if (differing)
            return i + (size_t)__builtin_ctzll(differing) / 8;
    }
    while (i < count && levels[i] == levels[0])
        i++;
    return i;
}

uint8_t *rle_encode_levels(uint8_t *to, const uint8_t *levels, size_t count, unsigned width)
{
    const size_t length_min = run_length_min(width);
    size_t packed_from = 0;
    size_t i = 0;
    while (i < count) {
        size_t length = level_run_length(levels + i, count - i);
        if (length >= length_min || (i + length == count && packed_from == i)) {
            to = pack_levels(to, levels + packed_from, i - packed_from, width);
            to = rle_encode_run(to, levels[i], length, width);
            i += length;
            packed_from = i;
        } else {
            i += length < 8 ? 8 : length & ~(size_t)7;
        }
    }
    return packed_from < count ? pack_levels(to, levels + packed_from, count - packed_from, width)
                               : to;
}

static uint8_t *pack_indices(uint8_t *to, const uint32_t *indices, size_t count, unsigned width)
{
    uint64_t bits = 0;
    unsigned bit_count = 0;
    if (count == 0)
        return to;
    size_t groups = (count + 7) / 8;
    to = put_varint(to, groups << 1 | 1);
    uint8_t *end = to + groups * width;
    for (size_t i = 0; i < count; i++) {
        bits |= (uint64_t)indices[i] << bit_count;
        bit_count += width;
        if (bit_count >= 32) {
            store_u32(to, (uint32_t)bits);
            to += 4;
            bits >>= 32;
            bit_count -= 32;
        }
    }
    /* The padding of the last group: its bytes after those of the last value are zero. */
    store_u64(to, bits);
    if (end > to + 8)
        memset(to + 8, 0, (size_t)(end - to) - 8);
    return end;
}

static size_t index_run_length(const uint32_t *indices, size_t count)
{
    const uint32_t first = indices[0];
    size_t i = 1;
    while (i < count && indices[i] == first)
        i++;
    return i;
}

uint8_t *rle_encode_indices(uint8_t *to, const uint32_t *indices, size_t count, unsigned width)
{
    const size_t length_min = run_length_min(width);
    size_t packed_from = 0;
    size_t i = 0;
    while (i < count) {
        size_t length = index_run_length(indices + i, count - i);
        if (length >= length_min || (i + length == count && packed_from == i)) {
            to = pack_indices(to, indices + packed_from, i - packed_from, width);
            to = rle_encode_run(to, indices[i], length, width);
            i += length;
            packed_from = i;
        } else {
            i += length < 8 ? 8 : length & ~(size_t)7;
        }
    }
    return packed_from < count ? pack_indices(to, indices + packed_from, count - packed_from, width)
                               : to;
}

uint8_t *rle_pack_booleans(uint8_t *to, const uint8_t *booleans, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        *to++ = (uint8_t)(load_u64(booleans + i) * 0x0102040810204080ULL >> 56);
    if (i < count)
        *to++ = (uint8_t)(load_group(booleans + i, count - i) * 0x0102040810204080ULL >> 56);
    return to;
}

struct run {
    bool packed;
    size_t count;        /* values */
    uint32_t value;      /* of a run */
    const uint8_t *bits; /* of packed groups: count * width / 8 bytes */
};

/* Reads one header and what it announces. */
static bool next_run(const uint8_t **at, const uint8_t *end, unsigned width, struct run *ret_run)
{
    uint64_t header = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        if (*at == end || shift > 35)
            return false;
        byte = *(*at)++;
        header |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    ret_run->packed = header & 1;
    size_t size = ret_run->packed ? (size_t)(header >> 1) * width : (width + 7) / 8;
    if ((header >> 1) == 0 || size > (size_t)(end - *at))
        return false;
    ret_run->count = ret_run->packed ? (size_t)(header >> 1) * 8 : (size_t)(header >> 1);
    ret_run->bits = *at;
    ret_run->value = 0;
    if (!ret_run->packed)
        memcpy(&ret_run->value, *at, size);
    *at += size;
    return true;
}

static void unpack(const struct run *run, unsigned width, uint32_t *to, size_t count)
{
    const uint64_t mask = width == 0 ? 0 : UINT64_MAX >> (64 - width);
    const size_t size = run->count / 8 * width;
    for (size_t i = 0; i < count; i++) {
        size_t bit = i * width;
        size_t left = size - bit / 8;
        uint64_t word = 0;
        memcpy(&word, run->bits + bit / 8, left < 8 ? left : 8);
        to[i] = (uint32_t)(word >> bit % 8 & mask);
    }
}

bool rle_decode_indices(struct bytes input, unsigned width, uint32_t value_max,
                        uint32_t *ret_indices, size_t count, size_t *ret_bad_offset)
{
    const uint8_t *at = input.data;
    const uint8_t *end = input.data + input.size;
    for (size_t i = 0; i < count;) {
        struct run run;
        *ret_bad_offset = (size_t)(at - input.data);
        if (width > 32 || !next_run(&at, end, width, &run))
            return false;
        size_t take = run.count < count - i ? run.count : count - i;
        if (run.packed)
            unpack(&run, width, ret_indices + i, take);
        for (size_t k = i; k < i + take; k++) {
            if (!run.packed)
                ret_indices[k] = run.value;
            if (ret_indices[k] > value_max)
                return false;
        }
        i += take;
    }
    return true;
}

/* Through a small window, so that levels need no word each. */
bool rle_decode_levels(struct bytes input, unsigned width, uint8_t value_max, uint8_t *ret_levels,
                       size_t count, size_t *ret_bad_offset)
{
    const uint8_t *at = input.data;
    const uint8_t *end = input.data + input.size;
    for (size_t i = 0; i < count;) {
        struct run run;
        uint32_t window[64];
        *ret_bad_offset = (size_t)(at - input.data);
        if (width > 8 || !next_run(&at, end, width, &run))
            return false;
        size_t take = run.count < count - i ? run.count : count - i;
        if (!run.packed) {
            if (run.value > value_max)
                return false;
            memset(ret_levels + i, (int)run.value, take);
            i += take;
            continue;
        }
        for (size_t done = 0; done < take;) {
            size_t part = take - done < 64 ? take - done : 64;
            unpack(&run, width, window, part);
            for (size_t k = 0; k < part; k++) {
                if (window[k] > value_max)
                    return false;
                ret_levels[i + done + k] = (uint8_t)window[k];
            }
            done += part;
            run.bits += part / 8 * width;
            run.count -= part < 64 ? run.count : 64;
        }
        i += take;
    }
    return true;
}
