/* What makes a folder one journal of one process: its lock and its uuid. */
#include "journal/recovery.h"
#include "os/random.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UUID_FILE "uuid"
#define LOCK_FILE "lock"

static enum err path_join(char *ret_path, const struct core *core, const char *name,
                          struct diag *diag)
{
    int length = snprintf(ret_path, SEGMENT_PATH_MAX, "%s/%s", core->folder, name);
    if (length < 0 || length >= SEGMENT_PATH_MAX)
        return diag_set(diag, ERR_INVALID, "the path of the journal folder is too long");
    return ERR_OK;
}

enum err recovery_lock(struct core *core, struct diag *diag)
{
    char path[SEGMENT_PATH_MAX], text[64] = {0};
    const struct fs *fs = core->options.fs;
    size_t size = 0;
    enum err err = path_join(path, core, LOCK_FILE, diag);
    if (err == ERR_OK)
        err = fs_open(fs, path, FS_WRITE | FS_CREATE, &core->lock_file, diag);
    if (err != ERR_OK)
        return err;
    struct diag why = {0};
    err = fs_lock(fs, core->lock_file, &why);
    if (err == ERR_BUSY) {
        if (fs_read(fs, core->lock_file, 0, text, sizeof(text) - 1, &size, NULL) != ERR_OK)
            size = 0;
        text[size] = '\0';
        return diag_set(diag, err,
                        "the journal %s is in use by another process (%s): stop it, or give this "
                        "one another JOURNAL_DIR",
                        core->folder, size ? text : "unknown");
    }
    if (err != ERR_OK)
        return diag_set(diag, err, "%s", why.text[0] ? why.text : err_text(err));
    snprintf(text, sizeof(text), "pid %ld", (long)getpid());
    err = fs_truncate(fs, core->lock_file, 0, diag);
    return err == ERR_OK ? fs_write(fs, core->lock_file, 0, text, strlen(text), diag) : err;
}

static bool uuid_valid(const char *text, size_t size)
{
    if (size < SEGMENT_UUID_CHARS)
        return false;
    for (size_t i = 0; i < SEGMENT_UUID_CHARS; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
        if (dash ? text[i] != '-' : !hex)
            return false;
    }
    return true;
}

static enum err uuid_draw(char ret_uuid[SEGMENT_UUID_CHARS + 1])
{
    uint8_t b[16];
    enum err err = random_fill(b, sizeof(b));
    if (err != ERR_OK)
        return err;
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(ret_uuid, SEGMENT_UUID_CHARS + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return ERR_OK;
}

static enum err uuid_write(struct core *core, struct diag *diag)
{
    char path[SEGMENT_PATH_MAX], temporary[SEGMENT_PATH_MAX];
    const struct fs *fs = core->options.fs;
    struct fs_file *file = NULL;
    enum err err = path_join(path, core, UUID_FILE, diag);
    if (err == ERR_OK)
        err = path_join(temporary, core, UUID_FILE ".tmp", diag);
    if (err == ERR_OK)
        err = fs_open(fs, temporary, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, diag);
    if (err == ERR_OK)
        err = fs_write(fs, file, 0, core->uuid, SEGMENT_UUID_CHARS, diag);
    if (err == ERR_OK)
        err = fs_sync(fs, file, diag);
    fs_close(fs, file);
    if (err == ERR_OK)
        err = fs_rename(fs, temporary, path, diag);
    return err == ERR_OK ? fs_sync_folder(fs, core->folder, diag) : err;
}

enum err recovery_uuid_read(struct core *core, struct diag *diag)
{
    char path[SEGMENT_PATH_MAX], text[SEGMENT_UUID_CHARS + 1];
    const struct fs *fs = core->options.fs;
    struct fs_file *file = NULL;
    struct diag why = {0};
    size_t size = 0;
    enum err err = path_join(path, core, UUID_FILE, diag);
    if (err == ERR_OK)
        err = fs_open(fs, path, FS_READ, &file, &why);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err == ERR_OK)
        err = fs_read(fs, file, 0, text, SEGMENT_UUID_CHARS, &size, &why);
    fs_close(fs, file);
    if (err != ERR_OK)
        return diag_set(diag, err, "cannot read %s: %s", path,
                        why.text[0] ? why.text : err_text(err));
    if (uuid_valid(text, size)) {
        memcpy(core->uuid, text, SEGMENT_UUID_CHARS);
        core->uuid[SEGMENT_UUID_CHARS] = '\0';
    }
    return ERR_OK;
}

enum err recovery_uuid_settle(struct core *core, bool had_file, struct diag *diag)
{
    enum err err = ERR_OK;
    if (core->uuid[0] == '\0')
        err = uuid_draw(core->uuid);
    return err == ERR_OK && !had_file ? uuid_write(core, diag) : err;
}
