#include "support/faulty_fs.h"

static enum err hit(struct faulty_fs *faulty, int operation, struct diag *diag)
{
    atomic_fetch_add(&faulty->counts[__builtin_ctz((unsigned)operation)], 1);
    if (atomic_load(&faulty->countdown) == 0 || !(atomic_load(&faulty->operations) & operation))
        return ERR_OK;
    bool stays = atomic_load(&faulty->stays);
    if (atomic_load(&faulty->countdown) > 1 || !stays) {
        if (atomic_fetch_sub(&faulty->countdown, 1) != 1)
            return ERR_OK;
    }
    atomic_store(&faulty->happened, true);
    enum err err = (enum err)atomic_load(&faulty->err);
    return diag_set(diag, err, "injected: %s", err_text(err));
}

static enum err faulty_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                            struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_OPEN, diag);
    return err != ERR_OK ? err : fs_open(faulty->inner, path, flags, ret_file, diag);
}

static void faulty_close(void *ctx, struct fs_file *file)
{
    struct faulty_fs *faulty = ctx;
    fs_close(faulty->inner, file);
}

static enum err faulty_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                            size_t size, size_t *ret_size, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_READ, diag);
    return err != ERR_OK ? err : fs_read(faulty->inner, file, offset, buffer, size, ret_size, diag);
}

static enum err faulty_write(void *ctx, struct fs_file *file, uint64_t offset, const void *data,
                             size_t size, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_WRITE, diag);
    if (err == ERR_OK)
        return fs_write(faulty->inner, file, offset, data, size, diag);
    enum err half = fs_write(faulty->inner, file, offset, data, size / 2, NULL);
    (void)half;
    return err;
}

static enum err faulty_sync(void *ctx, struct fs_file *file, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_SYNC, diag);
    return err != ERR_OK ? err : fs_sync(faulty->inner, file, diag);
}

static enum err faulty_allocate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                                struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    return fs_allocate(faulty->inner, file, size_bytes, diag);
}

static enum err faulty_truncate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                                struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    return fs_truncate(faulty->inner, file, size_bytes, diag);
}

static enum err faulty_stat(void *ctx, const char *path, struct fs_stat *ret_stat,
                            struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_STAT, diag);
    if (err == ERR_OK)
        err = fs_stat(faulty->inner, path, ret_stat, diag);
    if (err == ERR_OK && faulty->split_devices && strstr(path, "/lake"))
        ret_stat->device++;
    return err;
}

static enum err faulty_rename(void *ctx, const char *from, const char *to, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_RENAME, diag);
    return err != ERR_OK ? err : fs_rename(faulty->inner, from, to, diag);
}

static enum err faulty_unlink(void *ctx, const char *path, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_UNLINK, diag);
    return err != ERR_OK ? err : fs_unlink(faulty->inner, path, diag);
}

static enum err faulty_make_folder(void *ctx, const char *path, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_FOLDER, diag);
    return err != ERR_OK ? err : fs_make_folder(faulty->inner, path, diag);
}

static enum err faulty_sync_folder(void *ctx, const char *path, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_SYNC_FOLDER, diag);
    return err != ERR_OK ? err : fs_sync_folder(faulty->inner, path, diag);
}

static enum err faulty_list(void *ctx, const char *path,
                            enum err (*on_name)(void *ctx, const char *name), void *name_ctx,
                            struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    enum err err = hit(faulty, FAULTY_FOLDER, diag);
    return err != ERR_OK ? err : fs_list(faulty->inner, path, on_name, name_ctx, diag);
}

static enum err faulty_lock(void *ctx, struct fs_file *file, struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    return fs_lock(faulty->inner, file, diag);
}

static enum err faulty_free_space(void *ctx, const char *path, uint64_t *ret_bytes,
                                  struct diag *diag)
{
    struct faulty_fs *faulty = ctx;
    return fs_free_space(faulty->inner, path, ret_bytes, diag);
}

static const struct fs_ops faulty_ops = {
    .open = faulty_open,
    .close = faulty_close,
    .read = faulty_read,
    .write = faulty_write,
    .sync = faulty_sync,
    .allocate = faulty_allocate,
    .truncate = faulty_truncate,
    .stat = faulty_stat,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .make_folder = faulty_make_folder,
    .sync_folder = faulty_sync_folder,
    .list = faulty_list,
    .lock = faulty_lock,
    .free_space = faulty_free_space,
};

void faulty_fs_init(struct faulty_fs *faulty, const struct fs *inner)
{
    memset(faulty, 0, sizeof(*faulty));
    faulty->inner = inner;
    faulty->fs = (struct fs){&faulty_ops, faulty};
}

void faulty_fs_arm(struct faulty_fs *faulty, int64_t k, int operations, enum err err, bool stays)
{
    atomic_store(&faulty->happened, false);
    atomic_store(&faulty->operations, operations);
    atomic_store(&faulty->err, (int)err);
    atomic_store(&faulty->stays, stays);
    atomic_store(&faulty->countdown, k);
}
