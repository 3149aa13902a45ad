#include "metadata/change_text.h"

#include "codec/base64.h"
#include "codec/compression.h"

#define TEXT_ZSTD_LEVEL 3

enum err change_text_append(struct buf *text, struct bytes encoded)
{
    struct compressor compressor;
    struct buf packed;
    struct buf body;
    struct bytes compressed;
    compressor_init(&compressor, COMPRESSION_ZSTD, TEXT_ZSTD_LEVEL);
    buf_init(&packed, 2 * text->size_max);
    buf_init(&body, text->size_max);
    enum err err = encoded.size > UINT32_MAX ? ERR_TOO_LARGE : ERR_OK;
    if (err == ERR_OK)
        err = compressor_apply(&compressor, encoded, &packed, &compressed);
    if (err == ERR_OK) {
        buf_u32(&body, (uint32_t)encoded.size);
        err = buf_append(&body, compressed.data, compressed.size);
    }
    if (err == ERR_OK)
        err = base64_append(text, buf_bytes(&body));
    buf_fini(&body);
    buf_fini(&packed);
    compressor_fini(&compressor);
    return err;
}

enum err change_text_read(struct bytes text, struct buf *encoded)
{
    struct buf body;
    buf_init(&body, text.size);
    enum err err = base64_decode(&body, text);
    if (err == ERR_OK && body.size < sizeof(uint32_t))
        err = ERR_CORRUPT;
    size_t size = err == ERR_OK ? load_u32(body.data) : 0;
    if (err == ERR_OK && size > encoded->size_max)
        err = ERR_CORRUPT;
    if (err == ERR_OK)
        err = buf_reserve(encoded, size);
    if (err == ERR_OK)
        err = decompress(COMPRESSION_ZSTD,
                         bytes_from(body.data + sizeof(uint32_t), body.size - sizeof(uint32_t)),
                         encoded->data, size);
    if (err == ERR_OK)
        encoded->size = size;
    buf_fini(&body);
    return err;
}
