#pragma once
/*
 * An answer made partition by partition, so that a hundred thousand of them need neither the memory
 * nor a stall: each piece is one partition's, appended by on_partition. One API thread.
 */
#include "api/message.h"
#include "pipeline/recent.h"

struct partition_stream;

struct partition_stream_ops {
    /* Before the first partition; count of them. */
    enum err (*begin)(struct partition_stream *stream, size_t count, struct buf *out);
    /* A failure leaves this partition out and is told under "error" at the end. */
    enum err (*partition)(struct partition_stream *stream, struct bytes id, uint64_t entries,
                          struct buf *out);
    enum err (*end)(struct partition_stream *stream, struct buf *out);
};

struct partition_stream {
    const struct partition_stream_ops *ops;
    struct recent *recent;
    uint32_t row_limit;
    uint64_t row_count;     /* kept by the ops */
    size_t partition_count; /* written so far */
    json_t *topics;         /* the ops' */
    const char *error;      /* NULL, or what is missing; static */
    struct buf ids;
    struct buf sizes;
    size_t next_index;
    size_t next_offset;
    bool begun;
};

/* Lists the partitions and hands the stream to the response, which frees it. */
enum err partition_stream_start(struct recent *recent, const struct partition_stream_ops *ops,
                                uint32_t row_limit, struct api_response *response) ERR_MUST_USE;
