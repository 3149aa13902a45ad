#pragma once
/*
 * The only seam to the file system. Everything that the promise rests on (journal, spool, folder
 * store) goes through a struct fs, so that a test can put a simulated disk behind it that loses or
 * tears what was not synced.
 *
 * Any thread; a struct fs_file is used by one thread at a time. All calls may block. Errors are
 * translated from errno, diag says path and operation. Reads and writes are whole: a short write is
 * an error, a short read is the end of the file.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct fs_file; /* made by the implementation; closed with fs_close */

enum fs_open_flags {
    FS_READ = 0,
    FS_WRITE = 1,     /* read and write */
    FS_CREATE = 2,    /* make it if missing (0666 under the umask) */
    FS_EXCLUSIVE = 4, /* with FS_CREATE: ERR_EXISTS if it is there */
    FS_TRUNCATE = 8,
    FS_DIRECT = 16, /* bypass the page cache where the file system can, else buffered */
};

struct fs_stat {
    uint64_t size_bytes;
    bool is_folder;
    uint64_t device;     /* the same number: the same file system, rename works */
    int64_t modified_us; /* Unix time; 0 where it is not known */
};

struct fs_ops {
    enum err (*open)(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                     struct diag *diag);
    void (*close)(void *ctx, struct fs_file *file);
    /* *ret_size less than size only at the end of the file. With FS_DIRECT: offset, size and
     * buffer aligned to 4096. */
    enum err (*read)(void *ctx, struct fs_file *file, uint64_t offset, void *buffer, size_t size,
                     size_t *ret_size, struct diag *diag);
    enum err (*write)(void *ctx, struct fs_file *file, uint64_t offset, const void *data,
                      size_t size, struct diag *diag);
    /* fdatasync: data and the size are durable afterwards. After an error nothing is known. */
    enum err (*sync)(void *ctx, struct fs_file *file, struct diag *diag);
    /* Reserves and zero-fills the space up to size_bytes, so that later writes cannot run out of
     * room. */
    enum err (*allocate)(void *ctx, struct fs_file *file, uint64_t size_bytes, struct diag *diag);
    enum err (*truncate)(void *ctx, struct fs_file *file, uint64_t size_bytes, struct diag *diag);
    enum err (*stat)(void *ctx, const char *path, struct fs_stat *ret_stat, struct diag *diag);
    enum err (*rename)(void *ctx, const char *from, const char *to, struct diag *diag);
    enum err (*unlink)(void *ctx, const char *path, struct diag *diag);
    enum err (*make_folder)(void *ctx, const char *path, struct diag *diag); /* existing is fine */
    /* fsync of a folder: names made, renamed and removed in it are durable afterwards. */
    enum err (*sync_folder)(void *ctx, const char *path, struct diag *diag);
    /* Calls on_name for each entry but . and .., in any order; stops at an error from it. */
    enum err (*list)(void *ctx, const char *path, enum err (*on_name)(void *ctx, const char *name),
                     void *name_ctx, struct diag *diag);
    /* Takes an exclusive lock on the file for as long as it is open; ERR_BUSY if another process
     * holds it. */
    enum err (*lock)(void *ctx, struct fs_file *file, struct diag *diag);
    enum err (*free_space)(void *ctx, const char *path, uint64_t *ret_bytes, struct diag *diag);
};

struct fs {
    const struct fs_ops *ops;
    void *ctx;
};

/* The kernel's file systems. */
extern const struct fs fs_posix;

/* Thin calls through the table: fs_open(fs, path, flags, &file, diag) … */
enum err fs_open(const struct fs *fs, const char *path, int flags, struct fs_file **ret_file,
                 struct diag *diag) ERR_MUST_USE;
void fs_close(const struct fs *fs, struct fs_file *file); /* NULL is fine */
enum err fs_read(const struct fs *fs, struct fs_file *file, uint64_t offset, void *buffer,
                 size_t size, size_t *ret_size, struct diag *diag) ERR_MUST_USE;
enum err fs_write(const struct fs *fs, struct fs_file *file, uint64_t offset, const void *data,
                  size_t size, struct diag *diag) ERR_MUST_USE;
enum err fs_sync(const struct fs *fs, struct fs_file *file, struct diag *diag) ERR_MUST_USE;
enum err fs_allocate(const struct fs *fs, struct fs_file *file, uint64_t size_bytes,
                     struct diag *diag) ERR_MUST_USE;
enum err fs_truncate(const struct fs *fs, struct fs_file *file, uint64_t size_bytes,
                     struct diag *diag) ERR_MUST_USE;
enum err fs_stat(const struct fs *fs, const char *path, struct fs_stat *ret_stat,
                 struct diag *diag) ERR_MUST_USE;
enum err fs_rename(const struct fs *fs, const char *from, const char *to,
                   struct diag *diag) ERR_MUST_USE;
enum err fs_unlink(const struct fs *fs, const char *path, struct diag *diag) ERR_MUST_USE;
enum err fs_make_folder(const struct fs *fs, const char *path, struct diag *diag) ERR_MUST_USE;
enum err fs_sync_folder(const struct fs *fs, const char *path, struct diag *diag) ERR_MUST_USE;
enum err fs_list(const struct fs *fs, const char *path,
                 enum err (*on_name)(void *ctx, const char *name), void *ctx,
                 struct diag *diag) ERR_MUST_USE;
enum err fs_lock(const struct fs *fs, struct fs_file *file, struct diag *diag) ERR_MUST_USE;
enum err fs_free_space(const struct fs *fs, const char *path, uint64_t *ret_bytes,
                       struct diag *diag) ERR_MUST_USE;

/* Makes all missing folders of path and syncs each parent in which one was made, so that the
 * whole chain is durable. */
enum err fs_make_folders(const struct fs *fs, const char *path, struct diag *diag) ERR_MUST_USE;
/* Syncs the folder above each of path's, whoever made them: a process that was killed may have made
 * one and not synced it. Folders above that may not be opened are not ours, and left alone. */
enum err fs_settle_folders(const struct fs *fs, const char *path, struct diag *diag) ERR_MUST_USE;
