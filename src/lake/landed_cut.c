#include "lake/landed_cut.h"

#include "base/alloc.h"

static size_t storage_size(const struct landed *landed)
{
    size_t size = landed->dataset_id.size + landed->source_id.size + 2;
    for (uint32_t i = 0; i < landed->file_count; i++)
        size += landed->files[i].key.size + 1;
    return size;
}

static struct bytes keep(uint8_t **at, struct bytes bytes)
{
    uint8_t *to = *at;
    if (bytes.size > 0)
        memcpy(to, bytes.data, bytes.size);
    to[bytes.size] = 0;
    *at += bytes.size + 1;
    return bytes_from(to, bytes.size);
}

/* The struct, the files, the flags, the texts: in one block. */
struct landed_cut *landed_cut_new(const struct landed *landed)
{
    size_t count = landed->file_count;
    if (count > LANDED_FILES_MAX)
        return NULL;
    size_t files_at = sizeof(struct landed_cut);
    size_t done_at = files_at + count * sizeof(struct landed_file);
    size_t texts_at = done_at + 3 * count * sizeof(bool);
    uint8_t *block = mem_zalloc(1, texts_at + storage_size(landed));
    if (!block)
        return NULL;
    struct landed_cut *cut = (struct landed_cut *)(void *)block;
    uint8_t *at = block + texts_at;
    cut->landed = *landed;
    cut->files = (struct landed_file *)(void *)(block + files_at);
    cut->done = (bool *)(block + done_at);
    cut->tried = cut->done + count;
    cut->elsewhere = cut->tried + count;
    cut->landed.files = cut->files;
    cut->landed.dataset_id = keep(&at, landed->dataset_id);
    cut->landed.source_id = keep(&at, landed->source_id);
    cut->landed.metadata_changes = (struct bytes){0}; /* the journal's own matter */
    for (size_t i = 0; i < count; i++) {
        cut->files[i] = landed->files[i];
        cut->files[i].key = keep(&at, landed->files[i].key);
        cut->size_bytes += landed->files[i].size_bytes;
        cut->rows += landed->files[i].rows;
    }
    return cut;
}

void landed_cut_free(struct landed_cut *cut)
{
    mem_free(cut);
}
