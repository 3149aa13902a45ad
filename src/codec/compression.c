#define ZSTD_STATIC_LINKING_ONLY /* for the context with our allocator */
#include "codec/compression.h"

#include "base/alloc.h"

#include <limits.h>
#include <lz4.h>
#include <snappy-c.h>
#include <zstd.h>
#include <zstd_errors.h>

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return mem_alloc(size);
}

static void zstd_free(void *opaque, void *address)
{
    (void)opaque;
    mem_free(address);
}

static const ZSTD_customMem zstd_memory = {zstd_alloc, zstd_free, NULL};

void compressor_init(struct compressor *compressor, enum compression compression, int zstd_level)
{
    *compressor = (struct compressor){.compression = compression, .zstd_level = zstd_level};
}

void compressor_fini(struct compressor *compressor)
{
    (void)ZSTD_freeCCtx(compressor->zstd);
    compressor->zstd = NULL;
}

static enum err zstd_prepare(struct compressor *compressor)
{
    if (compressor->zstd)
        return ERR_OK;
    ZSTD_CCtx *zstd = ZSTD_createCCtx_advanced(zstd_memory);
    if (!zstd)
        return ERR_NO_MEMORY;
    if (ZSTD_isError(
            ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, compressor->zstd_level))) {
        (void)ZSTD_freeCCtx(zstd);
        return ERR_INVALID;
    }
    compressor->zstd = zstd;
    return ERR_OK;
}

static enum err apply_zstd(struct compressor *compressor, struct bytes input, struct buf *out)
{
    enum err err = zstd_prepare(compressor);
    if (!err)
        err = buf_reserve(out, ZSTD_compressBound(input.size));
    if (err)
        return err;
    size_t size =
        ZSTD_compress2(compressor->zstd, out->data, out->capacity, input.data, input.size);
    if (ZSTD_isError(size))
        return ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation ? ERR_NO_MEMORY : ERR_BUG;
    out->size = size;
    return ERR_OK;
}

static enum err apply_snappy(struct bytes input, struct buf *out)
{
    size_t size = snappy_max_compressed_length(input.size);
    enum err err = buf_reserve(out, size);
    if (err)
        return err;
    if (snappy_compress((const char *)input.data, input.size, (char *)out->data, &size) !=
        SNAPPY_OK)
        return ERR_BUG;
    out->size = size;
    return ERR_OK;
}

static enum err apply_lz4(struct bytes input, struct buf *out)
{
    if (input.size > LZ4_MAX_INPUT_SIZE)
        return ERR_TOO_LARGE;
    int bound = LZ4_compressBound((int)input.size);
    enum err err = buf_reserve(out, (size_t)bound);
    if (err)
        return err;
    int size =
        LZ4_compress_default((const char *)input.data, (char *)out->data, (int)input.size, bound);
    if (size <= 0)
        return ERR_BUG;
    out->size = (size_t)size;
    return ERR_OK;
}

enum err compressor_apply(struct compressor *compressor, struct bytes input, struct buf *out,
                          struct bytes *ret_output)
{
    enum err err = ERR_OK;
    if (input.data == NULL) /* the libraries want an address */
        input.data = (const uint8_t *)"";
    buf_clear(out);
    switch (compressor->compression) {
    case COMPRESSION_NONE:
        *ret_output = input;
        return ERR_OK;
    case COMPRESSION_SNAPPY:
        err = apply_snappy(input, out);
        break;
    case COMPRESSION_ZSTD:
        err = apply_zstd(compressor, input, out);
        break;
    case COMPRESSION_LZ4_RAW:
        err = apply_lz4(input, out);
        break;
    default:
        return ERR_INVALID;
    }
    *ret_output = buf_bytes(out);
    return err;
}

static enum err decompress_zstd(struct bytes input, uint8_t *output, size_t output_size)
{
    ZSTD_DCtx *zstd = ZSTD_createDCtx_advanced(zstd_memory);
    if (!zstd)
        return ERR_NO_MEMORY;
    size_t size = ZSTD_decompressDCtx(zstd, output, output_size, input.data, input.size);
    (void)ZSTD_freeDCtx(zstd);
    if (ZSTD_isError(size) && ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation)
        return ERR_NO_MEMORY;
    return size == output_size ? ERR_OK : ERR_CORRUPT;
}

static enum err decompress_snappy(struct bytes input, uint8_t *output, size_t output_size)
{
    size_t size;
    const char *data = (const char *)input.data;
    if (snappy_uncompressed_length(data, input.size, &size) != SNAPPY_OK || size != output_size)
        return ERR_CORRUPT;
    return snappy_uncompress(data, input.size, (char *)output, &size) == SNAPPY_OK &&
                   size == output_size
               ? ERR_OK
               : ERR_CORRUPT;
}

enum err decompress(enum compression compression, struct bytes input, uint8_t *output,
                    size_t output_size)
{
    if (input.size > INT_MAX || output_size > INT_MAX)
        return ERR_CORRUPT;
    switch (compression) {
    case COMPRESSION_NONE:
        if (input.size != output_size)
            return ERR_CORRUPT;
        if (output_size > 0)
            memcpy(output, input.data, output_size);
        return ERR_OK;
    case COMPRESSION_SNAPPY:
        return decompress_snappy(input, output, output_size);
    case COMPRESSION_ZSTD:
        return decompress_zstd(input, output, output_size);
    case COMPRESSION_LZ4_RAW:
        return LZ4_decompress_safe((const char *)input.data, (char *)output, (int)input.size,
                                   (int)output_size) == (int)output_size
                   ? ERR_OK
                   : ERR_CORRUPT;
    default:
        return ERR_UNSUPPORTED;
    }
}

/* --- with a dictionary --------------------------------------------------------------------- */

#define PACK_LEVEL 9

static enum err zstd_failed(size_t code, enum err otherwise)
{
    return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? ERR_NO_MEMORY : otherwise;
}

static enum err pack(ZSTD_CCtx *zstd, struct bytes input, struct bytes dictionary, struct buf *out)
{
    size_t code = ZSTD_CCtx_refPrefix(zstd, dictionary.data, dictionary.size);
    if (ZSTD_isError(code))
        return zstd_failed(code, ERR_BUG);
    if (ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, PACK_LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_format, ZSTD_f_zstd1_magicless)))
        return ERR_BUG;
    size_t size = ZSTD_compress2(zstd, out->data + out->size, out->capacity - out->size, input.data,
                                 input.size);
    if (ZSTD_isError(size))
        return zstd_failed(size, ERR_BUG);
    out->size += size;
    return ERR_OK;
}

enum err zstd_pack(struct bytes input, struct bytes dictionary, struct buf *out)
{
    enum err err = buf_reserve(out, ZSTD_compressBound(input.size));
    if (err != ERR_OK)
        return err;
    ZSTD_CCtx *zstd = ZSTD_createCCtx_advanced(zstd_memory);
    if (!zstd)
        return ERR_NO_MEMORY;
    if (input.data == NULL) /* the library wants an address */
        input.data = (const uint8_t *)"";
    err = pack(zstd, input, dictionary, out);
    (void)ZSTD_freeCCtx(zstd);
    return err;
}

static enum err unpack(ZSTD_DCtx *zstd, struct bytes input, struct bytes dictionary,
                       uint8_t *output, size_t output_size)
{
    size_t code = ZSTD_DCtx_refPrefix(zstd, dictionary.data, dictionary.size);
    if (ZSTD_isError(code))
        return zstd_failed(code, ERR_BUG);
    if (ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_format, ZSTD_f_zstd1_magicless)))
        return ERR_BUG;
    size_t size = ZSTD_decompressDCtx(zstd, output, output_size, input.data, input.size);
    if (ZSTD_isError(size))
        return zstd_failed(size, ERR_CORRUPT);
    return size == output_size ? ERR_OK : ERR_CORRUPT;
}

enum err zstd_unpack(struct bytes input, struct bytes dictionary, struct buf *out)
{
    ZSTD_frameHeader header;
    if (input.size == 0 ||
        ZSTD_getFrameHeader_advanced(&header, input.data, input.size, ZSTD_f_zstd1_magicless) != 0)
        return ERR_CORRUPT;
    if (header.frameContentSize > out->size_max - out->size) /* one that is not known, too */
        return ERR_CORRUPT;
    size_t size = (size_t)header.frameContentSize;
    enum err err = buf_reserve(out, size > 0 ? size : 1);
    if (err != ERR_OK)
        return err;
    ZSTD_DCtx *zstd = ZSTD_createDCtx_advanced(zstd_memory);
    if (!zstd)
        return ERR_NO_MEMORY;
    err = unpack(zstd, input, dictionary, out->data + out->size, size);
    (void)ZSTD_freeDCtx(zstd);
    if (err == ERR_OK)
        out->size += size;
    return err;
}
