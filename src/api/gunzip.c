#include "api/gunzip.h"

#include "base/alloc.h"

#include <zlib.h>

#define WINDOW_GZIP (16 + MAX_WBITS)

static void *on_alloc(void *ctx, unsigned count, unsigned size)
{
    (void)ctx;
    return mem_zalloc(count, size);
}

static void on_free(void *ctx, void *block)
{
    (void)ctx;
    mem_free(block);
}

/* One piece more; *ret_end after the last of a member. */
static enum err piece(z_stream *stream, struct buf *out, bool (*on_grow)(void *ctx, size_t bytes),
                      void *ctx, bool *ret_end)
{

    uint8_t room[4096];
    stream->next_out = room;
    stream->avail_out = sizeof(room);
    int result = inflate(stream, Z_NO_FLUSH);
    size_t size = sizeof(room) - stream->avail_out;
    *ret_end = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR)
        return ERR_NO_MEMORY;
    if (result != Z_OK && result != Z_STREAM_END)
        return ERR_CORRUPT; /* Z_BUF_ERROR too: the input has ended */
    if (size > 0 && !on_grow(ctx, size))
        return ERR_BUSY;
    return buf_append(out, room, size);
}

enum err gunzip(struct bytes input, struct buf *out, bool (*on_grow)(void *ctx, size_t bytes),
                void *ctx)
{
    z_stream stream = {.zalloc = on_alloc,
                       .zfree = on_free,
                       .next_in = (uint8_t *)(uintptr_t)input.data,
                       .avail_in = (unsigned)input.size};
    if (inflateInit2(&stream, WINDOW_GZIP) != Z_OK)
        return ERR_NO_MEMORY;
    enum err err = ERR_OK;
    bool end = false;
    while (err == ERR_OK && (!end || stream.avail_in > 0)) {
        if (end && inflateReset(&stream) != Z_OK)
            err = ERR_CORRUPT;
        if (err == ERR_OK)
            err = piece(&stream, out, on_grow, ctx, &end);
    }
    inflateEnd(&stream);
    return err;
}
