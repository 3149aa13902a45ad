#include "sources/ingestion_id.h"

#include <openssl/evp.h>

/* White space of Python's str.strip: length of the character at text if it is one, else 0. */
static size_t space_length(const uint8_t *text, size_t size)
{
    static const char *const wide[] = {
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
        "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
        "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
        "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
    };
    if (size == 0)
        return 0;
    if (text[0] == ' ' || (text[0] >= 0x09 && text[0] <= 0x0d) ||
        (text[0] >= 0x1c && text[0] <= 0x1f))
        return 1;
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        size_t length = strlen(wide[i]);
        if (length <= size && memcmp(text, wide[i], length) == 0)
            return length;
    }
    return 0;
}

static struct bytes strip(struct bytes text)
{
    size_t length;
    while ((length = space_length(text.data, text.size)) > 0) {
        text.data += length;
        text.size -= length;
    }
    for (bool again = true; again && text.size > 0;) {
        again = false;
        for (size_t back = 1; back <= 3 && back <= text.size; back++) {
            if (space_length(text.data + text.size - back, back) == back) {
                text.size -= back;
                again = true;
                break;
            }
        }
    }
    return text;
}

/* Lower-casing matters only where the result is [a-z0-9]: ASCII, and the two characters beyond it
 * whose lower case is an ASCII letter: K (Kelvin, U+212A) and I with a dot (U+0130). */
static uint8_t letter_at(const uint8_t *text, size_t size, size_t *ret_length)
{
    *ret_length = 1;
    uint8_t byte = text[0];
    if (byte >= 'A' && byte <= 'Z')
        return (uint8_t)(byte - 'A' + 'a');
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9'))
        return byte;
    if (size >= 3 && memcmp(text, "\xe2\x84\xaa", 3) == 0) {
        *ret_length = 3;
        return 'k';
    }
    return 0;
}

static void slug_append(struct bytes name, struct buf *out)
{
    bool in_run = false;
    for (size_t i = 0; i < name.size;) {
        size_t length;
        uint8_t letter = letter_at(name.data + i, name.size - i, &length);
        if (name.size - i >= 2 && memcmp(name.data + i, "\xc4\xb0", 2) == 0) {
            buf_text(out, "i_"); /* lower case: i and a combining dot */
            in_run = true;
            i += 2;
            continue;
        }
        if (letter)
            buf_byte(out, letter);
        else if (!in_run)
            buf_byte(out, '_');
        in_run = letter == 0;
        i += length;
    }
}

enum err ingestion_id_make(const char *name, const char *type, struct buf *out)
{
    struct buf key;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    buf_init(&key, 1024 * 1024);
    buf_printf(&key, "%s_%s", name, type);
    enum err err = key.err;
    if (err == ERR_OK && EVP_Digest(key.data, key.size, digest, &digest_size, EVP_md5(), NULL) != 1)
        err = ERR_UNSUPPORTED;
    buf_fini(&key);
    if (err != ERR_OK)
        return err;
    for (int i = 0; i < 4; i++)
        buf_printf(out, "%02x", digest[i]);
    buf_byte(out, '_');
    slug_append(strip(bytes_from_text(name)), out);
    return buf_printf(out, "_%s", type);
}
