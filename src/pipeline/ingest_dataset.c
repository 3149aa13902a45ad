/* Names of datasets. */
#include "pipeline/ingest.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"

static void dataset_text(struct bytes topic, uint32_t levels, struct buf *out)
{
    uint32_t level = 1;
    for (size_t i = 0; i < topic.size; i++) {
        uint8_t byte = topic.data[i];
        if (byte == '/' && levels > 0 && level++ == levels)
            return;
        if (byte == '/')
            buf_byte(out, '_');
        else if (byte == '#')
            buf_text(out, "wildcard");
        else if (byte == '+')
            buf_text(out, "plus");
        else
            buf_byte(out, byte);
    }
}

enum err ingest_dataset_id(struct bytes id, struct bytes topic, uint32_t levels, struct buf *out)
{
    size_t start = out->size;
    buf_append(out, id.data, id.size);
    buf_byte(out, '_');
    dataset_text(topic, levels, out);
    if (out->err != ERR_OK)
        return out->err;
    size_t size = out->size - start;
    if (size <= LIMIT_DATASET_ID_BYTES)
        return ERR_OK;
    /* 17 bytes of "_" and hash; readers of the lake and of /metrics take the id for a text */
    struct bytes whole = {out->data + start, size};
    uint64_t hash = hash_bytes(whole);
    out->size = start + utf8_cut(whole, LIMIT_DATASET_ID_BYTES - 17);
    return buf_printf(out, "_%016llx", (unsigned long long)hash);
}
