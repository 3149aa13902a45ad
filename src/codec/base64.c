#include "codec/base64.h"

static enum err append(struct buf *out, struct bytes data, const char alphabet[64], bool padding)
{
    enum err err = buf_reserve(out, data.size / 3 * 4 + 4);
    if (err != ERR_OK)
        return err;
    uint8_t *to = out->data + out->size;
    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t group = (uint32_t)data.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)data.data[i + 1] << 8;
        if (left > 2)
            group |= data.data[i + 2];
        *to++ = (uint8_t)alphabet[group >> 18];
        *to++ = (uint8_t)alphabet[group >> 12 & 63];
        if (left > 1 || padding)
            *to++ = left > 1 ? (uint8_t)alphabet[group >> 6 & 63] : '=';
        if (left > 2 || padding)
            *to++ = left > 2 ? (uint8_t)alphabet[group & 63] : '=';
    }
    out->size = (size_t)(to - out->data);
    return ERR_OK;
}

enum err base64_append(struct buf *out, struct bytes data)
{
    return append(out, data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                  true);
}

/* 64: no digit. */
static uint8_t digit_of(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return (uint8_t)(byte - 'A');
    if (byte >= 'a' && byte <= 'z')
        return (uint8_t)(byte - 'a' + 26);
    if (byte >= '0' && byte <= '9')
        return (uint8_t)(byte - '0' + 52);
    return byte == '+' ? 62 : byte == '/' ? 63 : 64;
}

enum err base64_decode(struct buf *out, struct bytes text)
{
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
        padding++;
    if (text.size % 4 != 0)
        return ERR_CORRUPT;
    if (text.size == 0) /* out may have no memory yet */
        return ERR_OK;
    if (buf_reserve(out, text.size / 4 * 3) != ERR_OK)
        return out->err;
    uint8_t *to = out->data + out->size;
    for (size_t i = 0; i < text.size; i += 4) {
        uint32_t group = 0;
        size_t missing = i + 4 == text.size ? padding : 0;
        for (size_t k = 0; k < 4; k++) {
            uint8_t digit = k < 4 - missing ? digit_of(text.data[i + k]) : 0;
            if (digit > 63)
                return ERR_CORRUPT;
            group = group << 6 | digit;
        }
        if (group & ((1u << 8 * missing) - 1))
            return ERR_CORRUPT;
        *to++ = (uint8_t)(group >> 16);
        if (missing < 2)
            *to++ = (uint8_t)(group >> 8);
        if (missing < 1)
            *to++ = (uint8_t)group;
    }
    out->size = (size_t)(to - out->data);
    return ERR_OK;
}

enum err base64url_append(struct buf *out, struct bytes data)
{
    return append(out, data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                  false);
}
