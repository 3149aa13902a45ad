#include "os/fs.h"

#include <stdio.h>

enum err fs_open(const struct fs *fs, const char *path, int flags, struct fs_file **ret_file,
                 struct diag *diag)
{
    return fs->ops->open(fs->ctx, path, flags, ret_file, diag);
}

void fs_close(const struct fs *fs, struct fs_file *file)
{
    if (file)
        fs->ops->close(fs->ctx, file);
}

enum err fs_read(const struct fs *fs, struct fs_file *file, uint64_t offset, void *buffer,
                 size_t size, size_t *ret_size, struct diag *diag)
{
    return fs->ops->read(fs->ctx, file, offset, buffer, size, ret_size, diag);
}

enum err fs_write(const struct fs *fs, struct fs_file *file, uint64_t offset, const void *data,
                  size_t size, struct diag *diag)
{
    return fs->ops->write(fs->ctx, file, offset, data, size, diag);
}

enum err fs_sync(const struct fs *fs, struct fs_file *file, struct diag *diag)
{
    return fs->ops->sync(fs->ctx, file, diag);
}

enum err fs_allocate(const struct fs *fs, struct fs_file *file, uint64_t size_bytes,
                     struct diag *diag)
{
    return fs->ops->allocate(fs->ctx, file, size_bytes, diag);
}

enum err fs_truncate(const struct fs *fs, struct fs_file *file, uint64_t size_bytes,
                     struct diag *diag)
{
    return fs->ops->truncate(fs->ctx, file, size_bytes, diag);
}

enum err fs_stat(const struct fs *fs, const char *path, struct fs_stat *ret_stat, struct diag *diag)
{
    return fs->ops->stat(fs->ctx, path, ret_stat, diag);
}

enum err fs_rename(const struct fs *fs, const char *from, const char *to, struct diag *diag)
{
    return fs->ops->rename(fs->ctx, from, to, diag);
}

enum err fs_unlink(const struct fs *fs, const char *path, struct diag *diag)
{
    return fs->ops->unlink(fs->ctx, path, diag);
}

enum err fs_make_folder(const struct fs *fs, const char *path, struct diag *diag)
{
    return fs->ops->make_folder(fs->ctx, path, diag);
}

enum err fs_sync_folder(const struct fs *fs, const char *path, struct diag *diag)
{
    return fs->ops->sync_folder(fs->ctx, path, diag);
}

enum err fs_list(const struct fs *fs, const char *path,
                 enum err (*on_name)(void *ctx, const char *name), void *ctx, struct diag *diag)
{
    return fs->ops->list(fs->ctx, path, on_name, ctx, diag);
}

enum err fs_lock(const struct fs *fs, struct fs_file *file, struct diag *diag)
{
    return fs->ops->lock(fs->ctx, file, diag);
}

enum err fs_free_space(const struct fs *fs, const char *path, uint64_t *ret_bytes,
                       struct diag *diag)
{
    return fs->ops->free_space(fs->ctx, path, ret_bytes, diag);
}

/* Makes path, whose parent exists, and syncs the parent when it was missing. */
static enum err folder_step(const struct fs *fs, const char *path, const char *parent,
                            struct diag *diag)
{
    struct fs_stat stat;
    enum err err = fs_stat(fs, path, &stat, NULL);
    if (err == ERR_OK && stat.is_folder)
        return ERR_OK;
    err = fs_make_folder(fs, path, diag);
    if (err != ERR_OK)
        return err;
    return fs_sync_folder(fs, parent, diag);
}

/* Calls on_folder for each folder of path, from the top, with the one above it. */
static enum err folders_walk(const struct fs *fs, const char *path,
                             enum err (*on_folder)(const struct fs *fs, const char *path,
                                                   const char *parent, struct diag *diag),
                             struct diag *diag)
{
    char part[4096];
    char parent[4096] = ".";
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(part))
        return diag_set(diag, ERR_INVALID, "folder path '%.64s' is empty or too long", path);
    if (path[0] == '/')
        snprintf(parent, sizeof(parent), "/");
    for (size_t i = 1; i <= length; i++) {
        if (i < length && path[i] != '/')
            continue;
        if (path[i - 1] == '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        enum err err = on_folder(fs, part, parent, diag);
        if (err != ERR_OK)
            return err;
        memcpy(parent, part, i + 1);
    }
    return ERR_OK;
}

static enum err folder_settle(const struct fs *fs, const char *path, const char *parent,
                              struct diag *diag)
{
    struct diag ours = {0};
    (void)path;
    enum err err = fs_sync_folder(fs, parent, &ours);
    if (err == ERR_OK)
        return ERR_OK;
    bool is_ours = err_class(err) != ERR_CLASS_PERMANENT; /* no permission, read-only, … */
    return is_ours ? diag_set(diag, err, "%s", ours.text) : ERR_OK;
}

enum err fs_make_folders(const struct fs *fs, const char *path, struct diag *diag)
{
    return folders_walk(fs, path, folder_step, diag);
}

enum err fs_settle_folders(const struct fs *fs, const char *path, struct diag *diag)
{
    return folders_walk(fs, path, folder_settle, diag);
}
