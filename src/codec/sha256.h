#pragma once
/*
 * SHA-256 (OpenSSL's, which uses the CPU's instructions), streaming and in one go, HMAC-SHA-256 and
 * hexadecimal text. Pure; any thread; a struct sha256 belongs to one. Fails with ERR_NO_MEMORY
 * only.
 */
#include "base/bytes.h"
#include "base/err.h"

#define SHA256_BYTES    32
#define SHA256_HEX_SIZE 65 /* with the NUL */

struct sha256 {
    void *context;
};

enum err sha256_init(struct sha256 *sha) ERR_MUST_USE;
/* Safe on zeroed and finished ones. */
void sha256_fini(struct sha256 *sha);
/* A failure sticks and comes out of sha256_final. */
void sha256_update(struct sha256 *sha, const void *data, size_t size_bytes);
/* Afterwards only sha256_fini. */
enum err sha256_final(struct sha256 *sha, uint8_t ret_digest[SHA256_BYTES]) ERR_MUST_USE;

enum err sha256_of(struct bytes data, uint8_t ret_digest[SHA256_BYTES]) ERR_MUST_USE;
enum err sha256_hmac(struct bytes key, struct bytes data,
                     uint8_t ret_digest[SHA256_BYTES]) ERR_MUST_USE;

/* Lower-case hexadecimal text with a NUL: 2 * size_bytes + 1 chars. */
void hex_encode(const void *data, size_t size_bytes, char *ret_text);
/* Exactly 2 * size_bytes digits of either case; false otherwise. */
bool hex_decode(const char *text, void *ret_data, size_t size_bytes);
