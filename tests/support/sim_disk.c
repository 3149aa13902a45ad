/*
 * An inode keeps two images: now (what a read sees) and disk (what a power cut leaves), and for
 * each sector whether it is dirty: written since the last good sync. After a failed sync some dirty
 * sectors become clean without being on the disk, as Linux does it: no later sync writes them.
 *
 * Names are kept twice as well. A change of names is noted with its folder (renamed: the new one)
 * until that is synced; a power cut applies a random part of the noted ones in random order.
 */
#include "support/sim_disk.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR     512
#define PATH_BYTES 200

struct inode {
    uint8_t *now, *disk;
    uint8_t *dirty; /* per sector */
    uint64_t size, disk_size, capacity;
    bool size_dirty;
    bool changed, lost;  /* since the last good sync; by a failed one: the images may differ */
    uint32_t references; /* names in either list, notes, open files */
    bool is_folder;
    void *locked_by;
};

struct name {
    char path[PATH_BYTES];
    struct inode *inode;
};

struct names {
    struct name *list;
    size_t count, capacity;
};

struct note { /* a change of names that is not durable */
    char add[PATH_BYTES], drop[PATH_BYTES];
    struct inode *inode;
};

struct fs_file {
    struct sim_disk *disk;
    struct inode *inode;
    uint64_t life;
    bool writable;
};

struct sim_disk {
    struct fs fs;
    struct clock clock;
    uint64_t random;
    uint64_t capacity_bytes;
    uint64_t operations;
    uint64_t life; /* counts crashes: files of an earlier life are dead */
    int64_t now_ns;
    enum sim_fault fault;
    uint64_t fault_at;
    bool crashed, full;
    char mounted[PATH_BYTES]; /* "": nothing is */
    struct names now, disk;
    struct note *notes;
    size_t note_count, note_capacity;
};

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* The list with room for one more. */
static void *room(void *list, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 32;
    return must(realloc(list, *capacity * item_bytes));
}

static uint64_t next_random(struct sim_disk *disk)
{
    uint64_t z = (disk->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random(struct sim_disk *disk, uint64_t below)
{
    return next_random(disk) % below;
}

/* ---- inodes and names ---- */

static void inode_unref(struct inode *inode)
{
    if (!inode || --inode->references > 0)
        return;
    free(inode->now);
    free(inode->disk);
    free(inode->dirty);
    free(inode);
}

static struct inode *inode_new(bool is_folder)
{
    struct inode *inode = must(calloc(1, sizeof(*inode)));
    inode->is_folder = is_folder;
    return inode;
}

static void inode_reserve(struct inode *inode, uint64_t size)
{
    if (size <= inode->capacity)
        return;
    uint64_t capacity = (size + 4095) & ~(uint64_t)4095;
    inode->now = must(realloc(inode->now, capacity));
    inode->disk = must(realloc(inode->disk, capacity));
    inode->dirty = must(realloc(inode->dirty, capacity / SECTOR));
    memset(inode->now + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->disk + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty + inode->capacity / SECTOR, 0, (capacity - inode->capacity) / SECTOR);
    inode->capacity = capacity;
}

static struct name *name_find(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0)
            return &names->list[i];
    return NULL;
}

static void name_drop(struct names *names, const char *path)
{
    struct name *name = name_find(names, path);
    if (!name)
        return;
    inode_unref(name->inode);
    *name = names->list[--names->count];
}

static void name_put(struct names *names, const char *path, struct inode *inode)
{
    inode->references++;
    name_drop(names, path);
    names->list = room(names->list, names->count, &names->capacity, sizeof(*names->list));
    struct name *name = &names->list[names->count++];
    snprintf(name->path, sizeof(name->path), "%s", path);
    name->inode = inode;
}

static void note_add(struct sim_disk *disk, const char *add, const char *drop, struct inode *inode)
{
    disk->notes = room(disk->notes, disk->note_count, &disk->note_capacity, sizeof(*disk->notes));
    struct note *note = &disk->notes[disk->note_count++];
    snprintf(note->add, sizeof(note->add), "%s", add);
    snprintf(note->drop, sizeof(note->drop), "%s", drop);
    note->inode = inode;
    if (inode)
        inode->references++;
}

static void note_apply(struct sim_disk *disk, struct note *note)
{
    if (note->drop[0])
        name_drop(&disk->disk, note->drop);
    if (note->add[0])
        name_put(&disk->disk, note->add, note->inode);
}

static void note_remove(struct sim_disk *disk, size_t index)
{
    inode_unref(disk->notes[index].inode);
    disk->note_count--;
    memmove(&disk->notes[index], &disk->notes[index + 1],
            (disk->note_count - index) * sizeof(*disk->notes));
}

static bool is_in_folder(const char *path, const char *folder)
{
    size_t length = folder[1] ? strlen(folder) : 0; /* "/" itself */
    return strncmp(path, folder, length) == 0 && path[length] == '/' &&
           !strchr(path + length + 1, '/');
}

static uint64_t device_of(const struct sim_disk *disk, const char *path)
{
    size_t length = strlen(disk->mounted);
    bool is_prefix = length > 0 && strncmp(path, disk->mounted, length) == 0;
    return is_prefix && (path[length] == '/' || path[length] == '\0') ? 2 : 1;
}

/* ---- faults ---- */

/* Each changing operation asks. ERR_OK: go on. */
static enum err operation(struct sim_disk *disk, enum sim_fault *ret_fault)
{
    *ret_fault = SIM_FAULT_NONE;
    if (disk->crashed)
        return ERR_IO;
    disk->operations++;
    if (disk->fault != SIM_FAULT_NONE && disk->operations >= disk->fault_at) {
        *ret_fault = disk->fault;
        if (disk->fault == SIM_FAULT_CRASH)
            disk->crashed = true;
        if (disk->fault == SIM_FAULT_SPACE)
            disk->full = true;
        disk->fault = SIM_FAULT_NONE;
    }
    return ERR_OK;
}

static bool file_dead(const struct fs_file *file)
{
    return file->life != file->disk->life || file->disk->crashed;
}

/* ---- operations ---- */

static enum err sim_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                         struct diag *diag)
{
    struct sim_disk *disk = ctx;
    enum sim_fault fault = SIM_FAULT_NONE;
    struct name *name = name_find(&disk->now, path);
    struct inode *inode = name ? name->inode : NULL;
    enum err err = disk->crashed ? ERR_IO : ERR_OK;
    if (err == ERR_OK && !inode && !(flags & FS_CREATE))
        return diag_set(diag, ERR_NOT_FOUND, "%s is not there", path);
    if (inode && (flags & FS_EXCLUSIVE))
        return diag_set(diag, ERR_EXISTS, "%s is there", path);
    if (err == ERR_OK && (!inode || (flags & FS_TRUNCATE)))
        err = operation(disk, &fault);
    if (err != ERR_OK || fault == SIM_FAULT_IO)
        return diag_set(diag, ERR_IO, "cannot open %s", path);
    if (!inode) {
        inode = inode_new(false);
        name_put(&disk->now, path, inode);
        note_add(disk, path, "", inode);
    } else if (flags & FS_TRUNCATE) {
        inode->changed = true;
        inode->size = 0;
        inode->size_dirty = true;
    }
    struct fs_file *file = must(calloc(1, sizeof(*file)));
    *file = (struct fs_file){disk, inode, disk->life, flags & FS_WRITE};
    inode->references++;
    *ret_file = file;
    return ERR_OK;
}

static void sim_close(void *ctx, struct fs_file *file)
{
    (void)ctx;
    if (file->inode->locked_by == file)
        file->inode->locked_by = NULL;
    inode_unref(file->inode);
    free(file);
}

static enum err sim_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                         size_t size, size_t *ret_size, struct diag *diag)
{
    (void)ctx;
    if (file_dead(file))
        return diag_set(diag, ERR_IO, "the machine is down");
    uint64_t left = offset < file->inode->size ? file->inode->size - offset : 0;
    *ret_size = size < left ? size : (size_t)left;
    if (*ret_size > 0)
        memcpy(buffer, file->inode->now + offset, *ret_size);
    return ERR_OK;
}

static void written(struct inode *inode, uint64_t offset, const void *data, uint64_t size)
{
    if (size == 0)
        return;
    inode_reserve(inode, offset + size);
    inode->changed = true;
    if (data)
        memcpy(inode->now + offset, data, size);
    else
        memset(inode->now + offset, 0, size);
    memset(inode->dirty + offset / SECTOR, 1, (offset + size - 1) / SECTOR - offset / SECTOR + 1);
    if (offset + size > inode->size) {
        inode->size = offset + size;
        inode->size_dirty = true;
    }
}

static uint64_t disk_used(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (size_t i = 0; i < disk->now.count; i++)
        used += disk->now.list[i].inode->size;
    return used;
}

static bool no_space(const struct sim_disk *disk, const struct inode *inode, uint64_t end)
{
    return end > inode->size &&
           (disk->full || disk_used(disk) + (end - inode->size) > disk->capacity_bytes);
}

static enum err sim_write(void *ctx, struct fs_file *file, uint64_t offset, const void *data,
                          size_t size, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    enum sim_fault fault;
    assert(file->writable);
    if (file_dead(file) || operation(disk, &fault) != ERR_OK)
        return diag_set(diag, ERR_IO, "the machine is down");
    if (no_space(disk, file->inode, offset + size))
        return diag_set(diag, ERR_NO_SPACE, "the disk is full");
    if (fault == SIM_FAULT_IO || fault == SIM_FAULT_SHORT || fault == SIM_FAULT_CRASH) {
        written(file->inode, offset, data, sim_random(disk, size + 1));
        return diag_set(diag, ERR_IO, "write failed");
    }
    written(file->inode, offset, data, size);
    return ERR_OK;
}

static void sector_settle(struct inode *inode, uint64_t sector)
{
    memcpy(inode->disk + sector * SECTOR, inode->now + sector * SECTOR, SECTOR);
}

/* A sync that fails has brought some sectors down, and the others are forgotten by the kernel. */
static void sync_fail(struct sim_disk *disk, struct inode *inode)
{
    inode->lost = true;
    for (uint64_t i = 0; i < inode->capacity / SECTOR; i++) {
        if (!inode->dirty[i])
            continue;
        if (sim_random(disk, 2))
            sector_settle(inode, i);
        inode->dirty[i] = 0;
    }
}

static enum err sim_sync(void *ctx, struct fs_file *file, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    struct inode *inode = file->inode;
    enum sim_fault fault;
    if (file_dead(file) || operation(disk, &fault) != ERR_OK || fault == SIM_FAULT_CRASH)
        return diag_set(diag, ERR_IO, "the machine is down");
    if (fault == SIM_FAULT_IO || fault == SIM_FAULT_SHORT) {
        sync_fail(disk, inode);
        return diag_set(diag, ERR_IO, "sync failed");
    }
    for (uint64_t i = 0; i < inode->capacity / SECTOR; i++)
        if (inode->dirty[i]) {
            sector_settle(inode, i);
            inode->dirty[i] = 0;
        }
    inode->disk_size = inode->size;
    inode->size_dirty = false;
    inode->changed = false;
    return ERR_OK;
}

static enum err sim_allocate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                             struct diag *diag)
{
    struct sim_disk *disk = ctx;
    struct inode *inode = file->inode;
    enum sim_fault fault;
    if (file_dead(file) || operation(disk, &fault) != ERR_OK || fault == SIM_FAULT_CRASH)
        return diag_set(diag, ERR_IO, "the machine is down");
    if (fault == SIM_FAULT_IO)
        return diag_set(diag, ERR_IO, "cannot allocate");
    if (no_space(disk, inode, size_bytes))
        return diag_set(diag, ERR_NO_SPACE, "the disk is full");
    inode_reserve(inode, size_bytes);
    if (size_bytes > inode->size) {
        inode->changed = true;
        inode->size = size_bytes; /* the space behind the old end is zero in both images */
        inode->size_dirty = true;
    }
    return ERR_OK;
}

static enum err sim_truncate(void *ctx, struct fs_file *file, uint64_t size_bytes,
                             struct diag *diag)
{
    struct sim_disk *disk = ctx;
    struct inode *inode = file->inode;
    enum sim_fault fault;
    if (file_dead(file) || operation(disk, &fault) != ERR_OK || fault == SIM_FAULT_CRASH ||
        fault == SIM_FAULT_IO)
        return diag_set(diag, ERR_IO, "cannot truncate");
    inode->changed = true;
    if (size_bytes < inode->size)
        memset(inode->now + size_bytes, 0, inode->size - size_bytes);
    inode_reserve(inode, size_bytes);
    inode->size = size_bytes;
    inode->size_dirty = true;
    return ERR_OK;
}

static enum err sim_stat(void *ctx, const char *path, struct fs_stat *ret_stat, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    struct name *name = name_find(&disk->now, path);
    if (disk->crashed)
        return diag_set(diag, ERR_IO, "the machine is down");
    if (!name)
        return diag_set(diag, ERR_NOT_FOUND, "%s is not there", path);
    const struct inode *at = name->inode;
    *ret_stat = (struct fs_stat){at->size, at->is_folder, device_of(disk, path), 0};
    return ERR_OK;
}

static enum err names_operation(struct sim_disk *disk, struct diag *diag)
{
    enum sim_fault fault;
    if (operation(disk, &fault) != ERR_OK || fault == SIM_FAULT_CRASH || fault == SIM_FAULT_IO)
        return diag_set(diag, ERR_IO, "the name cannot be changed");
    return ERR_OK;
}

static enum err sim_rename(void *ctx, const char *from, const char *to, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    enum err err = names_operation(disk, diag);
    if (err != ERR_OK)
        return err;
    struct name *name = name_find(&disk->now, from);
    if (!name)
        return diag_set(diag, ERR_NOT_FOUND, "%s is not there", from);
    if (device_of(disk, from) != device_of(disk, to))
        return diag_set(diag, ERR_INVALID, "%s is on another file system than %s", from, to);
    struct inode *inode = name->inode;
    inode->references++;
    name_put(&disk->now, to, inode);
    name_drop(&disk->now, from);
    note_add(disk, to, from, inode);
    inode_unref(inode);
    return ERR_OK;
}

static enum err sim_unlink(void *ctx, const char *path, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    enum err err = names_operation(disk, diag);
    if (err != ERR_OK)
        return err;
    if (!name_find(&disk->now, path))
        return diag_set(diag, ERR_NOT_FOUND, "%s is not there", path);
    name_drop(&disk->now, path);
    note_add(disk, "", path, NULL);
    return ERR_OK;
}

static enum err sim_make_folder(void *ctx, const char *path, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    struct name *name = name_find(&disk->now, path);
    if (name)
        return name->inode->is_folder ? ERR_OK : diag_set(diag, ERR_EXISTS, "%s is a file", path);
    enum err err = names_operation(disk, diag);
    if (err != ERR_OK)
        return err;
    struct inode *inode = inode_new(true);
    name_put(&disk->now, path, inode);
    note_add(disk, path, "", inode);
    return ERR_OK;
}

static enum err sim_sync_folder(void *ctx, const char *path, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    enum err err = names_operation(disk, diag);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < disk->note_count;) {
        struct note *note = &disk->notes[i];
        if (!is_in_folder(note->add[0] ? note->add : note->drop, path)) {
            i++;
            continue;
        }
        note_apply(disk, note);
        note_remove(disk, i);
    }
    return ERR_OK;
}

static enum err sim_list(void *ctx, const char *path, enum err (*on_name)(void *ctx, const char *),
                         void *name_ctx, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    if (disk->crashed || (!name_find(&disk->now, path) && path[0] != '/'))
        return diag_set(diag, ERR_IO, "cannot list %s", path);
    for (size_t i = 0; i < disk->now.count; i++) {
        const char *name = disk->now.list[i].path;
        if (!is_in_folder(name, path))
            continue;
        enum err err = on_name(name_ctx, strrchr(name, '/') + 1);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err sim_lock(void *ctx, struct fs_file *file, struct diag *diag)
{
    (void)ctx;
    if (file_dead(file))
        return diag_set(diag, ERR_IO, "the machine is down");
    if (file->inode->locked_by && file->inode->locked_by != file)
        return diag_set(diag, ERR_BUSY, "locked");
    file->inode->locked_by = file;
    return ERR_OK;
}

static enum err sim_free_space(void *ctx, const char *path, uint64_t *ret_bytes, struct diag *diag)
{
    struct sim_disk *disk = ctx;
    (void)path;
    if (disk->crashed)
        return diag_set(diag, ERR_IO, "the machine is down");
    uint64_t used = disk_used(disk);
    *ret_bytes = disk->full || used > disk->capacity_bytes ? 0 : disk->capacity_bytes - used;
    return ERR_OK;
}

static const struct fs_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .truncate = sim_truncate,
    .stat = sim_stat,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .make_folder = sim_make_folder,
    .sync_folder = sim_sync_folder,
    .list = sim_list,
    .lock = sim_lock,
    .free_space = sim_free_space,
};

/* ---- crashes ---- */

static void inode_power_cut(struct sim_disk *disk, struct inode *inode)
{
    if (!inode->changed && !inode->lost)
        return;
    inode->changed = inode->lost = false;
    for (uint64_t i = 0; i < inode->capacity / SECTOR; i++) {
        if (inode->dirty[i]) {
            uint64_t fate = sim_random(disk, 8);
            size_t part = (size_t)sim_random(disk, SECTOR);
            if (fate < 4)
                sector_settle(inode, i);
            else if (fate == 4)
                memcpy(inode->disk + i * SECTOR, inode->now + i * SECTOR, part);
        }
        inode->dirty[i] = 0;
    }
    if (inode->size_dirty && sim_random(disk, 2))
        inode->disk_size = inode->size;
    if (inode->disk_size < inode->capacity)
        memset(inode->disk + inode->disk_size, 0, inode->capacity - inode->disk_size);
    inode->size = inode->disk_size;
    inode->size_dirty = false;
    if (inode->capacity > 0)
        memcpy(inode->now, inode->disk, inode->capacity);
}

/* A name whose folder was lost cannot be reached any more. */
static bool is_reachable(struct sim_disk *disk, const char *path)
{
    char folder[PATH_BYTES];
    snprintf(folder, sizeof(folder), "%s", path);
    for (char *slash; (slash = strrchr(folder, '/')) && slash != folder;) {
        *slash = '\0';
        if (!name_find(&disk->disk, folder))
            return false;
    }
    return true;
}

static void names_power_cut(struct sim_disk *disk)
{
    while (disk->note_count > 0) {
        size_t index = (size_t)sim_random(disk, disk->note_count);
        if (sim_random(disk, 2))
            note_apply(disk, &disk->notes[index]);
        note_remove(disk, index);
    }
    for (size_t i = disk->disk.count; i-- > 0;)
        if (!is_reachable(disk, disk->disk.list[i].path))
            name_drop(&disk->disk, disk->disk.list[i].path);
    while (disk->now.count > 0)
        name_drop(&disk->now, disk->now.list[0].path);
    for (size_t i = 0; i < disk->disk.count; i++)
        name_put(&disk->now, disk->disk.list[i].path, disk->disk.list[i].inode);
}

void sim_disk_kill(struct sim_disk *disk)
{
    disk->life++;
    disk->crashed = false;
    disk->full = false;
    disk->fault = SIM_FAULT_NONE;
    for (size_t i = 0; i < disk->now.count; i++)
        disk->now.list[i].inode->locked_by = NULL;
}

void sim_disk_power_cut(struct sim_disk *disk)
{
    names_power_cut(disk);
    for (size_t i = 0; i < disk->now.count; i++)
        inode_power_cut(disk, disk->now.list[i].inode);
    sim_disk_kill(disk);
}

/* ---- the rest ---- */

void sim_disk_mount(struct sim_disk *disk, const char *folder)
{
    snprintf(disk->mounted, sizeof(disk->mounted), "%s", folder);
}

static int64_t sim_now(void *ctx)
{
    struct sim_disk *disk = ctx;
    return disk->now_ns += 1000;
}

static int64_t sim_realtime(void *ctx)
{
    return 1700000000000000 + sim_now(ctx) / 1000;
}

static const struct clock_ops sim_clock_ops = {sim_now, sim_realtime};

struct sim_disk *sim_disk_new(uint64_t seed, uint64_t capacity_bytes)
{
    struct sim_disk *disk = must(calloc(1, sizeof(*disk)));
    disk->fs = (struct fs){&sim_ops, disk};
    disk->clock = (struct clock){&sim_clock_ops, disk};
    disk->random = seed;
    disk->capacity_bytes = capacity_bytes;
    return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (!disk)
        return;
    while (disk->note_count > 0)
        note_remove(disk, 0);
    while (disk->now.count > 0)
        name_drop(&disk->now, disk->now.list[0].path);
    while (disk->disk.count > 0)
        name_drop(&disk->disk, disk->disk.list[0].path);
    free(disk->now.list);
    free(disk->disk.list);
    free(disk->notes);
    free(disk);
}

const struct fs *sim_disk_fs(struct sim_disk *disk)
{
    return &disk->fs;
}

const struct clock *sim_disk_clock(struct sim_disk *disk)
{
    return &disk->clock;
}

void sim_disk_advance(struct sim_disk *disk, int64_t ns)
{
    disk->now_ns += ns;
}

void sim_disk_fault(struct sim_disk *disk, enum sim_fault fault, uint64_t operations_ahead)
{
    disk->fault = fault;
    disk->fault_at = disk->operations + operations_ahead;
    if (fault == SIM_FAULT_NONE)
        disk->full = false;
}

bool sim_disk_crashed(const struct sim_disk *disk)
{
    return disk->crashed;
}

uint64_t sim_disk_operations(const struct sim_disk *disk)
{
    return disk->operations;
}

bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset)
{
    struct name *name = name_find(&disk->now, path);
    if (!name || offset >= name->inode->size)
        return false;
    name->inode->now[offset] ^= 0x10;
    name->inode->disk[offset] ^= 0x10;
    return true;
}
