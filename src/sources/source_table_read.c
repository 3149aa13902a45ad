#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/utf8.h"
#include "connectors/registry.h"
#include "sources/source_table_sql.h"

#include <stdio.h>

#define ROW_COLUMNS                                                                                \
    "SELECT s.id, s.name, t.name, t.display_name, s.config, s.ingestion_id, s.created_by, "        \
    "s.last_error, s.status, s.enabled, s.last_connection, s.created_at, s.updated_at "            \
    "FROM data_sources s LEFT JOIN data_source_types t ON t.id = s.type_id "

enum column {
    COLUMN_ID,
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_TYPE_DISPLAY,
    COLUMN_CONFIG,
    COLUMN_INGESTION_ID,
    COLUMN_CREATED_BY,
    COLUMN_LAST_ERROR,
    COLUMN_STATUS,
    COLUMN_ENABLED,
    COLUMN_LAST_CONNECTION,
    COLUMN_CREATED_AT,
    COLUMN_UPDATED_AT,
    COLUMN_COUNT,
};

void source_row_fini(struct source_row *row)
{
    mem_free(row->name);
    mem_free(row->type_name);
    mem_free(row->type_display_name);
    json_decref(row->config);
    mem_free(row->ingestion_id);
    mem_free(row->created_by);
    mem_free(row->last_error);
    *row = (struct source_row){0};
}

bool source_table_is_text(const struct database_value *value)
{
    return value->kind == DATABASE_TEXT && utf8_valid(value->bytes) &&
           (value->bytes.size == 0 || !memchr(value->bytes.data, 0, value->bytes.size));
}

/* jansson does not always say that it had no memory: it may call the text wrong. */
static bool was_out_of_memory(const json_error_t *error, struct bytes text)
{
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return true;
    case json_error_unknown:
    case json_error_invalid_syntax:
    case json_error_premature_end_of_input:
    case json_error_end_of_input_expected:
        return json_validate(text, true) == ERR_OK && !strstr(error->text, "Unicode");
    default:
        return false;
    }
}

enum err source_table_read_object(const struct database_value *value, json_t **ret_object)
{
    json_error_t error;
    if (value->kind != DATABASE_TEXT || value->bytes.size > SOURCE_TABLE_JSON_BYTES_MAX)
        return ERR_CORRUPT;
    json_t *object =
        json_loadb((const char *)value->bytes.data, value->bytes.size, JSON_ALLOW_NUL, &error);
    if (!object)
        return was_out_of_memory(&error, value->bytes) ? ERR_NO_MEMORY : ERR_CORRUPT;
    if (!json_is_object(object)) {
        json_decref(object);
        return ERR_CORRUPT;
    }
    *ret_object = object;
    return ERR_OK;
}

enum err source_table_on_integer(void *ctx, const struct database_value *columns, size_t count)
{
    if (count == 1 && columns[0].kind == DATABASE_INTEGER)
        *(int64_t *)ctx = columns[0].integer;
    return ERR_OK;
}

/* A row half read: what is wrong with it is said once. */
struct reading {
    const struct database_value *columns;
    struct source_row *row;
    const char *wrong; /* NULL: nothing */
    enum err err;
};

static void wrong(struct reading *reading, const char *what)
{
    if (!reading->wrong)
        reading->wrong = what;
}

static char *read_text(struct reading *reading, enum column column, bool needed, const char *what)
{
    const struct database_value *value = &reading->columns[column];
    if (value->kind == DATABASE_NULL && !needed)
        return NULL;
    if (!source_table_is_text(value)) {
        wrong(reading, what);
        return NULL;
    }
    char *text = mem_alloc(value->bytes.size + 1);
    if (!text) {
        reading->err = ERR_NO_MEMORY;
        return NULL;
    }
    if (value->bytes.size)
        memcpy(text, value->bytes.data, value->bytes.size);
    text[value->bytes.size] = 0;
    return text;
}

static int64_t read_date(struct reading *reading, enum column column, const char *what)
{
    int64_t us = 0;
    if (!database_date_parse(&reading->columns[column], &us))
        wrong(reading, what);
    return us;
}

/* SQLAlchemy has two ways to say that there is none: NULL and the JSON text null. */
static void read_config(struct reading *reading)
{
    const struct database_value *value = &reading->columns[COLUMN_CONFIG];
    if (value->kind == DATABASE_NULL ||
        (value->kind == DATABASE_TEXT && bytes_equal_text(value->bytes, "null"))) {
        reading->row->config = json_object();
        if (!reading->row->config)
            reading->err = ERR_NO_MEMORY;
        return;
    }
    enum err err = source_table_read_object(value, &reading->row->config);
    if (err == ERR_CORRUPT)
        wrong(reading, "its config is no JSON object");
    else if (err)
        reading->err = err;
}

static void read_flags(struct reading *reading)
{
    const struct database_value *columns = reading->columns;
    struct source_row *row = reading->row;
    row->id = columns[COLUMN_ID].integer;
    if (columns[COLUMN_ID].kind != DATABASE_INTEGER)
        wrong(reading, "its id is no number");
    row->enabled = columns[COLUMN_ENABLED].integer != 0;
    if (columns[COLUMN_ENABLED].kind != DATABASE_INTEGER)
        wrong(reading, "enabled is neither 0 nor 1");
    bool has_status = source_table_is_text(&columns[COLUMN_STATUS]) &&
                      columns[COLUMN_STATUS].bytes.size < sizeof(row->status);
    (void)snprintf(row->status, sizeof(row->status), "%s",
                   has_status ? (const char *)columns[COLUMN_STATUS].bytes.data : "inactive");
}

static void read_type(struct reading *reading)
{
    struct source_row *row = reading->row;
    if (reading->columns[COLUMN_TYPE].kind == DATABASE_NULL)
        wrong(reading, "its type is not in the table of types");
    row->type_name = read_text(reading, COLUMN_TYPE, true, "its type's name is no text");
    if (row->type_name && !registry_find(row->type_name))
        wrong(reading, "this program has no connector for its type");
    row->type_display_name =
        read_text(reading, COLUMN_TYPE_DISPLAY, true, "its type's display name is no text");
}

/* ERR_CORRUPT: *ret_wrong says what cannot be read. Whatever it is, row can be finished. */
static enum err read_row(const struct database_value *columns, struct source_row *row,
                         const char **ret_wrong)
{
    struct reading reading = {.columns = columns, .row = row};
    *row = (struct source_row){0};
    read_flags(&reading);
    read_type(&reading);
    row->name = read_text(&reading, COLUMN_NAME, true, "its name is no text");
    row->ingestion_id =
        read_text(&reading, COLUMN_INGESTION_ID, true, "its ingestion id is no text");
    row->created_by = read_text(&reading, COLUMN_CREATED_BY, false, "created_by is no text");
    row->last_error = read_text(&reading, COLUMN_LAST_ERROR, false, "last_error is no text");
    row->last_connection_us =
        read_date(&reading, COLUMN_LAST_CONNECTION, "last_connection is no date");
    row->created_at_us = read_date(&reading, COLUMN_CREATED_AT, "created_at is no date");
    row->updated_at_us = read_date(&reading, COLUMN_UPDATED_AT, "updated_at is no date");
    if (columns[COLUMN_UPDATED_AT].kind == DATABASE_NULL)
        row->updated_at_us = row->created_at_us;
    read_config(&reading);
    *ret_wrong = reading.wrong;
    return reading.err ? reading.err : reading.wrong ? ERR_CORRUPT : ERR_OK;
}

struct each {
    source_table_on_row on_row;
    void *ctx;
};

static enum err on_each_row(void *ctx, const struct database_value *columns, size_t count)
{
    const struct each *each = ctx;
    struct source_row row;
    const char *what;
    if (count != COLUMN_COUNT)
        return ERR_BUG;
    enum err err = read_row(columns, &row, &what);
    if (!err)
        return each->on_row(each->ctx, &row);
    if (err == ERR_CORRUPT) {
        log_warning("sources", "data source %lld is left alone: %s",
                    (long long)columns[COLUMN_ID].integer, what);
        err = ERR_OK;
    }
    source_row_fini(&row);
    return err;
}

enum err source_table_each(struct database *database, source_table_on_row on_row, void *ctx,
                           struct diag *diag)
{
    struct each each = {on_row, ctx};
    return database_query(database, ROW_COLUMNS "ORDER BY s.id", NULL, 0, on_each_row, &each, NULL,
                          diag);
}

struct get {
    struct source_row *ret_row;
    bool is_there;
    struct diag *diag;
};

static enum err on_get_row(void *ctx, const struct database_value *columns, size_t count)
{
    struct get *get = ctx;
    const char *what;
    if (count != COLUMN_COUNT)
        return ERR_BUG;
    enum err err = read_row(columns, get->ret_row, &what);
    if (err == ERR_CORRUPT)
        (void)diag_set(get->diag, err, "data source %lld cannot be used: %s",
                       (long long)columns[COLUMN_ID].integer, what);
    if (err)
        source_row_fini(get->ret_row);
    get->is_there = true;
    return err;
}

enum err source_table_get(struct database *database, int64_t id, struct source_row *ret_row,
                          struct diag *diag)
{
    struct get get = {.ret_row = ret_row, .diag = diag};
    struct database_value value = database_integer(id);
    enum err err = database_query(database, ROW_COLUMNS "WHERE s.id = $1", &value, 1, on_get_row,
                                  &get, NULL, diag);
    if (err || get.is_there)
        return err;
    return diag_set(diag, ERR_NOT_FOUND, "Data source %lld not found", (long long)id);
}
