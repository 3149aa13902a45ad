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

enum err base64url_append(struct buf *out, struct bytes data)
{
    return append(out, data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                  false);
}
