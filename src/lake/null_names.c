#include "lake/null_names.h"

#include "base/alloc.h"
#include "base/hash.h"

#define CAPACITY_FIRST 8

static bool is_known(struct null_names *names, uint64_t hash)
{
    for (size_t i = 0; i < names->count; i++) {
        size_t at = (names->place + i) % names->count;
        if (names->names[at].hash == hash) {
            names->place = at + 1;
            return true;
        }
    }
    return false;
}

static bool has_room(struct null_names *names)
{
    if (names->count < names->capacity)
        return true;
    size_t capacity = names->capacity ? names->capacity * 2 : CAPACITY_FIRST;
    struct null_name *grown =
        capacity <= NULL_NAMES_MAX ? mem_realloc(names->names, capacity * sizeof(*grown)) : NULL;
    if (!grown)
        return false;
    names->names = grown;
    names->capacity = capacity;
    return true;
}

void null_names_note(struct null_names *names, struct bytes name)
{
    uint64_t hash = hash_bytes(name);
    if (name.size > NULL_NAMES_BYTES_MAX || is_known(names, hash) || !has_room(names))
        return;
    uint8_t *text = mem_alloc(name.size + 1);
    if (!text)
        return;
    if (name.size > 0)
        memcpy(text, name.data, name.size);
    names->names[names->count++] = (struct null_name){hash, bytes_from(text, name.size)};
    names->text_bytes += name.size + 1;
}

void null_names_truncate(struct null_names *names, size_t count)
{
    while (names->count > count) {
        struct bytes text = names->names[--names->count].text;
        names->text_bytes -= text.size + 1;
        mem_free((void *)(uintptr_t)text.data);
    }
}

void null_names_fini(struct null_names *names)
{
    null_names_truncate(names, 0);
    mem_free(names->names);
    *names = (struct null_names){0};
}
