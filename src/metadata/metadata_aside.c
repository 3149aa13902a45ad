/*
 * The database's own file is moved first: where it is gone and its log is not, a kill came between,
 * and the log belongs to what was moved. The other way round a database without its log would be
 * left, which SQLite opens as if nothing had ever been in it.
 */
#include "metadata/metadata_aside.h"

#include "metadata/metadata_table.h"
#include "os/fs.h"

#include <stdio.h>
#include <string.h>

#define WAITING   ".salvage-"
#define KEPT      ".damaged-"
#define COUNT_MAX 1000 /* of one second */

static const char *const beside[] = {"-wal", "-shm"};
#define BESIDE (sizeof(beside) / sizeof(beside[0]))

static enum err folder_sync(const char *path, struct diag *diag)
{
    struct buf folder;
    const char *slash = strrchr(path, '/');
    buf_init(&folder, METADATA_ASIDE_BYTES);
    if (slash)
        buf_append(&folder, path, slash == path ? 1 : (size_t)(slash - path));
    else
        buf_text(&folder, ".");
    const char *text = buf_cstr(&folder);
    enum err err = text ? fs_sync_folder(&fs_posix, text, diag) : ERR_NO_MEMORY;
    buf_fini(&folder);
    return err;
}

static bool is_there(const char *path, const char *end)
{
    struct buf name;
    struct fs_stat stat;
    buf_init(&name, METADATA_ASIDE_BYTES);
    buf_printf(&name, "%s%s", path, end);
    const char *text = buf_cstr(&name);
    bool is = !text || fs_stat(&fs_posix, text, &stat, NULL) != ERR_NOT_FOUND;
    buf_fini(&name);
    return is;
}

static enum err move_one(const char *from, const char *to, const char *end, struct diag *diag)
{
    struct buf names[2];
    buf_init(&names[0], METADATA_ASIDE_BYTES);
    buf_init(&names[1], METADATA_ASIDE_BYTES);
    buf_printf(&names[0], "%s%s", from, end);
    buf_printf(&names[1], "%s%s", to, end);
    const char *old = buf_cstr(&names[0]);
    const char *new = buf_cstr(&names[1]);
    enum err err = old && new ? fs_rename(&fs_posix, old, new, diag) : ERR_NO_MEMORY;
    buf_fini(&names[0]);
    buf_fini(&names[1]);
    return err == ERR_OK ? folder_sync(from, diag) : err;
}

/* What lies beside from, if it is there, and not beside to. */
static enum err move_beside(const char *from, const char *to, struct diag *diag)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < BESIDE && err == ERR_OK; i++)
        if (is_there(from, beside[i]) && !is_there(to, beside[i]))
            err = move_one(from, to, beside[i], diag);
    return err;
}

/* --- names --------------------------------------------------------------------------------- */

static const char *name_print(struct buf *name, const char *path, const char *kind, const char *id)
{
    buf_clear(name);
    buf_printf(name, "%s%s%s", path, kind, id);
    return buf_cstr(name);
}

static enum err name_draw(const char *path, struct buf *ret_waiting, struct diag *diag)
{
    char now[METADATA_MOMENT_BYTES], id[METADATA_MOMENT_BYTES + 16];
    bool taken = true;
    metadata_moment(0, now);
    for (int i = 1; i <= COUNT_MAX && taken; i++) {
        int size = snprintf(id, sizeof(id), "%.19s", now);
        if (i > 1)
            snprintf(id + size, sizeof(id) - (size_t)size, "-%d", i);
        const char *name = name_print(ret_waiting, path, KEPT, id);
        taken = !name || is_there(name, "");
        name = name_print(ret_waiting, path, WAITING, id);
        taken = taken || !name || is_there(name, "");
    }
    if (ret_waiting->err != ERR_OK)
        return ret_waiting->err;
    return taken ? diag_set(diag, ERR_TOO_MANY, "%.200s%s%.19s and so on are all taken", path, KEPT,
                            now)
                 : ERR_OK;
}

struct looking {
    const char *name; /* of the database's file in its folder */
    struct buf *oldest;
    enum err err;
};

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

static enum err on_name(void *ctx, const char *name)
{
    struct looking *looking = ctx;
    size_t size = strlen(looking->name);
    if (strncmp(name, looking->name, size) != 0 ||
        strncmp(name + size, WAITING, sizeof(WAITING) - 1) != 0)
        return ERR_OK;
    for (size_t i = 0; i < BESIDE; i++)
        if (ends_in(name, beside[i]))
            return ERR_OK;
    const char *oldest = buf_cstr(looking->oldest);
    if (oldest && oldest[0] && strcmp(oldest, name) <= 0)
        return ERR_OK;
    buf_clear(looking->oldest);
    return buf_text(looking->oldest, name);
}

/* A folder that is not there yet, or may not be listed, has none. */
static enum err oldest_find(const char *path, struct buf *ret_waiting, struct diag *diag)
{
    struct buf folder, name;
    struct diag why = {0};
    const char *slash = strrchr(path, '/');
    struct looking looking = {.name = slash ? slash + 1 : path, .oldest = &name};
    buf_init(&folder, METADATA_ASIDE_BYTES);
    buf_init(&name, METADATA_ASIDE_BYTES);
    buf_clear(ret_waiting);
    buf_append(&folder, path, slash ? (size_t)(slash - path) + 1 : 0);
    const char *text = slash ? buf_cstr(&folder) : ".";
    enum err err = text ? fs_list(&fs_posix, text, on_name, &looking, &why) : ERR_NO_MEMORY;
    if (err == ERR_OK && name.size > 0) {
        buf_append(ret_waiting, folder.data, folder.size);
        err = buf_append(ret_waiting, name.data, name.size);
    }
    buf_fini(&folder);
    buf_fini(&name);
    if (err == ERR_NOT_FOUND || err == ERR_PERMISSION)
        return ERR_OK;
    return err == ERR_OK ? err : diag_set(diag, err, "%s", why.text[0] ? why.text : err_text(err));
}

/* --- the steps ----------------------------------------------------------------------------- */

enum err metadata_aside_move(const char *path, struct diag *diag)
{
    struct buf waiting;
    buf_init(&waiting, METADATA_ASIDE_BYTES);
    enum err err = name_draw(path, &waiting, diag);
    const char *to = err == ERR_OK ? buf_cstr(&waiting) : NULL;
    if (err == ERR_OK)
        err = to ? move_one(path, to, "", diag) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = move_beside(path, to, diag);
    buf_fini(&waiting);
    return err;
}

enum err metadata_aside_next(const char *path, struct buf *ret_waiting, struct diag *diag)
{
    enum err err = oldest_find(path, ret_waiting, diag);
    const char *waiting = err == ERR_OK && ret_waiting->size > 0 ? buf_cstr(ret_waiting) : NULL;
    if (waiting && !is_there(path, ""))
        err = move_beside(path, waiting, diag);
    return err;
}

/* Here the file is moved last: while it waits under its old name, what lies beside it is looked for
 * under both. */
enum err metadata_aside_read(const char *path, const char *waiting, struct buf *ret_kept,
                             struct diag *diag)
{
    const char *id = waiting + strlen(path) + sizeof(WAITING) - 1;
    const char *kept = name_print(ret_kept, path, KEPT, id);
    enum err err = kept ? move_beside(waiting, kept, diag) : ERR_NO_MEMORY;
    return err == ERR_OK ? move_one(waiting, kept, "", diag) : err;
}

bool metadata_aside_waits(const char *path)
{
    struct buf waiting;
    struct diag unread = {0};
    buf_init(&waiting, METADATA_ASIDE_BYTES);
    bool waits = oldest_find(path, &waiting, &unread) != ERR_OK || waiting.size > 0;
    buf_fini(&waiting);
    return waits;
}
