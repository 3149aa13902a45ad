/*
 * Invariants
 *   S1  A name that ends in ".parquet" holds a whole, synced file: the bytes are synced under
 *       "<name>.tmp" before the rename.
 *   S2  When spool_write has returned ERR_OK, all its names survive a power cut: the folder was
 *       synced after the last rename. Only then may LANDED be written.
 *   S3  Nothing in here decides anything. What counts is what the journal names: a file that no
 * LANDED without UPLOADED names is deleted at recovery, one that is named and missing or different
 * is fetched from its key or made again. S4  A file is removed only after its UPLOADED is durable
 * (or never had a LANDED).
 *
 * Order of a write: for each file: create temporary, write, sync, rename; then sync the folder
 * once.
 *
 * Removal is not synced: a file that comes back after a power cut is deleted by recovery (S3).
 */
#include "lake/spool.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "lake/file_digest.h"

#include <stdatomic.h>
#include <stdio.h>

#define WRITE_BYTES    MIB
#define POSITION_CHARS 25 /* "%016x-%08x" of an object key */
#define HASH_BYTES     16
#define FOLDER_MAX     (SPOOL_PATH_SIZE - 128)
#define ENTRIES_MAX    ((size_t)10 * 1000 * 1000)

struct spool {
    const struct fs *fs;
    char *folder;
    char *damaged;
    _Atomic uint64_t bytes;
};

static char *folder_of(const char *parent, const char *name)
{
    struct buf path;
    buf_init(&path, FOLDER_MAX);
    buf_printf(&path, "%s/%s", parent, name);
    const char *text = path.err == ERR_OK ? buf_cstr(&path) : NULL;
    char *copy = text ? mem_strdup(text) : NULL;
    buf_fini(&path);
    return copy;
}

enum err spool_new(const struct fs *fs, const char *journal_folder, struct spool **ret_spool)
{
    if (strlen(journal_folder) > FOLDER_MAX - 32)
        return ERR_TOO_LARGE;
    struct spool *spool = mem_zalloc(1, sizeof(*spool));
    if (!spool)
        return ERR_NO_MEMORY;
    spool->fs = fs;
    spool->folder = folder_of(journal_folder, "spool");
    spool->damaged = spool->folder ? folder_of(spool->folder, "damaged") : NULL;
    if (!spool->damaged) {
        spool_free(spool);
        return ERR_NO_MEMORY;
    }
    *ret_spool = spool;
    return ERR_OK;
}

void spool_free(struct spool *spool)
{
    if (!spool)
        return;
    mem_free(spool->folder);
    mem_free(spool->damaged);
    mem_free(spool);
}

uint64_t spool_bytes(const struct spool *spool)
{
    return spool ? atomic_load(&spool->bytes) : 0;
}

uint64_t spool_bytes_of(void *ctx)
{
    struct spool **spool = ctx;
    return spool_bytes(*spool);
}

/* Never below zero, whatever came and went behind our back. */
static void subtract_bytes(struct spool *spool, uint64_t size_bytes)
{
    uint64_t before = atomic_load(&spool->bytes);
    uint64_t after;
    do {
        after = before > size_bytes ? before - size_bytes : 0;
    } while (!atomic_compare_exchange_weak(&spool->bytes, &before, after));
}

/* The last 25 characters before ".parquet", when they are a position: a person finds the file. */
static void position_of(struct bytes key, char ret_text[POSITION_CHARS + 1])
{
    static const char suffix[] = ".parquet";
    size_t tail = POSITION_CHARS + sizeof(suffix) - 1;
    memset(ret_text, '0', POSITION_CHARS);
    ret_text[POSITION_CHARS] = '\0';
    if (key.size < tail ||
        memcmp(key.data + key.size - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) != 0)
        return;
    const uint8_t *position = key.data + key.size - tail;
    for (size_t i = 0; i < POSITION_CHARS; i++) {
        bool digit = (position[i] >= '0' && position[i] <= '9') ||
                     (position[i] >= 'a' && position[i] <= 'f');
        if (i == 16 ? position[i] != '-' : !digit)
            return;
    }
    memcpy(ret_text, position, POSITION_CHARS);
}

enum err spool_name(struct bytes key, char ret_name[SPOOL_NAME_SIZE])
{
    char position[POSITION_CHARS + 1];
    char hash[2 * HASH_BYTES + 1];
    uint8_t digest[SHA256_BYTES];
    enum err err = sha256_of(key, digest);
    if (err != ERR_OK)
        return err;
    hex_encode(digest, HASH_BYTES, hash);
    position_of(key, position);
    snprintf(ret_name, SPOOL_NAME_SIZE, "%s-%s.parquet", position, hash);
    return ERR_OK;
}

static enum err join(const char *folder, const char *name, const char *suffix,
                     char ret_path[SPOOL_PATH_SIZE])
{
    int length = snprintf(ret_path, SPOOL_PATH_SIZE, "%s/%s%s", folder, name, suffix);
    return length > 0 && length < SPOOL_PATH_SIZE ? ERR_OK : ERR_TOO_LARGE;
}

enum err spool_path(const struct spool *spool, struct bytes key, char ret_path[SPOOL_PATH_SIZE])
{
    char name[SPOOL_NAME_SIZE];
    enum err err = spool_name(key, name);
    return err != ERR_OK ? err : join(spool->folder, name, "", ret_path);
}

struct counting {
    const struct spool *spool;
    const char *folder;
    uint64_t bytes;
};

static enum err count_name(void *ctx, const char *name)
{
    struct counting *counting = ctx;
    char path[SPOOL_PATH_SIZE];
    struct fs_stat stat;
    if (join(counting->folder, name, "", path) == ERR_OK &&
        fs_stat(counting->spool->fs, path, &stat, NULL) == ERR_OK && !stat.is_folder)
        counting->bytes += stat.size_bytes;
    return ERR_OK;
}

static enum err count_bytes(struct spool *spool, struct diag *diag)
{
    struct counting counting = {spool, spool->folder, 0};
    enum err err = fs_list(spool->fs, spool->folder, count_name, &counting, diag);
    counting.folder = spool->damaged;
    if (err == ERR_OK)
        err = fs_list(spool->fs, spool->damaged, count_name, &counting, diag);
    if (err == ERR_OK)
        atomic_store(&spool->bytes, counting.bytes);
    return err;
}

enum err spool_open(struct spool *spool, struct diag *diag)
{
    char parent[SPOOL_PATH_SIZE];
    size_t length = strlen(spool->folder) - strlen("/spool");
    memcpy(parent, spool->folder, length);
    parent[length] = '\0';
    enum err err = fs_make_folders(spool->fs, spool->damaged, diag);
    /* Whoever made them: a process that died in between may not have synced, and fs_make_folders
     * syncs only what it makes. */
    if (err == ERR_OK)
        err = fs_sync_folder(spool->fs, spool->folder, diag);
    if (err == ERR_OK)
        err = fs_sync_folder(spool->fs, length > 0 ? parent : "/", diag);
    return err != ERR_OK ? err : count_bytes(spool, diag);
}

static void discard(const struct spool *spool, const char *path)
{
    enum err ignored = fs_unlink(spool->fs, path, NULL);
    (void)ignored;
}

/* Written and hashed in one pass, a megabyte at a time while it is in the cache. */
static enum err write_bytes(const struct spool *spool, struct fs_file *file, struct bytes content,
                            uint8_t ret_sha256[SHA256_BYTES], struct diag *diag)
{
    struct sha256 sha = {0};
    enum err err = sha256_init(&sha);
    for (size_t offset = 0; offset < content.size && err == ERR_OK; offset += WRITE_BYTES) {
        size_t left = content.size - offset;
        size_t size = left < WRITE_BYTES ? left : WRITE_BYTES;
        sha256_update(&sha, content.data + offset, size);
        err = fs_write(spool->fs, file, offset, content.data + offset, size, diag);
    }
    if (err == ERR_OK)
        err = sha256_final(&sha, ret_sha256);
    sha256_fini(&sha);
    return err;
}

static enum err write_file(struct spool *spool, struct spool_file *file, struct diag *diag)
{
    char path[SPOOL_PATH_SIZE];
    char temporary[SPOOL_PATH_SIZE];
    char name[SPOOL_NAME_SIZE];
    struct fs_file *handle = NULL;
    enum err err = spool_name(file->key, name);
    if (err == ERR_OK)
        err = join(spool->folder, name, "", path);
    if (err == ERR_OK)
        err = join(spool->folder, name, ".tmp", temporary);
    if (err == ERR_OK)
        err = fs_open(spool->fs, temporary, FS_WRITE | FS_CREATE | FS_TRUNCATE, &handle, diag);
    if (err != ERR_OK)
        return err;
    err = write_bytes(spool, handle, file->content, file->sha256, diag);
    if (err == ERR_OK)
        err = fs_sync(spool->fs, handle, diag);
    fs_close(spool->fs, handle);
    if (err == ERR_OK)
        err = fs_rename(spool->fs, temporary, path, diag);
    if (err != ERR_OK)
        discard(spool, temporary);
    file->size_bytes = file->content.size;
    return err;
}

enum err spool_write(struct spool *spool, struct spool_file *files, size_t count, struct diag *diag)
{
    enum err err = ERR_OK;
    size_t written = 0;
    uint64_t bytes = 0;
    while (written < count && err == ERR_OK) {
        err = write_file(spool, &files[written], diag);
        if (err == ERR_OK)
            bytes += files[written++].size_bytes;
    }
    if (err == ERR_OK && count > 0)
        err = fs_sync_folder(spool->fs, spool->folder, diag);
    if (err == ERR_OK) {
        atomic_fetch_add(&spool->bytes, bytes);
        return ERR_OK;
    }
    for (size_t i = 0; i < written; i++) {
        char path[SPOOL_PATH_SIZE];
        if (spool_path(spool, files[i].key, path) == ERR_OK)
            discard(spool, path);
    }
    return diag_set(diag, err, "cannot write to the spool %s: %s", spool->folder, err_text(err));
}

enum err spool_verify(const struct spool *spool, const struct landed_file *file,
                      uint32_t *ret_crc32c, struct diag *diag)
{
    char path[SPOOL_PATH_SIZE];
    struct file_digest digest;
    enum err err = spool_path(spool, file->key, path);
    if (err == ERR_OK)
        err = file_digest(spool->fs, path, &digest, diag);
    if (err != ERR_OK)
        return err;
    if (digest.size_bytes != file->size_bytes ||
        memcmp(digest.sha256, file->sha256, SHA256_BYTES) != 0)
        return diag_set(diag, ERR_CORRUPT, "spool file %s is not what was landed", path);
    if (ret_crc32c)
        *ret_crc32c = digest.crc32c;
    return ERR_OK;
}

enum err spool_remove(struct spool *spool, const struct landed_file *file, struct diag *diag)
{
    char path[SPOOL_PATH_SIZE];
    enum err err = spool_path(spool, file->key, path);
    if (err != ERR_OK)
        return err;
    struct diag ours = {0};
    err = fs_unlink(spool->fs, path, &ours);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return diag_set(diag, err, "%s", ours.text);
    subtract_bytes(spool, file->size_bytes);
    return ERR_OK;
}

static enum err write_report(const struct spool *spool, const char *path, const char *report,
                             struct diag *diag)
{
    struct fs_file *file = NULL;
    enum err err = fs_open(spool->fs, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, diag);
    if (err == ERR_OK)
        err = fs_write(spool->fs, file, 0, report, strlen(report), diag);
    if (err == ERR_OK)
        err = fs_sync(spool->fs, file, diag);
    fs_close(spool->fs, file);
    return err;
}

enum err spool_quarantine(struct spool *spool, struct bytes key, const char *report,
                          struct diag *diag)
{
    char name[SPOOL_NAME_SIZE];
    char from[SPOOL_PATH_SIZE];
    char to[SPOOL_PATH_SIZE];
    char text[SPOOL_PATH_SIZE];
    enum err err = spool_name(key, name);
    if (err == ERR_OK)
        err = join(spool->folder, name, "", from);
    if (err == ERR_OK)
        err = join(spool->damaged, name, "", to);
    if (err == ERR_OK)
        err = join(spool->damaged, name, ".txt", text);
    if (err == ERR_OK)
        err = write_report(spool, text, report, diag);
    if (err != ERR_OK)
        return err;
    struct diag ours = {0};
    err = fs_rename(spool->fs, from, to, &ours);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return diag_set(diag, err, "%s", ours.text);
    err = fs_sync_folder(spool->fs, spool->damaged, diag);
    return err != ERR_OK ? err : fs_sync_folder(spool->fs, spool->folder, diag);
}

struct cleaning {
    const struct map *keep;
    struct buf names; /* NUL after each */
};

static enum err note_stray(void *ctx, const char *name)
{
    struct cleaning *cleaning = ctx;
    if (strcmp(name, "damaged") == 0 || map_get(cleaning->keep, bytes_from_text(name)))
        return ERR_OK;
    return buf_append(&cleaning->names, name, strlen(name) + 1);
}

/* Names are collected first: a folder that changes while it is listed may skip some. */
enum err spool_clean(struct spool *spool, const struct map *keep, uint64_t *ret_removed,
                     struct diag *diag)
{
    struct cleaning cleaning = {.keep = keep};
    uint64_t removed = 0;
    buf_init(&cleaning.names, ENTRIES_MAX * SPOOL_NAME_SIZE);
    enum err err = fs_list(spool->fs, spool->folder, note_stray, &cleaning, diag);
    for (size_t at = 0; at < cleaning.names.size && err == ERR_OK;) {
        const char *name = (const char *)cleaning.names.data + at;
        char path[SPOOL_PATH_SIZE];
        err = join(spool->folder, name, "", path);
        if (err == ERR_OK)
            err = fs_unlink(spool->fs, path, diag);
        removed += err == ERR_OK;
        at += strlen(name) + 1;
    }
    buf_fini(&cleaning.names);
    if (err == ERR_OK)
        err = count_bytes(spool, diag);
    if (ret_removed)
        *ret_removed = removed;
    return err;
}
