#include "codec/sha256.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

enum err sha256_init(struct sha256 *sha)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    sha->context = context;
    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1)
        return ERR_OK;
    sha256_fini(sha);
    return ERR_NO_MEMORY;
}

void sha256_fini(struct sha256 *sha)
{
    EVP_MD_CTX_free(sha->context);
    sha->context = NULL;
}

void sha256_update(struct sha256 *sha, const void *data, size_t size_bytes)
{
    if (!sha->context || size_bytes == 0)
        return;
    if (EVP_DigestUpdate(sha->context, data, size_bytes) != 1)
        sha256_fini(sha);
}

enum err sha256_final(struct sha256 *sha, uint8_t ret_digest[SHA256_BYTES])
{
    unsigned size = SHA256_BYTES;
    if (!sha->context || EVP_DigestFinal_ex(sha->context, ret_digest, &size) != 1)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

enum err sha256_of(struct bytes data, uint8_t ret_digest[SHA256_BYTES])
{
    unsigned size = SHA256_BYTES;
    const void *at = data.data ? (const void *)data.data : "";
    return EVP_Digest(at, data.size, ret_digest, &size, EVP_sha256(), NULL) == 1 ? ERR_OK
                                                                                 : ERR_NO_MEMORY;
}

enum err sha256_hmac(struct bytes key, struct bytes data, uint8_t ret_digest[SHA256_BYTES])
{
    unsigned size = SHA256_BYTES;
    const void *key_at = key.data ? (const void *)key.data : "";
    const uint8_t *data_at = data.data ? data.data : (const uint8_t *)"";
    if (!HMAC(EVP_sha256(), key_at, (int)key.size, data_at, data.size, ret_digest, &size))
        return ERR_NO_MEMORY;
    return ERR_OK;
}

void hex_encode(const void *data, size_t size_bytes, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = data;
    for (size_t i = 0; i < size_bytes; i++) {
        ret_text[2 * i] = digits[at[i] >> 4];
        ret_text[2 * i + 1] = digits[at[i] & 15];
    }
    ret_text[2 * size_bytes] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *text, void *ret_data, size_t size_bytes)
{
    uint8_t *to = ret_data;
    for (size_t i = 0; i < size_bytes; i++) {
        int high = hex_digit(text[2 * i]);
        int low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
        if (low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * size_bytes] == '\0';
}
