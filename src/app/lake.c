#include "app/cli.h"
#include "app/config_store.h"
#include "app/lake_parts.h"
#include "app/terminal.h"
#include "lake/object_key.h"

#include <stdlib.h>

#define ROWS_OF_HEAD 10

static const struct {
    const char *verb;
    enum err (*run)(struct lake_view *view);
} verbs[] = {
    {"ls", lake_list},       {"cat", lake_rows},   {"head", lake_rows},
    {"schema", lake_schema}, {"ddl", lake_schema}, {"verify", lake_check},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static bool verb_is(const struct lake_command *command, const char *verb)
{
    return command->verb && strcmp(command->verb, verb) == 0;
}

static bool verb_known(const struct lake_command *command)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (verb_is(command, verbs[i].verb))
            return true;
    }
    return false;
}

static bool engine_known(const char *name)
{
    return name && (strcmp(name, "duckdb") == 0 || strcmp(name, "spark") == 0 ||
                    strcmp(name, "trino") == 0);
}

enum err lake_command_check(struct lake_command *command, const char *limit, struct diag *diag)
{
    char *end = NULL;
    if (!verb_known(command))
        return diag_set(diag, ERR_INVALID, "say what to do: ls, head, cat, schema, ddl or verify");
    if (!command->target && !verb_is(command, "ls") && !verb_is(command, "verify"))
        return diag_set(diag, ERR_INVALID,
                        "say of which dataset or file; `ingestor lake ls` lists them");
    if (verb_is(command, "ddl") && !engine_known(command->engine))
        return diag_set(diag, ERR_INVALID, "--engine must be duckdb, spark or trino");
    command->rows_max = verb_is(command, "head") ? ROWS_OF_HEAD : UINT64_MAX;
    if (!limit)
        return ERR_OK;
    command->rows_max = strtoull(limit, &end, 10);
    if (*limit < '0' || *limit > '9' || *end != '\0')
        return diag_set(diag, ERR_INVALID, "--limit must be a number of rows");
    return ERR_OK;
}

/* --- targets ------------------------------------------------------------------------------- */

struct selection {
    const struct lake_view *view;
    enum err (*on_file)(void *ctx, const struct lake_file *file);
    void *ctx;
    uint64_t count;
};

static enum err on_found(void *ctx, const struct lake_file *file)
{
    struct selection *selection = ctx;
    if (selection->view->file && strcmp(selection->view->file, file->key) != 0)
        return ERR_OK;
    selection->count++;
    return selection->on_file(selection->ctx, file);
}

enum err lake_view_walk(struct lake_view *view,
                        enum err (*on_file)(void *ctx, const struct lake_file *file), void *ctx)
{
    struct selection selection = {view, on_file, ctx, 0};
    if (view->is_local)
        return on_file(ctx, &(struct lake_file){view->file, view->local_bytes, 0});
    enum err err = lake_walk(view->store, view->prefix, on_found, &selection, &view->diag);
    if (err == ERR_OK && selection.count == 0 && view->encoded_prefix[0] != '\0')
        err = lake_walk(view->store, view->encoded_prefix, on_found, &selection, &view->diag);
    if (err == ERR_OK && selection.count == 0 && view->command->target)
        err = diag_set(&view->diag, ERR_NOT_FOUND, "%.200s holds no file of %.200s",
                       view->store->description, view->command->target);
    return err;
}

bool lake_is_file_fault(enum err err)
{
    return err_class(err) == ERR_CLASS_CORRUPT || err_class(err) == ERR_CLASS_LIMIT ||
           err == ERR_UNSUPPORTED;
}

enum err lake_view_file_read(struct lake_view *view, const struct lake_file *file, enum err err,
                             const struct diag *diag)
{
    const char *what = diag->text[0] ? diag->text : err_text(err);
    if (err == ERR_OK)
        return ERR_OK;
    if (!lake_is_file_fault(err))
        return diag_set(&view->diag, err, "%.200s: %.280s", file->key, what);
    fflush(stdout);
    fputs("ingestor lake: ", stderr);
    terminal_text(stderr, file->key);
    fputs(": ", stderr);
    terminal_text(stderr, what);
    fputc('\n', stderr);
    view->damaged = true;
    return ERR_OK;
}

json_t *lake_json_text(struct bytes text)
{
    struct buf quoted;
    buf_init(&quoted, LAKE_LINE_BYTES_MAX);
    json_t *json = buf_json_string(&quoted, text) == ERR_OK
                       ? json_loadb((const char *)quoted.data, quoted.size,
                                    JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)
                       : NULL;
    buf_fini(&quoted);
    return json;
}

struct bytes lake_key_part(const char *key, const char *name)
{
    size_t size = strlen(name);
    for (const char *part = key; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, name, size) == 0 && part[size] == '=')
            return bytes_from(part + size + 1, strcspn(part + size + 1, "/"));
    }
    return (struct bytes){0};
}

struct bytes lake_key_dataset(const char *key)
{
    static const char letters[] = "bronze/" LAKE_DEAD_LETTERS "/";
    if (strncmp(key, letters, sizeof(letters) - 1) == 0)
        return BYTES_LITERAL(LAKE_DEAD_LETTERS);
    return lake_key_part(key, "ingestion_id");
}

static bool ends_in_parquet(const char *text)
{
    size_t size = strlen(text);
    return size > 8 && strcmp(text + size - 8, ".parquet") == 0;
}

static enum err set_text(char text[LAKE_KEY_BYTES_MAX], struct bytes value, struct diag *diag)
{
    if (value.size >= LAKE_KEY_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "the name is longer than %d bytes",
                        LAKE_KEY_BYTES_MAX - 1);
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    return ERR_OK;
}

/* A file on this machine: its folder is the store. */
static enum err aim_at_path(struct lake_view *view, const char *path, uint64_t size_bytes)
{
    char folder[LAKE_KEY_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    enum err err = set_text(
        folder, slash ? bytes_from(path, (size_t)(slash - path) + 1) : bytes_from_text("."),
        &view->diag);
    if (err != ERR_OK)
        return err;
    view->store->ops->close(view->store);
    view->store = NULL;
    view->file = slash ? slash + 1 : path;
    view->is_local = true;
    view->local_bytes = size_bytes;
    return store_folder_new(&fs_posix, folder, &view->store, &view->diag);
}

/* `ls` says ids as the path has them: percent-encoded, over-long ones cut. */
static void aim_at_encoded(struct lake_view *view, const char *target)
{
    int size = snprintf(view->encoded_prefix, sizeof(view->encoded_prefix),
                        "bronze/ingestion_id=%s/", target);
    if (size < 0 || (size_t)size >= sizeof(view->encoded_prefix) || strchr(target, '/'))
        view->encoded_prefix[0] = '\0';
}

static enum err aim_at_dataset(struct lake_view *view, const char *target)
{
    struct buf prefix;
    buf_init(&prefix, LAKE_KEY_BYTES_MAX - 1);
    if (strcmp(target, LAKE_DEAD_LETTERS) == 0) {
        buf_text(&prefix, "bronze/" LAKE_DEAD_LETTERS);
    } else {
        buf_text(&prefix, "bronze/ingestion_id=");
        (void)!object_key_encode_id(&prefix, bytes_from_text(target));
        aim_at_encoded(view, target);
    }
    buf_byte(&prefix, '/');
    enum err err = prefix.err ? prefix.err : set_text(view->prefix, buf_bytes(&prefix), NULL);
    buf_fini(&prefix);
    return err;
}

static enum err aim(struct lake_view *view)
{
    const char *target = view->command->target;
    struct fs_stat stat;
    if (!target)
        return set_text(view->prefix, BYTES_LITERAL("bronze/"), &view->diag);
    const char *slash = strrchr(target, '/');
    if (!slash && !ends_in_parquet(target)) /* whatever file here may be called like it */
        return aim_at_dataset(view, target);
    if (fs_stat(&fs_posix, target, &stat, NULL) == ERR_OK && !stat.is_folder)
        return aim_at_path(view, target, stat.size_bytes);
    if (!ends_in_parquet(target))
        return aim_at_dataset(view, target);
    if (!slash)
        return diag_set(&view->diag, ERR_NOT_FOUND, "there is no file %.200s", target);
    view->file = target;
    return set_text(view->prefix, bytes_from(target, (size_t)(slash - target) + 1), &view->diag);
}

/* --- the command --------------------------------------------------------------------------- */

static enum err open_store(const struct config *config, struct lake_view *view)
{
    int size = config->store_kind == CONFIG_STORE_S3
                   ? snprintf(view->url, sizeof(view->url), "s3://%s/", config->store_bucket)
                   : snprintf(view->url, sizeof(view->url), "%s/", config->store_folder);
    if (size < 0 || (size_t)size >= sizeof(view->url))
        return diag_set(&view->diag, ERR_TOO_LARGE, "the store's name is too long");
    return config_store_open(config, &view->store, &view->diag);
}

static enum err run(struct lake_view *view)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (verb_is(view->command, verbs[i].verb))
            return verbs[i].run(view);
    }
    return ERR_BUG;
}

int lake_main(const struct config *config, const struct lake_command *command)
{
    struct lake_view view = {.command = command, .journal_dir = config->journal_dir};
    enum err err = open_store(config, &view);
    if (err == ERR_OK)
        err = aim(&view);
    if (err == ERR_OK)
        err = run(&view);
    if (view.store)
        view.store->ops->close(view.store);
    if (err == ERR_OK && fflush(stdout) != 0)
        err = diag_set(&view.diag, ERR_IO, "the answer could not be written");
    if (err != ERR_OK) {
        fprintf(stderr, "ingestor lake %s: ", command->verb);
        terminal_text(stderr, view.diag.text[0] ? view.diag.text : err_text(err));
        fputc('\n', stderr);
    }
    if (view.damaged || err_class(err) == ERR_CLASS_CORRUPT)
        return CLI_LAKE;
    return err == ERR_OK ? CLI_OK : CLI_FAILURE;
}
