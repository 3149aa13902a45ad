/*
 * struct fs over the kernel. A file is a descriptor and its path, kept for the sentences in diag.
 * FS_DIRECT is a wish: where a file system refuses O_DIRECT (at open, or only at the first write),
 * the file goes on buffered. The lock is flock's: it belongs to the open file, so a second open in
 * the same process is refused too, and a killed process leaves none behind.
 */
#include "base/alloc.h"
#include "base/limits.h"
#include "os/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct fs_file {
    int fd;
    char *path;
};

#define SHOWN_PATH_BYTES 200 /* what to do must have room behind it */

/* The first folder of path that is none, though something is there; 0: not found. */
static size_t not_a_folder(const char *path)
{
    char part[4096];
    struct stat found;
    size_t length = strlen(path);
    for (size_t i = 1; i <= length && i < sizeof(part); i++) {
        if (i < length && path[i] != '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (stat(part, &found) == 0 && !S_ISDIR(found.st_mode))
            return i;
    }
    return 0;
}

static enum err fail(struct diag *diag, const char *verb, const char *path)
{
    int error = errno;
    enum err err = err_from_errno(error);
    const char *more = strlen(path) > SHOWN_PATH_BYTES ? "..." : "";
    size_t culprit = error == ENOTDIR && diag ? not_a_folder(path) : 0;
    if (culprit > 0 && culprit <= SHOWN_PATH_BYTES)
        return diag_set(diag, err,
                        "cannot %s %.*s%s: %.*s is not a folder; move it away or name another "
                        "folder",
                        verb, SHOWN_PATH_BYTES, path, more, (int)culprit, path);
    return diag_set(diag, err, "cannot %s %.*s%s: %s", verb, SHOWN_PATH_BYTES, path, more,
                    err_errno_text(error));
}

static int open_retrying(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static enum err posix_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                           struct diag *diag)
{
    (void)ctx;
    int mode = O_CLOEXEC | ((flags & FS_WRITE) ? O_RDWR : O_RDONLY);
    mode |= (flags & FS_CREATE) ? O_CREAT : 0;
    mode |= (flags & FS_EXCLUSIVE) ? O_EXCL : 0;
    mode |= (flags & FS_TRUNCATE) ? O_TRUNC : 0;
    struct fs_file *file = mem_zalloc(1, sizeof(*file));
    char *copy = mem_strdup(path);
    if (!file || !copy) {
        mem_free(file);
        mem_free(copy);
        return diag_set(diag, ERR_NO_MEMORY, "no memory to open %s", path);
    }
    int fd = open_retrying(path, mode | ((flags & FS_DIRECT) ? O_DIRECT : 0));
    if (fd < 0 && errno == EINVAL && (flags & FS_DIRECT))
        fd = open_retrying(path, mode & ~O_EXCL); /* the refused open may have made the file */
    if (fd < 0) {
        enum err err = fail(diag, (flags & FS_CREATE) ? "make or open" : "open", path);
        mem_free(file);
        mem_free(copy);
        return err;
    }
    *file = (struct fs_file){fd, copy};
    *ret_file = file;
    return ERR_OK;
}

static void posix_close(void *ctx, struct fs_file *file)
{
    (void)ctx;
    close(file->fd);
    mem_free(file->path);
    mem_free(file);
}

static enum err posix_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                           size_t size, size_t *ret_size, struct diag *diag)
{
    (void)ctx;
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file->fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(diag, "read", file->path);
        if (got == 0)
            break;
        done += (size_t)got;
        if (done % LIMIT_BLOCK_ALIGN_BYTES != 0)
            break; /* the end; with O_DIRECT going on from here would be refused */
    }
    *ret_size = done;
    return ERR_OK;
}

/* Some file systems take O_DIRECT at open and refuse it at the write. */
static bool direct_dropped(struct fs_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) && fcntl(file->fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

static enum err posix_write(void *ctx, struct fs_file *file, uint64_t offset, const void *data,
                            size_t size, struct diag *diag)
{
    (void)ctx;
    size_t done = 0;
    while (done < size) {
        ssize_t put =
            pwrite(file->fd, (const char *)data + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EINVAL && direct_dropped(file))
            continue;
        if (put < 0)
            return fail(diag, "write", file->path);
        if (put == 0)
            return diag_set(diag, ERR_IO, "cannot write %s: nothing was taken", file->path);
        done += (size_t)put;
    }
    return ERR_OK;
}

static enum err posix_sync(void *ctx, struct fs_file *file, struct diag *diag)
{
    (void)ctx;
    int result;
    do
        result = fdatasync(file->fd);
    while (result < 0 && errno == EINTR);
    return result == 0 ? ERR_OK : fail(diag, "sync", file->path);
}

static enum err zeros_append(struct fs_file *file, uint64_t from, uint64_t to, struct diag *diag)
{
    size_t chunk_bytes = MIB;
    uint8_t *zeros = mem_aligned(LIMIT_BLOCK_ALIGN_BYTES, chunk_bytes);
    if (!zeros)
        return diag_set(diag, ERR_NO_MEMORY, "no memory to allocate %s", file->path);
    memset(zeros, 0, chunk_bytes);
    enum err err = ERR_OK;
    while (from < to && err == ERR_OK) {
        size_t size = to - from < chunk_bytes ? (size_t)(to - from) : chunk_bytes;
        err = posix_write(NULL, file, from, zeros, size, diag);
        from += size;
    }
    mem_free(zeros);
    return err;
}

static enum err posix_allocate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                               struct diag *diag)
{
    (void)ctx;
    struct stat stat;
    if (fstat(file->fd, &stat) < 0)
        return fail(diag, "look at", file->path);
    int result;
    do
        result = fallocate(file->fd, 0, 0, (off_t)size_bytes);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return ERR_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return fail(diag, "reserve space for", file->path);
    return (uint64_t)stat.st_size < size_bytes
               ? zeros_append(file, (uint64_t)stat.st_size, size_bytes, diag)
               : ERR_OK;
}

static enum err posix_truncate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                               struct diag *diag)
{
    (void)ctx;
    return ftruncate(file->fd, (off_t)size_bytes) == 0 ? ERR_OK
                                                       : fail(diag, "truncate", file->path);
}

static enum err posix_stat(void *ctx, const char *path, struct fs_stat *ret_stat, struct diag *diag)
{
    (void)ctx;
    struct stat found;
    if (stat(path, &found) < 0)
        return fail(diag, "look at", path);
    *ret_stat = (struct fs_stat){
        .size_bytes = (uint64_t)found.st_size,
        .is_folder = S_ISDIR(found.st_mode),
        .device = (uint64_t)found.st_dev,
        .modified_us = (int64_t)found.st_mtim.tv_sec * 1000000 + found.st_mtim.tv_nsec / 1000,
    };
    return ERR_OK;
}

static enum err posix_rename(void *ctx, const char *from, const char *to, struct diag *diag)
{
    (void)ctx;
    return rename(from, to) == 0 ? ERR_OK : fail(diag, "rename to", to);
}

static enum err posix_unlink(void *ctx, const char *path, struct diag *diag)
{
    (void)ctx;
    return unlink(path) == 0 ? ERR_OK : fail(diag, "remove", path);
}

static enum err posix_make_folder(void *ctx, const char *path, struct diag *diag)
{
    (void)ctx;
    struct stat found;
    if (mkdir(path, 0777) == 0)
        return ERR_OK;
    if (errno != EEXIST)
        return fail(diag, "make folder", path);
    if (stat(path, &found) != 0)
        return fail(diag, "look at folder", path); /* a link that leads nowhere */
    if (S_ISDIR(found.st_mode))
        return ERR_OK;
    errno = ENOTDIR;
    return fail(diag, "make folder", path);
}

static enum err posix_sync_folder(void *ctx, const char *path, struct diag *diag)
{
    (void)ctx;
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(diag, "open folder", path);
    int result;
    do
        result = fsync(fd);
    while (result < 0 && errno == EINTR);
    enum err err = result == 0 ? ERR_OK : fail(diag, "sync folder", path);
    close(fd);
    return err;
}

static enum err posix_list(void *ctx, const char *path,
                           enum err (*on_name)(void *ctx, const char *name), void *name_ctx,
                           struct diag *diag)
{
    (void)ctx;
    DIR *folder = opendir(path);
    if (!folder)
        return fail(diag, "list folder", path);
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno != 0)
                err = fail(diag, "list folder", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            err = on_name(name_ctx, entry->d_name);
    }
    closedir(folder);
    return err;
}

static enum err posix_lock(void *ctx, struct fs_file *file, struct diag *diag)
{
    (void)ctx;
    if (flock(file->fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    if (errno == EWOULDBLOCK)
        return diag_set(diag, ERR_BUSY, "%s is locked by another process", file->path);
    return fail(diag, "lock", file->path);
}

static enum err posix_free_space(void *ctx, const char *path, uint64_t *ret_bytes,
                                 struct diag *diag)
{
    (void)ctx;
    struct statvfs found;
    if (statvfs(path, &found) < 0)
        return fail(diag, "look at the file system of", path);
    *ret_bytes = (uint64_t)found.f_bavail * (uint64_t)found.f_frsize;
    return ERR_OK;
}

static const struct fs_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .stat = posix_stat,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .make_folder = posix_make_folder,
    .sync_folder = posix_sync_folder,
    .list = posix_list,
    .lock = posix_lock,
    .free_space = posix_free_space,
};

const struct fs fs_posix = {.ops = &posix_ops, .ctx = NULL};
