#include "lake/lake_walk.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <stdlib.h>

struct entry {
    char *name;
    bool is_folder;
    uint64_t size_bytes;
    int64_t modified_us;
};

struct folder {
    struct entry *entries;
    size_t count;
    size_t capacity;
};

struct walk {
    struct store *store;
    enum err (*on_file)(void *ctx, const struct lake_file *file);
    void *ctx;
    struct diag *diag;
};

static bool is_data(const struct store_entry *entry)
{
    static const char end[] = ".parquet";
    const size_t size = sizeof(end) - 1;
    struct bytes name = entry->name;
    if (name.size == 0 || name.data[0] == '.')
        return false;
    if (entry->is_folder)
        return name.data[0] != '_' || bytes_equal_text(name, LAKE_DEAD_LETTERS);
    return name.data[0] != '_' && name.size > size &&
           memcmp(name.data + name.size - size, end, size) == 0;
}

static enum err folder_room(struct folder *folder)
{
    if (folder->count < folder->capacity)
        return ERR_OK;
    size_t capacity = folder->capacity ? folder->capacity * 2 : 16;
    struct entry *grown = mem_realloc(folder->entries, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    folder->entries = grown;
    folder->capacity = capacity;
    return ERR_OK;
}

static enum err on_entry(void *ctx, const struct store_entry *entry)
{
    struct folder *folder = ctx;
    if (!is_data(entry))
        return ERR_OK;
    enum err err = folder_room(folder);
    char *name = err == ERR_OK ? mem_zalloc(1, entry->name.size + 1) : NULL;
    if (!name)
        return ERR_NO_MEMORY;
    memcpy(name, entry->name.data, entry->name.size);
    folder->entries[folder->count++] =
        (struct entry){name, entry->is_folder, entry->size_bytes, entry->modified_us};
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    return strcmp(left->name, right->name);
}

static void folder_fini(struct folder *folder)
{
    for (size_t i = 0; i < folder->count; i++)
        mem_free(folder->entries[i].name);
    mem_free(folder->entries);
}

static enum err walk_below(const struct walk *walk, const char *prefix, int depth);

static enum err walk_entry(const struct walk *walk, const char *prefix, const struct entry *entry,
                           int depth)
{
    struct buf path;
    buf_init(&path, LAKE_KEY_BYTES_MAX);
    buf_printf(&path, "%s%s%s", prefix, entry->name, entry->is_folder ? "/" : "");
    const char *text = buf_cstr(&path);
    enum err err = ERR_OK; /* a longer one than any key is not ours */
    if (path.err == ERR_NO_MEMORY)
        err = ERR_NO_MEMORY;
    else if (text && entry->is_folder)
        err = depth < LAKE_WALK_DEPTH_MAX ? walk_below(walk, text, depth + 1) : ERR_OK;
    else if (text)
        err = walk->on_file(walk->ctx,
                            &(struct lake_file){text, entry->size_bytes, entry->modified_us});
    buf_fini(&path);
    return err;
}

static enum err walk_below(const struct walk *walk, const char *prefix, int depth)
{
    struct folder folder = {0};
    enum err err = walk->store->ops->list(walk->store, prefix, on_entry, &folder, walk->diag);
    if (err == ERR_OK && folder.count > 1)
        qsort(folder.entries, folder.count, sizeof(*folder.entries), by_name);
    for (size_t i = 0; i < folder.count && err == ERR_OK; i++)
        err = walk_entry(walk, prefix, &folder.entries[i], depth);
    folder_fini(&folder);
    return err;
}

enum err lake_walk(struct store *store, const char *prefix,
                   enum err (*on_file)(void *ctx, const struct lake_file *file), void *ctx,
                   struct diag *diag)
{
    const struct walk walk = {store, on_file, ctx, diag};
    return walk_below(&walk, prefix, 0);
}
