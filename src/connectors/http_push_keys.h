#pragma once
/*
 * The Idempotency-Keys that a source has taken, kept in its journalled state, so that a repeated
 * post is known after a restart too: the last HTTP_PUSH_KEYS_MAX of them, for a day. Each is one
 * state ("key-0" and so on, a ring), written in the atomic group of its records. I/O loop's thread.
 *
 *   value   version u8 | serial u64 | time_us i64 | count u64 | SHA-256 of the key, 32 bytes
 */
#include "base/map.h"
#include "codec/sha256.h"
#include "pipeline/ingest.h"

#define HTTP_PUSH_KEYS_MAX    10000
#define HTTP_PUSH_KEY_LIFE_US (24 * 3600 * US_PER_S)

struct http_push_key {
    uint8_t digest[SHA256_BYTES];
    uint64_t count;    /* records */
    uint64_t sequence; /* of its last record; 0: from before this start, so durable */
    int64_t time_us;
};

struct http_push_keys {
    struct ingest_source *source;
    struct map by_digest;
    struct http_push_key *ring; /* grows to HTTP_PUSH_KEYS_MAX */
    size_t capacity;
    uint64_t serial; /* of the next one; its place is serial % HTTP_PUSH_KEYS_MAX */
};

/* Reads what the journal has. On failure fini all the same. */
enum err http_push_keys_init(struct http_push_keys *keys,
                             struct ingest_source *source) ERR_MUST_USE;
void http_push_keys_fini(struct http_push_keys *keys);
/* NULL: not known, or too old. */
const struct http_push_key *http_push_keys_find(const struct http_push_keys *keys,
                                                const uint8_t digest[SHA256_BYTES], int64_t now_us);
/* Remembers it, in the open group too. On failure nothing is remembered: call again. */
enum err http_push_keys_put(struct http_push_keys *keys,
                            const struct http_push_key *key) ERR_MUST_USE;
/* The same key's last sequence, once it is known. */
void http_push_keys_sequence(struct http_push_keys *keys, const uint8_t digest[SHA256_BYTES],
                             uint64_t sequence);
