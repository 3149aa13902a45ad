#include "api/partition_stream.h"

#include "base/alloc.h"
#include "base/limits.h"

struct partition_size {
    size_t id_size;
    uint64_t entries;
};

static enum err on_dataset(void *ctx, struct bytes id, uint64_t rows, uint64_t bytes)
{
    struct partition_stream *stream = ctx;
    (void)bytes;
    const struct partition_size size = {id.size, rows};
    enum err err = buf_append(&stream->ids, id.data, id.size);
    return err != ERR_OK ? err : buf_append(&stream->sizes, &size, sizeof(size));
}

static void stream_free(void *ctx)
{
    struct partition_stream *stream = ctx;
    json_decref(stream->topics);
    buf_fini(&stream->ids);
    buf_fini(&stream->sizes);
    mem_free(stream);
}

static void stream_partition(struct partition_stream *stream, struct buf *out)
{
    struct partition_size size;
    memcpy(&size, stream->sizes.data + stream->next_index * sizeof(size), sizeof(size));
    struct bytes id = bytes_from(stream->ids.data + stream->next_offset, size.id_size);
    stream->next_index++;
    stream->next_offset += size.id_size;
    size_t before = out->size;
    uint64_t rows_before = stream->row_count;
    enum err err = stream->ops->partition(stream, id, size.entries, out);
    if (err == ERR_OK)
        err = out->err;
    if (err == ERR_OK)
        return;
    stream->row_count = rows_before;
    out->size = before;
    out->err = ERR_OK;
    stream->error = err == ERR_NO_MEMORY
                        ? "Some partitions are missing: the service is out of memory, try again"
                        : "Some partitions are missing: they are too large, ask for fewer rows";
}

static enum err stream_next(void *ctx, struct buf *out, bool *ret_done)
{
    struct partition_stream *stream = ctx;
    size_t count = stream->sizes.size / sizeof(struct partition_size);
    *ret_done = false;
    if (!stream->begun) {
        stream->begun = true;
        return stream->ops->begin(stream, count, out);
    }
    if (stream->next_index < count) {
        stream_partition(stream, out);
        return ERR_OK;
    }
    *ret_done = true;
    return stream->ops->end(stream, out);
}

enum err partition_stream_start(struct recent *recent, const struct partition_stream_ops *ops,
                                uint32_t row_limit, struct api_response *response)
{
    struct partition_stream *stream = mem_zalloc(1, sizeof(*stream));
    if (!stream)
        return ERR_NO_MEMORY;
    stream->ops = ops;
    stream->recent = recent;
    stream->row_limit = row_limit;
    buf_init(&stream->ids, GIB);
    buf_init(&stream->sizes, GIB);
    response->stream = stream;
    response->stream_free = stream_free;
    response->next = stream_next;
    return recent_sizes(recent, on_dataset, stream);
}
