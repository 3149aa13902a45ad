#include "lake/lake_columns.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "lake/lake_read.h"
#include "lake/object_key.h"

#include <stdlib.h>

#define LEVELS_MAX     4  /* of folders below the dataset's: date, hour, and some to spare */
#define FOLDERS_MAX    24 /* of one folder, the last by name */
#define FOLDER_FILES   2  /* of one folder, the newest */
#define KEY_BYTES      1025
#define METADATA_MAX   ((size_t)256 * 1024 * 1024)
#define PARQUET_FEWEST 12

struct found {
    char key[KEY_BYTES];
    uint64_t size_bytes;
    int64_t modified_us;
};

struct search {
    struct store *store;
    struct diag *diag;
    struct found files[LAKE_FILES_MAX];
    size_t file_count;
    size_t lists;
    bool gave_up; /* there were more folders than were looked into */
};

/* One folder's best: its last sub-folders by name, in order, and its newest files. */
struct level {
    struct search *search;
    const char *prefix;
    char *folders[FOLDERS_MAX];
    size_t folder_count;
    struct found files[FOLDER_FILES];
    size_t file_count;
};

static enum err folder_note(struct level *level, struct bytes name)
{
    char *copy = mem_zalloc(1, name.size + 1);
    if (!copy)
        return ERR_NO_MEMORY;
    memcpy(copy, name.data, name.size);
    size_t at = 0; /* ahead of all that it is greater than */
    while (at < level->folder_count && strcmp(level->folders[at], copy) > 0)
        at++;
    if (level->folder_count == FOLDERS_MAX) {
        level->search->gave_up = true;
        if (at == FOLDERS_MAX) {
            mem_free(copy);
            return ERR_OK;
        }
        mem_free(level->folders[--level->folder_count]);
    }
    memmove(&level->folders[at + 1], &level->folders[at],
            (level->folder_count - at) * sizeof(level->folders[0]));
    level->folders[at] = copy;
    level->folder_count++;
    return ERR_OK;
}

/* Newest first; at the same time, the greater name. */
static int by_time(const void *a, const void *b)
{
    const struct found *left = a;
    const struct found *right = b;
    if (left->modified_us != right->modified_us)
        return left->modified_us < right->modified_us ? 1 : -1;
    return strcmp(right->key, left->key);
}

static bool is_data(struct bytes name)
{
    static const char end[] = ".parquet";
    size_t size = sizeof(end) - 1;
    return name.size > size && name.data[0] != '.' && name.data[0] != '_' &&
           memcmp(name.data + name.size - size, end, size) == 0;
}

static void file_note(struct level *level, const struct store_entry *entry)
{
    struct found file = {.size_bytes = entry->size_bytes, .modified_us = entry->modified_us};
    size_t prefix = strlen(level->prefix);
    if (!is_data(entry->name) || entry->size_bytes < PARQUET_FEWEST ||
        prefix + entry->name.size >= sizeof(file.key))
        return;
    memcpy(file.key, level->prefix, prefix);
    memcpy(file.key + prefix, entry->name.data, entry->name.size);
    if (level->file_count < FOLDER_FILES)
        level->files[level->file_count++] = file;
    else if (by_time(&file, &level->files[FOLDER_FILES - 1]) < 0)
        level->files[FOLDER_FILES - 1] = file;
    qsort(level->files, level->file_count, sizeof(level->files[0]), by_time);
}

static enum err on_entry(void *ctx, const struct store_entry *entry)
{
    struct level *level = ctx;
    if (entry->is_folder)
        return folder_note(level, entry->name);
    file_note(level, entry);
    return ERR_OK;
}

static enum err search_below(struct search *search, const char *prefix, int depth);

static enum err search_folder(struct search *search, const char *prefix, const char *name,
                              int depth)
{
    struct buf text;
    buf_init(&text, KEY_BYTES);
    buf_printf(&text, "%s%s/", prefix, name);
    const char *path = buf_cstr(&text);
    enum err err = ERR_OK; /* a longer one than any key is not ours */
    if (text.err == ERR_NO_MEMORY)
        err = ERR_NO_MEMORY;
    else if (path)
        err = search_below(search, path, depth);
    buf_fini(&text);
    return err;
}

static enum err search_below(struct search *search, const char *prefix, int depth)
{
    if (search->lists >= LAKE_LISTS_MAX) {
        search->gave_up = true;
        return ERR_OK;
    }
    struct level *level = mem_zalloc(1, sizeof(*level));
    if (!level)
        return ERR_NO_MEMORY;
    level->search = search;
    level->prefix = prefix;
    search->lists++;
    enum err err = search->store->ops->list(search->store, prefix, on_entry, level, search->diag);
    for (size_t i = 0; err == ERR_OK && i < level->file_count; i++)
        if (search->file_count < LAKE_FILES_MAX)
            search->files[search->file_count++] = level->files[i];
    for (size_t i = 0; i < level->folder_count; i++) {
        if (err == ERR_OK && depth < LEVELS_MAX && search->file_count < LAKE_FILES_MAX)
            err = search_folder(search, prefix, level->folders[i], depth + 1);
        mem_free(level->folders[i]);
    }
    mem_free(level);
    return err;
}

/* --- footers ------------------------------------------------------------------------------- */

static enum err footer_read(struct search *search, const struct found *file,
                            struct footer_columns *columns, struct diag *diag)
{
    const struct lake_file from = {file->key, file->size_bytes, file->modified_us};
    struct arena arena;
    struct buf tail;
    struct parquet_metadata metadata;
    arena_init(&arena, METADATA_MAX);
    buf_init(&tail, LAKE_FOOTER_BYTES_MAX);
    enum err err = lake_read_footer(search->store, &from, &arena, &tail, &metadata, diag);
    if (err == ERR_OK)
        err = footer_columns_add(columns, &metadata);
    buf_fini(&tail);
    arena_fini(&arena);
    return err;
}

/* A file that is damaged, or gone since it was listed, says nothing; the next newest does. */
static enum err footers_read(struct search *search, struct footer_columns *columns,
                             struct diag *diag)
{
    struct diag unread = {0};
    size_t read = 0;
    for (size_t i = 0; i < search->file_count; i++) {
        struct diag why = {0};
        enum err err = footer_read(search, &search->files[i], columns, &why);
        enum err_class class = err_class(err);
        if (err == ERR_OK)
            read++;
        else if (err != ERR_NOT_FOUND && class != ERR_CLASS_CORRUPT && class != ERR_CLASS_LIMIT)
            return diag_set(diag, err, "%s", why.text[0] ? why.text : err_text(err));
        else
            diag_set(&unread, ERR_CORRUPT, "%.300s: %.180s", search->files[i].key,
                     why.text[0] ? why.text : err_text(err));
    }
    if (read == 0 && search->file_count > 0)
        return diag_set(diag, ERR_CORRUPT, "none of its newest files can be read: %.400s",
                        unread.text);
    return ERR_OK;
}

static enum err search_run(struct search *search, struct bytes dataset_id)
{
    struct buf prefix;
    buf_init(&prefix, KEY_BYTES);
    buf_text(&prefix, "bronze/ingestion_id=");
    enum err err = object_key_encode_id(&prefix, dataset_id);
    buf_byte(&prefix, '/');
    const char *text = buf_cstr(&prefix);
    if (err == ERR_OK)
        err = text ? search_below(search, text, 0) : ERR_NO_MEMORY;
    buf_fini(&prefix);
    if (err == ERR_OK && search->file_count == 0 && search->gave_up)
        err = diag_set(search->diag, ERR_TOO_MANY,
                       "its folders in the lake are many and hold no file");
    return err;
}

enum err lake_columns_read(struct store *store, struct bytes dataset_id,
                           struct footer_columns *columns, struct diag *diag)
{
    struct search *search = mem_zalloc(1, sizeof(*search));
    if (!search)
        return ERR_NO_MEMORY;
    search->store = store;
    search->diag = diag;
    enum err err = search_run(search, dataset_id);
    if (err == ERR_OK) {
        qsort(search->files, search->file_count, sizeof(search->files[0]), by_time);
        err = footers_read(search, columns, diag);
    }
    mem_free(search);
    if (err == ERR_OK)
        footer_columns_finish(columns);
    return err;
}
