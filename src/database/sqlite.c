#include "database/sqlite.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/fs.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_NS        (500 * NS_PER_MS)
#define SETTLE_STEP_MS   10
#define PROBE_TIMEOUT_MS 1000
#define READ_TIMEOUT_MS  100
#define STATEMENTS_MAX   32

/* One that was prepared, between its uses: reset, so that it holds no lock. */
struct statement {
    uint64_t hash; /* of its text */
    sqlite3_stmt *handle;
    uint64_t used;                            /* when; 0: none is here */
    uint8_t numbers[DATABASE_PARAMETERS_MAX]; /* of its parameters, as SQLite has them in order */
};

struct sqlite {
    struct database base;
    sqlite3 *handle;
    bool reads_only;
    struct statement statements[STATEMENTS_MAX];
    uint64_t uses;
};

static enum err err_from_sqlite(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return ERR_CORRUPT;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_PERMISSION;
    case SQLITE_CONSTRAINT:
        return ERR_CONFLICT;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    case SQLITE_INTERRUPT:
        return ERR_STOPPED;
    case SQLITE_SCHEMA:
        return ERR_AGAIN;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_PROTOCOL:
        return ERR_IO;
    case SQLITE_MISUSE:
        return ERR_BUG;
    default: /* SQLITE_ERROR, _MISMATCH, _RANGE, …: the SQL */
        return ERR_INVALID;
    }
}

/* Why a file that is there, or the folder one would be made in, cannot be written; 0: not known. */
static int unwritable(const char *path, size_t folder_size)
{
    char folder[4096];
    if (access(path, W_OK) != 0 && errno != ENOENT)
        return errno;
    if (folder_size >= sizeof(folder))
        return 0;
    memcpy(folder, path, folder_size);
    folder[folder_size] = '\0';
    return access(folder_size > 0 ? folder : ".", W_OK | X_OK) == 0 ? 0 : errno;
}

/* What SQLite itself says is "unable to open database file": nothing of the folder, where it keeps
 * a log beside the file, nor of the reason. */
static enum err fail_to_write(struct diag *diag, enum err err, const char *path, const char *doing,
                              const char *said, int system_error)
{
    const char *slash = strrchr(path, '/');
    size_t folder_size = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    int error = unwritable(path, folder_size);
    if (error == 0 && system_error != ENOENT) /* of a second try, to read */
        error = system_error;
    const char *why = error != 0 ? strerrordesc_np(error) : NULL;
    return diag_set(diag, err,
                    "the SQLite database %.200s cannot %s: %s%s%s; its folder must exist and the "
                    "service be allowed to write the file and beside it",
                    path, doing, said, why ? ": " : "", why ? why : "");
}

static enum err fail(struct sqlite *sqlite, int code, const char *doing, struct diag *diag)
{
    enum err err = err_from_sqlite(code);
    /* A full or unwritable disk shows itself as an i/o error with the errno behind it. */
    int system_error = sqlite3_system_errno(sqlite->handle);
    if (err == ERR_IO && (system_error == ENOSPC || system_error == EDQUOT))
        err = ERR_NO_SPACE;
    const char *path = sqlite3_db_filename(sqlite->handle, "main");
    const char *said = sqlite3_errmsg(sqlite->handle);
    int primary = code & 0xff;
    bool to_write = primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY;
    if (to_write && path && *path && !sqlite->reads_only)
        return fail_to_write(diag, err, path, doing, said,
                             primary == SQLITE_CANTOPEN ? system_error : 0);
    return diag_set(diag, err, "the SQLite database %s cannot %s: %s",
                    path && *path ? path : ":memory:", doing, said);
}

static enum err sqlite_exec(struct database *database, const char *sql, struct diag *diag)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    int code = sqlite3_exec(sqlite->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? ERR_OK : fail(sqlite, code, "execute a statement", diag);
}

static int bind(sqlite3_stmt *statement, int index, const struct database_value *value)
{
    const void *data = value->bytes.data ? (const void *)value->bytes.data : "";
    switch (value->kind) {
    case DATABASE_INTEGER:
        return sqlite3_bind_int64(statement, index, value->integer);
    case DATABASE_NUMBER:
        return sqlite3_bind_double(statement, index, value->number);
    case DATABASE_TEXT:
        return sqlite3_bind_text64(statement, index, data, value->bytes.size, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case DATABASE_BLOB:
        return sqlite3_bind_blob64(statement, index, data, value->bytes.size, SQLITE_STATIC);
    case DATABASE_NULL:
    default:
        return sqlite3_bind_null(statement, index);
    }
}

/* To SQLite "$2" is a name, numbered by where it stands first; here it is the second parameter. 0:
 * it is none that could be. */
static void number_parameters(struct statement *statement)
{
    int count = sqlite3_bind_parameter_count(statement->handle);
    for (int i = 0; i < count && i < DATABASE_PARAMETERS_MAX; i++) {
        const char *name = sqlite3_bind_parameter_name(statement->handle, i + 1);
        unsigned long number = name && name[0] == '$' ? strtoul(name + 1, NULL, 10) : 0;
        statement->numbers[i] = number <= DATABASE_PARAMETERS_MAX ? (uint8_t)number : 0;
    }
}

static int bind_all(const struct statement *statement, const struct database_value *parameters,
                    size_t count)
{
    if (count > DATABASE_PARAMETERS_MAX ||
        sqlite3_bind_parameter_count(statement->handle) != (int)count)
        return SQLITE_RANGE;
    for (size_t i = 0; i < count; i++) {
        size_t number = statement->numbers[i];
        if (number < 1 || number > count)
            return SQLITE_RANGE;
        int code = bind(statement->handle, (int)i + 1, &parameters[number - 1]);
        if (code != SQLITE_OK)
            return code;
    }
    return SQLITE_OK;
}

/* ERR_NO_MEMORY when SQLite could not bring the value. */
static enum err get_column(sqlite3_stmt *statement, int index, struct database_value *ret_value)
{
    *ret_value = (struct database_value){0};
    switch (sqlite3_column_type(statement, index)) {
    case SQLITE_INTEGER:
        *ret_value = database_integer(sqlite3_column_int64(statement, index));
        return ERR_OK;
    case SQLITE_FLOAT:
        *ret_value = database_number(sqlite3_column_double(statement, index));
        return ERR_OK;
    case SQLITE_TEXT:
        ret_value->kind = DATABASE_TEXT;
        ret_value->bytes.data = sqlite3_column_text(statement, index);
        ret_value->bytes.size = (size_t)sqlite3_column_bytes(statement, index);
        return ret_value->bytes.data ? ERR_OK : ERR_NO_MEMORY;
    case SQLITE_BLOB:
        ret_value->kind = DATABASE_BLOB;
        ret_value->bytes.data = sqlite3_column_blob(statement, index);
        ret_value->bytes.size = (size_t)sqlite3_column_bytes(statement, index);
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static enum err give_row(sqlite3_stmt *statement, database_on_row on_row, void *ctx)
{
    struct database_value columns[DATABASE_COLUMNS_MAX];
    int count = sqlite3_column_count(statement);
    if (!on_row)
        return ERR_OK;
    if (count > DATABASE_COLUMNS_MAX)
        return ERR_TOO_MANY;
    for (int i = 0; i < count; i++) {
        enum err err = get_column(statement, i, &columns[i]);
        if (err)
            return err;
    }
    return on_row(ctx, columns, (size_t)count);
}

static enum err run(struct sqlite *sqlite, sqlite3_stmt *statement, database_on_row on_row,
                    void *ctx, struct diag *diag)
{
    for (;;) {
        int code = sqlite3_step(statement);
        if (code == SQLITE_DONE)
            return ERR_OK;
        if (code != SQLITE_ROW)
            return fail(sqlite, code, "run a statement", diag);
        enum err err = give_row(statement, on_row, ctx);
        if (err)
            return err;
    }
}

/* The place of the statement, or of the one that was not used for longest. */
static struct statement *statement_place(struct sqlite *sqlite, const char *sql, uint64_t hash)
{
    struct statement *oldest = &sqlite->statements[0];
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        struct statement *at = &sqlite->statements[i];
        if (at->handle && at->hash == hash && strcmp(sqlite3_sql(at->handle), sql) == 0)
            return at;
        if (at->used < oldest->used)
            oldest = at;
    }
    (void)sqlite3_finalize(oldest->handle);
    *oldest = (struct statement){.hash = hash};
    return oldest;
}

/* Prepared once, and again by SQLite itself when the tables have changed. */
static enum err statement_get(struct sqlite *sqlite, const char *sql,
                              struct statement **ret_statement, struct diag *diag)
{
    struct statement *statement = statement_place(sqlite, sql, hash_bytes(bytes_from_text(sql)));
    if (!statement->handle) {
        int code = sqlite3_prepare_v3(sqlite->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                      &statement->handle, NULL);
        if (code != SQLITE_OK)
            return fail(sqlite, code, "prepare a statement", diag);
        if (!statement->handle)
            return diag_set(diag, ERR_INVALID, "an empty SQL statement");
        number_parameters(statement);
    }
    statement->used = ++sqlite->uses;
    *ret_statement = statement;
    return ERR_OK;
}

/* The parameters are the caller's, and gone soon. */
static void statement_put(sqlite3_stmt *statement)
{
    (void)sqlite3_reset(statement); /* says again what step said */
    (void)sqlite3_clear_bindings(statement);
}

static enum err sqlite_query(struct database *database, const char *sql,
                             const struct database_value *parameters, size_t parameter_count,
                             database_on_row on_row, void *ctx, int64_t *ret_changes,
                             struct diag *diag)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    struct statement *statement = NULL;
    enum err err = statement_get(sqlite, sql, &statement, diag);
    if (err != ERR_OK)
        return err;
    int code = bind_all(statement, parameters, parameter_count);
    err = code == SQLITE_OK ? run(sqlite, statement->handle, on_row, ctx, diag)
                            : fail(sqlite, code, "bind parameters", diag);
    statement_put(statement->handle);
    if (!err && ret_changes)
        *ret_changes = sqlite3_changes64(sqlite->handle);
    return err;
}

/* That an open file was removed SQLite itself does not find out in WAL mode: it goes on writing to
 * what nobody will ever open again. */
static enum err still_there(struct sqlite *sqlite, struct diag *diag)
{
    int moved = 0;
    int code = sqlite3_file_control(sqlite->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (code != SQLITE_OK || !moved)
        return ERR_OK;
    return diag_set(diag, ERR_IO,
                    "the SQLite database %s is gone: its file was removed or replaced while it was "
                    "open" DATABASE_GONE_ADVICE,
                    sqlite3_db_filename(sqlite->handle, "main"));
}

static enum err sqlite_begin(struct database *database, struct diag *diag)
{
    enum err err = still_there((struct sqlite *)database, diag);
    return err == ERR_OK ? sqlite_exec(database, "BEGIN IMMEDIATE", diag) : err;
}

static enum err sqlite_commit(struct database *database, struct diag *diag)
{
    return sqlite_exec(database, "COMMIT", diag);
}

static void sqlite_rollback(struct database *database)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    if (!sqlite3_get_autocommit(sqlite->handle)) /* some errors have rolled back already */
        (void)sqlite3_exec(sqlite->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* The write lock is taken and given back. */
static enum err sqlite_probe(struct database *database, struct diag *diag)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    const char *path = sqlite3_db_filename(sqlite->handle, "main");
    enum err err = still_there(sqlite, diag);
    if (err != ERR_OK)
        return err;
    if (path && *path && access(path, W_OK) != 0)
        return diag_set(diag, errno == ENOENT ? ERR_IO : ERR_READ_ONLY,
                        "the SQLite database %s cannot be written: %s", path,
                        err_errno_text(errno));
    (void)sqlite3_busy_timeout(sqlite->handle, PROBE_TIMEOUT_MS);
    int code = sqlite3_exec(sqlite->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    err = code == SQLITE_OK ? ERR_OK : fail(sqlite, code, "be written", diag);
    sqlite_rollback(database);
    (void)sqlite3_busy_timeout(sqlite->handle, DATABASE_BUSY_TIMEOUT_MS);
    return err;
}

static void sqlite_close(struct database *database)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    for (size_t i = 0; i < STATEMENTS_MAX; i++)
        (void)sqlite3_finalize(sqlite->statements[i].handle);
    int code = sqlite3_close(sqlite->handle);
    assert(code == SQLITE_OK); /* all statements are in the list */
    mutex_fini(&database->mutex);
    mem_free(sqlite);
}

static void sqlite_set_patience(struct database *database, int timeout_ms)
{
    struct sqlite *sqlite = (struct sqlite *)database;
    (void)sqlite3_busy_timeout(sqlite->handle, timeout_ms);
}

static const struct database_ops sqlite_ops = {
    .dialect = &dialect_sqlite,
    .exec = sqlite_exec,
    .query = sqlite_query,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .probe = sqlite_probe,
    .close = sqlite_close,
    .set_patience = sqlite_set_patience,
};

static enum err make_parent(const char *path, struct diag *diag)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return ERR_OK;
    char *folder = mem_dup(path, (size_t)(slash - path) + 1);
    if (!folder)
        return ERR_NO_MEMORY;
    folder[slash - path] = 0;
    struct diag why = {0};
    enum err err = fs_make_folders(&fs_posix, folder, &why);
    mem_free(folder);
    return err == ERR_OK ? err
                         : diag_set(diag, err, "the SQLite database %.150s cannot be opened: %s",
                                    path, why.text[0] ? why.text : err_text(err));
}

/* Two handles that open a new database at once: SQLite refuses one of them the change of the
 * journal mode without waiting, whatever the time-out, so the wait is ours. */
static enum err settle(struct sqlite *sqlite, struct diag *diag)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + SETTLE_NS;
    for (;;) {
        struct diag why = {0};
        enum err err = sqlite_exec(&sqlite->base,
                                   "PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; "
                                   "PRAGMA synchronous = FULL; PRAGMA cache_size = -512; "
                                   "PRAGMA secure_delete = ON" /* sqlite_image.c */,
                                   &why);
        if (err != ERR_BUSY || clock_monotonic_ns(&clock_system) >= until_ns)
            return err == ERR_OK ? err : diag_set(diag, err, "%s", why.text);
        (void)sqlite3_sleep(SETTLE_STEP_MS);
    }
}

static enum err handle_make(struct sqlite *sqlite, const char *path, int flags, int timeout_ms,
                            struct diag *diag)
{
    int code = sqlite3_open_v2(path, &sqlite->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (!sqlite->handle)
        return ERR_NO_MEMORY;
    if (code != SQLITE_OK && !sqlite->reads_only && (code & 0xff) == SQLITE_CANTOPEN)
        return fail_to_write(diag, err_from_sqlite(code), path, "be opened",
                             sqlite3_errmsg(sqlite->handle), sqlite3_system_errno(sqlite->handle));
    if (code != SQLITE_OK)
        return diag_set(diag, err_from_sqlite(code), "the SQLite database %s cannot be opened: %s",
                        path, sqlite3_errmsg(sqlite->handle));
    (void)sqlite3_extended_result_codes(sqlite->handle, 1);
    (void)sqlite3_busy_timeout(sqlite->handle, timeout_ms);
    return ERR_OK;
}

static enum err open_handle(struct sqlite *sqlite, const char *path, struct diag *diag)
{
    enum err err = handle_make(sqlite, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                               DATABASE_BUSY_TIMEOUT_MS, diag);
    return err == ERR_OK ? settle(sqlite, diag) : err;
}

enum err sqlite_open(const char *path, struct database **ret_database, struct diag *diag)
{
    enum err err = ERR_OK;
    if (strcmp(path, ":memory:") != 0)
        err = make_parent(path, diag);
    if (err)
        return err;
    struct sqlite *sqlite = mem_zalloc(1, sizeof(*sqlite));
    if (!sqlite)
        return ERR_NO_MEMORY;
    sqlite->base.ops = &sqlite_ops;
    mutex_init(&sqlite->base.mutex);
    err = open_handle(sqlite, path, diag);
    if (err) {
        sqlite_close(&sqlite->base);
        return err;
    }
    *ret_database = &sqlite->base;
    return ERR_OK;
}

/* --- to read only -------------------------------------------------------------------------- */

/* What was committed and is in the file itself not yet. */
static bool has_log(const char *path)
{
    struct buf log;
    struct fs_stat stat;
    buf_init(&log, 8 * KIB);
    buf_printf(&log, "%s-wal", path);
    const char *name = buf_cstr(&log);
    bool has = !name || fs_stat(&fs_posix, name, &stat, NULL) != ERR_NOT_FOUND;
    buf_fini(&log);
    return has;
}

/* Where nothing can be written beside the file, SQLite reads one of WAL mode only when it is told
 * that the file does not change. Without a log everything is in it. */
static enum err immutable_uri(const char *path, struct buf *out)
{
    buf_text(out, "file:");
    for (const char *at = path; *at; at++) {
        if (*at == '%' || *at == '?' || *at == '#')
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)*at);
        else
            buf_byte(out, (uint8_t)*at);
    }
    buf_text(out, "?immutable=1");
    return buf_cstr(out) ? ERR_OK : ERR_NO_MEMORY;
}

static enum err read_handle(struct sqlite *sqlite, const char *path, int flags, struct diag *diag)
{
    enum err err = handle_make(sqlite, path, flags | SQLITE_OPEN_READONLY, READ_TIMEOUT_MS, diag);
    if (err == ERR_OK)
        err = sqlite_exec(&sqlite->base, "SELECT count(*) FROM sqlite_master", diag);
    if (err == ERR_OK)
        return ERR_OK;
    (void)sqlite3_close(sqlite->handle);
    sqlite->handle = NULL;
    return err;
}

enum err sqlite_open_to_read(const char *path, struct database **ret_database, struct diag *diag)
{
    struct sqlite *sqlite = mem_zalloc(1, sizeof(*sqlite));
    struct buf uri;
    if (!sqlite)
        return ERR_NO_MEMORY;
    sqlite->base.ops = &sqlite_ops;
    sqlite->reads_only = true;
    mutex_init(&sqlite->base.mutex);
    buf_init(&uri, 16 * KIB);
    enum err err = read_handle(sqlite, path, 0, diag);
    if (err == ERR_IO && !has_log(path) && immutable_uri(path, &uri) == ERR_OK)
        err = read_handle(sqlite, buf_cstr(&uri), SQLITE_OPEN_URI, diag);
    buf_fini(&uri);
    if (err != ERR_OK) {
        sqlite_close(&sqlite->base);
        return err;
    }
    *ret_database = &sqlite->base;
    return ERR_OK;
}
