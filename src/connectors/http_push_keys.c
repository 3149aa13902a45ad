#include "connectors/http_push_keys.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"

#include <stdio.h>

#define VALUE_VERSION  1
#define VALUE_BYTES    (1 + 8 + 8 + 8 + SHA256_BYTES)
#define RING_FIRST     64
#define STATE_KEY_SIZE 16

static struct bytes digest_bytes(const uint8_t digest[SHA256_BYTES])
{
    return bytes_from(digest, SHA256_BYTES);
}

static struct bytes state_key(uint64_t serial, char room[STATE_KEY_SIZE])
{
    int size = snprintf(room, STATE_KEY_SIZE, "key-%u", (unsigned)(serial % HTTP_PUSH_KEYS_MAX));
    return bytes_from(room, (size_t)size);
}

/* Room for the place of that serial. The map points into the ring, so it is made anew. */
static enum err ring_reserve(struct http_push_keys *keys, uint64_t serial)
{
    size_t place = serial % HTTP_PUSH_KEYS_MAX;
    if (place < keys->capacity)
        return ERR_OK;
    size_t capacity = keys->capacity ? keys->capacity * 2 : RING_FIRST;
    while (capacity <= place)
        capacity *= 2;
    if (capacity > HTTP_PUSH_KEYS_MAX)
        capacity = HTTP_PUSH_KEYS_MAX;
    struct http_push_key *ring = mem_zalloc(capacity, sizeof(*ring));
    if (!ring)
        return ERR_NO_MEMORY;
    struct map by_digest;
    enum err err = ERR_OK;
    map_init(&by_digest);
    for (size_t i = 0; i < keys->capacity && err == ERR_OK; i++) {
        ring[i] = keys->ring[i];
        if (map_get(&keys->by_digest, digest_bytes(ring[i].digest)) == &keys->ring[i])
            err = map_put(&by_digest, digest_bytes(ring[i].digest), &ring[i]);
    }
    if (err != ERR_OK) {
        map_fini(&by_digest);
        mem_free(ring);
        return err;
    }
    map_fini(&keys->by_digest);
    mem_free(keys->ring);
    keys->by_digest = by_digest;
    keys->ring = ring;
    keys->capacity = capacity;
    return ERR_OK;
}

/* Puts the key into the place of that serial, whose own key is forgotten. */
static enum err place(struct http_push_keys *keys, uint64_t serial, const struct http_push_key *key)
{
    enum err err = ring_reserve(keys, serial);
    if (err != ERR_OK)
        return err;
    struct http_push_key *at = &keys->ring[serial % HTTP_PUSH_KEYS_MAX];
    err = map_put(&keys->by_digest, digest_bytes(key->digest), at);
    if (err != ERR_OK)
        return err;
    if (memcmp(at->digest, key->digest, SHA256_BYTES) != 0 &&
        map_get(&keys->by_digest, digest_bytes(at->digest)) == at)
        map_remove(&keys->by_digest, digest_bytes(at->digest));
    *at = *key;
    return ERR_OK;
}

static enum err load_one(struct http_push_keys *keys, struct bytes value)
{
    if (value.size != VALUE_BYTES || value.data[0] != VALUE_VERSION)
        return ERR_OK; /* of another version: not known, so its post may count again */
    uint64_t serial = load_u64(value.data + 1);
    struct http_push_key key = {.time_us = (int64_t)load_u64(value.data + 9),
                                .count = load_u64(value.data + 17)};
    memcpy(key.digest, value.data + 25, SHA256_BYTES);
    enum err err = place(keys, serial, &key);
    if (err == ERR_OK && serial >= keys->serial)
        keys->serial = serial + 1;
    return err;
}

enum err http_push_keys_init(struct http_push_keys *keys, struct ingest_source *source)
{
    *keys = (struct http_push_keys){.source = source};
    map_init(&keys->by_digest);
    struct buf value;
    buf_init(&value, KIB);
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < HTTP_PUSH_KEYS_MAX && err == ERR_OK; i++) {
        char room[STATE_KEY_SIZE];
        buf_clear(&value);
        err = ingest_state_get(source, state_key(i, room), &value);
        if (err == ERR_OK)
            err = load_one(keys, buf_bytes(&value));
    }
    buf_fini(&value);
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* places are filled from the first one on */
}

void http_push_keys_fini(struct http_push_keys *keys)
{
    map_fini(&keys->by_digest);
    mem_free(keys->ring);
    *keys = (struct http_push_keys){0};
}

const struct http_push_key *http_push_keys_find(const struct http_push_keys *keys,
                                                const uint8_t digest[SHA256_BYTES], int64_t now_us)
{
    const struct http_push_key *key = map_get(&keys->by_digest, digest_bytes(digest));
    return key && now_us - key->time_us < HTTP_PUSH_KEY_LIFE_US ? key : NULL;
}

static enum err state_put(struct http_push_keys *keys, const struct http_push_key *key)
{
    char room[STATE_KEY_SIZE];
    uint8_t value[VALUE_BYTES] = {VALUE_VERSION};
    store_u64(value + 1, keys->serial);
    store_u64(value + 9, (uint64_t)key->time_us);
    store_u64(value + 17, key->count);
    memcpy(value + 25, key->digest, SHA256_BYTES);
    return ingest_state_put(keys->source, state_key(keys->serial, room),
                            bytes_from(value, sizeof(value)));
}

enum err http_push_keys_put(struct http_push_keys *keys, const struct http_push_key *key)
{
    enum err err = ring_reserve(keys, keys->serial);
    if (err != ERR_OK)
        return err;
    /* All that place() needs is there before the journal has the key: then nothing can fail. */
    bool known = map_get(&keys->by_digest, digest_bytes(key->digest)) != NULL;
    struct http_push_key *at = &keys->ring[keys->serial % HTTP_PUSH_KEYS_MAX];
    if (!known)
        err = map_put(&keys->by_digest, digest_bytes(key->digest), at);
    if (err == ERR_OK)
        err = state_put(keys, key);
    if (err == ERR_OK)
        return place(keys, keys->serial++, key);
    if (!known)
        map_remove(&keys->by_digest, digest_bytes(key->digest));
    return err;
}

void http_push_keys_sequence(struct http_push_keys *keys, const uint8_t digest[SHA256_BYTES],
                             uint64_t sequence)
{
    struct http_push_key *key = map_get(&keys->by_digest, digest_bytes(digest));
    if (key)
        key->sequence = sequence;
}
