#include "lake/lake_read.h"

#define TAIL_BYTES  ((uint64_t)64 * 1024)
#define CHUNK_BYTES ((size_t)16 * 1024 * 1024)

static enum err read_part(struct store *store, const struct lake_file *file, uint64_t offset,
                          size_t size, struct buf *out, struct diag *diag)
{
    enum err err = buf_reserve(out, size);
    if (err == ERR_OK)
        err = store->ops->read(store, file->key, offset, out->data + out->size, size, diag);
    if (err == ERR_OK)
        out->size += size;
    return err;
}

static enum err read_tail(struct store *store, const struct lake_file *file, uint64_t size,
                          struct buf *tail, struct diag *diag)
{
    buf_clear(tail);
    if (size == 0)
        return ERR_OK;
    return read_part(store, file, file->size_bytes - size, (size_t)size, tail, diag);
}

enum err lake_read_footer(struct store *store, const struct lake_file *file, struct arena *arena,
                          struct buf *tail, struct parquet_metadata *ret_metadata,
                          struct diag *diag)
{
    uint64_t needed = file->size_bytes < TAIL_BYTES ? file->size_bytes : TAIL_BYTES;
    enum err err = read_tail(store, file, needed, tail, diag);
    if (err != ERR_OK)
        return err;
    err = parquet_metadata_read_tail(ret_metadata, arena, buf_bytes(tail), file->size_bytes,
                                     &needed, diag);
    if (err != ERR_TRUNCATED || needed <= tail->size)
        return err;
    err = read_tail(store, file, needed, tail, diag);
    if (err == ERR_OK)
        err = parquet_metadata_read_tail(ret_metadata, arena, buf_bytes(tail), file->size_bytes,
                                         &needed, diag);
    return err;
}

enum err lake_read_file(struct store *store, const struct lake_file *file, struct buf *bytes,
                        struct diag *diag)
{
    buf_clear(bytes);
    if (file->size_bytes > LAKE_FILE_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "a file of %llu bytes is more than is read at once",
                        (unsigned long long)file->size_bytes);
    enum err err = buf_reserve(bytes, (size_t)file->size_bytes + 1);
    while (err == ERR_OK && bytes->size < file->size_bytes) {
        size_t left = (size_t)file->size_bytes - bytes->size;
        err = read_part(store, file, bytes->size, left < CHUNK_BYTES ? left : CHUNK_BYTES, bytes,
                        diag);
    }
    return err;
}
