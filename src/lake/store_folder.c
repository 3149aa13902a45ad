/*
 * A folder as object store: a key is a path below it.
 *
 * Order of durable steps of a put, on the spool's own file system:
 *   1. the folders of the key are made, each parent synced;
 *   2. the spool file, synced since it was written, is renamed to its key;
 *   3. the key's folder is synced, then the spool folder.
 * Across file systems:
 *   2. the bytes are copied to a temporary name beside the key (".<name>.tmp": no reader takes it
 * for data), checked against the sha256 on the way, synced, renamed; 3. the key's folder is synced.
 * Only then is the put done. A crash in between leaves the file in the spool or at its key.
 *
 * A folder that was there may have been made by a process that died before it synced the parent.
 * Therefore each folder's parents are synced once by every process, whoever made them; `synced`
 * remembers which. Somebody may remove a folder meanwhile: each put looks, and begins anew then.
 */
#include "base/alloc.h"
#include "base/limits.h"
#include "base/map.h"
#include "lake/file_digest.h"
#include "lake/store_open.h"
#include "os/thread.h"

#include <stdio.h>

#define PATH_SIZE     4096
#define CHUNK_BYTES   (256 * KIB)
#define SYNCED_MAX    10000
#define PROBE_NAME    ".ingestor-probe.tmp"
#define DEPTH_MAX     64
#define KEY_MAX_BYTES 1024
#define KEY_PART_MAX  255

struct store_folder {
    struct store store; /* first: the table's functions cast back */
    const struct fs *fs;
    char *folder;
    struct mutex lock;
    struct map synced; /* folder path -> non-NULL; under lock */
};

static struct store_folder *of(struct store *store)
{
    return (struct store_folder *)store;
}

/* No key leaves the folder, whatever it holds. */
static bool key_is_safe(const char *key)
{
    size_t depth = 0;
    for (const char *part = key;; part++) {
        size_t length = strcspn(part, "/");
        bool dots = length <= 2 && strspn(part, ".") >= length;
        if (length == 0 || length > KEY_PART_MAX || dots || ++depth > DEPTH_MAX)
            return false;
        part += length;
        if (*part == '\0')
            return strlen(key) <= KEY_MAX_BYTES;
    }
}

static enum err key_path(const struct store_folder *folder, const char *key, char path[PATH_SIZE],
                         struct diag *diag)
{
    if (!key_is_safe(key))
        return diag_set(diag, ERR_INVALID, "object key '%.200s' is not a path below a folder", key);
    int length = snprintf(path, PATH_SIZE, "%s/%s", folder->folder, key);
    if (length < 0 || length >= PATH_SIZE)
        return diag_set(diag, ERR_TOO_LARGE, "path of object '%.200s' is too long", key);
    return ERR_OK;
}

/* "/" has no parent, "a" has ".". */
static void parent_of(const char *path, char parent[PATH_SIZE])
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;
    if (!slash)
        path = ".";
    else if (length == 0)
        length = 1;
    memcpy(parent, path, length);
    parent[length] = '\0';
}

static bool is_synced(struct store_folder *folder, const char *path)
{
    mutex_lock(&folder->lock);
    bool known = map_get(&folder->synced, bytes_from_text(path)) != NULL;
    mutex_unlock(&folder->lock);
    return known;
}

/* Not to remember is allowed: it costs a sync more. */
static void remember_synced(struct store_folder *folder, const char *path)
{
    mutex_lock(&folder->lock);
    if (folder->synced.live_count >= SYNCED_MAX) {
        map_fini(&folder->synced);
        map_init(&folder->synced);
    }
    enum err err = map_put(&folder->synced, bytes_from_text(path), folder);
    (void)err;
    mutex_unlock(&folder->lock);
}

/* Has the name of each folder of path made durable in the one above, from the top down. Above the
 * store's own parent it is only tried: those folders may not be ours to read. */
static enum err sync_chain(struct store_folder *folder, const char *path, struct diag *diag)
{
    char at[PATH_SIZE];
    char parent[PATH_SIZE];
    size_t length = strlen(path);
    for (size_t i = 1; i <= length; i++) {
        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/')
            continue;
        memcpy(at, path, i);
        at[i] = '\0';
        if (is_synced(folder, at))
            continue;
        parent_of(at, parent);
        bool ours = i >= strlen(folder->folder);
        enum err err = fs_sync_folder(folder->fs, parent, ours ? diag : NULL);
        if (err != ERR_OK && ours)
            return err;
        remember_synced(folder, at);
    }
    return ERR_OK;
}

static void forget_synced(struct store_folder *folder)
{
    mutex_lock(&folder->lock);
    map_fini(&folder->synced);
    map_init(&folder->synced);
    mutex_unlock(&folder->lock);
}

static enum err durable_folder(struct store_folder *folder, const char *path, struct diag *diag)
{
    struct fs_stat stat;
    if (is_synced(folder, path)) {
        if (fs_stat(folder->fs, path, &stat, NULL) != ERR_NOT_FOUND)
            return ERR_OK;
        forget_synced(folder);
    }
    enum err err = fs_make_folders(folder->fs, path, diag);
    return err != ERR_OK ? err : sync_chain(folder, path, diag);
}

static enum err presence_at(struct store_folder *folder, const char *path,
                            const struct store_object *object, enum store_presence *ret_presence,
                            struct diag *diag)
{
    struct fs_stat stat;
    struct file_digest digest;
    struct diag why = {0};
    *ret_presence = STORE_ABSENT;
    enum err err = fs_stat(folder->fs, path, &stat, &why);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return diag_set(diag, err, "%s", why.text[0] ? why.text : err_text(err));
    *ret_presence = STORE_DIFFERENT;
    if (stat.is_folder || stat.size_bytes != object->size_bytes)
        return ERR_OK;
    err = file_digest(folder->fs, path, &digest, diag);
    if (err == ERR_OK && digest.size_bytes == object->size_bytes &&
        memcmp(digest.sha256, object->sha256, SHA256_BYTES) == 0)
        *ret_presence = STORE_SAME;
    return err;
}

/* It may have come there by a put that was cut short before its last syncs. */
static enum err settle(struct store_folder *folder, const char *path, const char *parent,
                       struct diag *diag)
{
    struct fs_file *file = NULL;
    enum err err = durable_folder(folder, parent, diag);
    if (err == ERR_OK)
        err = fs_open(folder->fs, path, FS_WRITE, &file, diag);
    if (err == ERR_OK)
        err = fs_sync(folder->fs, file, diag);
    fs_close(folder->fs, file);
    return err != ERR_OK ? err : fs_sync_folder(folder->fs, parent, diag);
}

static enum err folder_check(struct store *store, const struct store_object *object,
                             enum store_presence *ret_presence, struct diag *diag)
{
    char path[PATH_SIZE];
    char parent[PATH_SIZE];
    enum err err = key_path(of(store), object->key, path, diag);
    if (err == ERR_OK)
        err = presence_at(of(store), path, object, ret_presence, diag);
    if (err != ERR_OK || *ret_presence != STORE_SAME)
        return err;
    parent_of(path, parent);
    return settle(of(store), path, parent, diag);
}

static enum err copy_bytes(const struct store_folder *folder, const struct store_object *object,
                           struct fs_file *from, struct fs_file *to, struct diag *diag)
{
    struct sha256 sha = {0};
    uint8_t digest[SHA256_BYTES];
    uint64_t offset = 0;
    size_t size = CHUNK_BYTES;
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    enum err err = chunk ? sha256_init(&sha) : ERR_NO_MEMORY;
    while (err == ERR_OK && size == CHUNK_BYTES) {
        err = fs_read(folder->fs, from, offset, chunk, CHUNK_BYTES, &size, diag);
        if (err == ERR_OK && size > 0)
            err = fs_write(folder->fs, to, offset, chunk, size, diag);
        sha256_update(&sha, chunk, err == ERR_OK ? size : 0);
        offset += size;
    }
    if (err == ERR_OK)
        err = sha256_final(&sha, digest);
    if (err == ERR_OK &&
        (offset != object->size_bytes || memcmp(digest, object->sha256, sizeof(digest)) != 0))
        err =
            diag_set(diag, ERR_CORRUPT, "spool file %s is not what was landed", object->spool_path);
    sha256_fini(&sha);
    mem_free(chunk);
    return err;
}

/* To a temporary name, synced; on failure nothing stays. */
static enum err copy_to(const struct store_folder *folder, const struct store_object *object,
                        const char *temporary, struct diag *diag)
{
    struct fs_file *from = NULL;
    struct fs_file *to = NULL;
    enum err err = fs_open(folder->fs, object->spool_path, FS_READ, &from, diag);
    if (err == ERR_OK)
        err = fs_open(folder->fs, temporary, FS_WRITE | FS_CREATE | FS_TRUNCATE, &to, diag);
    if (err == ERR_OK)
        err = copy_bytes(folder, object, from, to, diag);
    if (err == ERR_OK)
        err = fs_sync(folder->fs, to, diag);
    fs_close(folder->fs, from);
    fs_close(folder->fs, to);
    if (err != ERR_OK && to) {
        enum err ignored = fs_unlink(folder->fs, temporary, NULL);
        (void)ignored;
    }
    return err;
}

static enum err put_by_copy(struct store_folder *folder, const struct store_object *object,
                            const char *path, const char *parent, struct diag *diag)
{
    char temporary[PATH_SIZE + 8];
    const char *name = strrchr(path, '/') + 1;
    int length = snprintf(temporary, sizeof(temporary), "%s/.%s.tmp", parent, name);
    if (length < 0 || (size_t)length >= sizeof(temporary))
        return ERR_TOO_LARGE;
    enum err err = copy_to(folder, object, temporary, diag);
    if (err == ERR_OK)
        err = fs_rename(folder->fs, temporary, path, diag);
    if (err == ERR_OK)
        err = fs_sync_folder(folder->fs, parent, diag);
    return err;
}

/* *ret_moved false: it cannot be moved (another file system, or a mount that looks like the same),
 * copy it. */
static enum err put_by_rename(struct store_folder *folder, const struct store_object *object,
                              const char *path, const char *parent, bool *ret_moved,
                              struct diag *diag)
{
    struct fs_stat from;
    struct fs_stat to;
    char spool_folder[PATH_SIZE];
    enum err err = fs_stat(folder->fs, object->spool_path, &from, diag);
    if (err == ERR_OK)
        err = fs_stat(folder->fs, parent, &to, diag);
    if (err != ERR_OK)
        return err;
    *ret_moved =
        from.device == to.device && fs_rename(folder->fs, object->spool_path, path, NULL) == ERR_OK;
    if (!*ret_moved)
        return ERR_OK;
    err = fs_sync_folder(folder->fs, parent, diag);
    if (err != ERR_OK)
        return err;
    parent_of(object->spool_path, spool_folder);
    return fs_sync_folder(folder->fs, spool_folder, diag);
}

static enum err folder_put(struct store *store, const struct store_object *object,
                           struct diag *diag)
{
    struct store_folder *folder = of(store);
    char path[PATH_SIZE];
    char parent[PATH_SIZE];
    enum store_presence presence;
    bool moved = false;
    enum err err = key_path(folder, object->key, path, diag);
    if (err != ERR_OK)
        return err;
    parent_of(path, parent);
    err = durable_folder(folder, parent, diag);
    if (err == ERR_OK)
        err = presence_at(folder, path, object, &presence, diag);
    if (err != ERR_OK)
        return err;
    if (presence == STORE_SAME)
        return settle(folder, path, parent, diag);
    if (presence == STORE_DIFFERENT)
        return diag_set(diag, ERR_CONFLICT,
                        "%s exists with other content: was this journal copied?", path);
    err = put_by_rename(folder, object, path, parent, &moved, diag);
    if (err == ERR_OK && !moved)
        err = put_by_copy(folder, object, path, parent, diag);
    return err;
}

static enum err folder_probe(struct store *store, struct diag *diag)
{
    struct store_folder *folder = of(store);
    struct fs_file *file = NULL;
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof(path), "%s/" PROBE_NAME, folder->folder);
    if (length < 0 || (size_t)length >= sizeof(path))
        return diag_set(diag, ERR_INVALID, "the store folder's path is too long");
    enum err err = durable_folder(folder, folder->folder, diag);
    if (err == ERR_OK)
        err = fs_open(folder->fs, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, diag);
    if (err == ERR_OK)
        err = fs_write(folder->fs, file, 0, "probe\n", 6, diag);
    fs_close(folder->fs, file);
    if (file) {
        enum err removed = fs_unlink(folder->fs, path, NULL);
        err = err == ERR_OK ? removed : err;
    }
    if (err != ERR_OK)
        diag_set(diag, err, "cannot write in %s: %s", folder->folder, err_text(err));
    return err;
}

/* ---- list and read ---- */

struct listing {
    struct store_folder *folder;
    const char *path;
    enum err (*on_entry)(void *ctx, const struct store_entry *entry);
    void *ctx;
    size_t count;
};

static enum err on_name(void *ctx, const char *name)
{
    struct listing *listing = ctx;
    char path[PATH_SIZE];
    struct fs_stat stat;
    if (++listing->count > STORE_LIST_MAX)
        return ERR_TOO_MANY;
    int length = snprintf(path, sizeof(path), "%s/%s", listing->path, name);
    if (length < 0 || (size_t)length >= sizeof(path))
        return ERR_OK; /* no key of ours */
    enum err err = fs_stat(listing->folder->fs, path, &stat, NULL);
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    const struct store_entry entry = {.name = bytes_from_text(name),
                                      .is_folder = stat.is_folder,
                                      .size_bytes = stat.size_bytes,
                                      .modified_us = stat.modified_us};
    return listing->on_entry(listing->ctx, &entry);
}

static enum err folder_list(struct store *store, const char *prefix,
                            enum err (*on_entry)(void *ctx, const struct store_entry *entry),
                            void *ctx, struct diag *diag)
{
    char key[PATH_SIZE];
    char path[PATH_SIZE];
    struct fs_stat stat;
    struct diag why = {0};
    size_t length = strlen(prefix);
    if (length == 0 || length >= sizeof(key) || prefix[length - 1] != '/')
        return diag_set(diag, ERR_INVALID, "'%.200s' is no prefix", prefix);
    memcpy(key, prefix, length - 1);
    key[length - 1] = '\0';
    enum err err = key_path(of(store), key, path, diag);
    if (err == ERR_OK)
        err = fs_stat(of(store)->fs, path, &stat, &why);
    if (err == ERR_NOT_FOUND) /* that the store itself is there is another matter */
        return fs_stat(of(store)->fs, of(store)->folder, &stat, diag);
    if (err != ERR_OK && why.text[0])
        return diag_set(diag, err, "%s", why.text);
    struct listing listing = {of(store), path, on_entry, ctx, 0};
    if (err == ERR_OK)
        err = fs_list(of(store)->fs, path, on_name, &listing, diag);
    return err == ERR_OK ? err : diag_set(diag, err, "cannot list %s: %s", path, err_text(err));
}

static enum err folder_read(struct store *store, const char *key, uint64_t offset, void *buffer,
                            size_t size, struct diag *diag)
{
    char path[PATH_SIZE];
    struct fs_file *file = NULL;
    size_t got = 0;
    enum err err = key_path(of(store), key, path, diag);
    if (err == ERR_OK)
        err = fs_open(of(store)->fs, path, FS_READ, &file, diag);
    if (err == ERR_OK)
        err = fs_read(of(store)->fs, file, offset, buffer, size, &got, diag);
    fs_close(of(store)->fs, file);
    if (err == ERR_OK && got < size)
        err = diag_set(diag, ERR_TRUNCATED, "%s ends before byte %llu", path,
                       (unsigned long long)offset + size);
    return err;
}

static void folder_close(struct store *store)
{
    struct store_folder *folder = of(store);
    map_fini(&folder->synced);
    mutex_fini(&folder->lock);
    mem_free(folder->folder);
    mem_free(folder);
}

static const struct store_ops folder_ops = {
    .probe = folder_probe,
    .put = folder_put,
    .check = folder_check,
    .list = folder_list,
    .read = folder_read,
    .close = folder_close,
};

enum err store_folder_new(const struct fs *fs, const char *folder, struct store **ret_store,
                          struct diag *diag)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    if (length == 0 || length > PATH_SIZE - KEY_MAX_BYTES - 64)
        return diag_set(diag, ERR_INVALID, "the store folder's path is empty or too long");
    struct store_folder *made = mem_zalloc(1, sizeof(*made));
    char *copy = mem_strdup(folder); /* length may be less: the slashes at the end */
    if (!made || !copy) {
        mem_free(made);
        mem_free(copy);
        return diag_set(diag, ERR_NO_MEMORY, "out of memory");
    }
    copy[length] = '\0';
    made->store.ops = &folder_ops;
    made->fs = fs;
    made->folder = copy;
    mutex_init(&made->lock);
    map_init(&made->synced);
    snprintf(made->store.description, sizeof(made->store.description), "folder %.240s", copy);
    *ret_store = &made->store;
    return ERR_OK;
}
