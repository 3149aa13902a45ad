#include "base/limits.h"
#include "codec/python_json.h"
#include "codec/timestamp.h"
#include "connectors/registry.h"
#include "os/clock.h"
#include "sources/source_table_sql.h"

/* One connector against its row. */
struct type_row {
    const struct connector *connector;
    json_t *schema; /* the connector's */
    struct buf schema_text;
    bool is_there;
    bool is_same;
};

static enum err type_row_init(struct type_row *row, const struct connector *connector)
{
    *row = (struct type_row){.connector = connector};
    buf_init(&row->schema_text, SOURCE_TABLE_JSON_BYTES_MAX);
    row->schema = json_loads(connector->config_schema, 0, NULL); /* the registry's test read it */
    if (!row->schema)
        return ERR_NO_MEMORY;
    return python_json_write(row->schema, &row->schema_text);
}

static void type_row_fini(struct type_row *row)
{
    json_decref(row->schema);
    buf_fini(&row->schema_text);
}

static bool says(const struct database_value *value, const char *text)
{
    return value->kind == DATABASE_TEXT && bytes_equal_text(value->bytes, text);
}

static const char *description(const struct connector *connector)
{
    return connector->display.description ? connector->display.description : "";
}

static enum err on_type_row(void *ctx, const struct database_value *columns, size_t count)
{
    struct type_row *row = ctx;
    json_t *schema = NULL;
    if (count != 4)
        return ERR_BUG;
    enum err err = source_table_read_object(&columns[3], &schema);
    if (err == ERR_NO_MEMORY)
        return err;
    row->is_there = true;
    row->is_same = schema && json_equal(schema, row->schema) &&
                   says(&columns[0], row->connector->display.name) &&
                   says(&columns[1], description(row->connector)) &&
                   says(&columns[2], registry_class_path(row->connector));
    json_decref(schema);
    return ERR_OK;
}

static enum err write_type(struct database_transaction *transaction, const struct type_row *row,
                           struct diag *diag)
{
    char now[DATABASE_DATE_BYTES];
    const struct connector *connector = row->connector;
    struct database_value values[7] = {
        source_table_text(connector->name),
        source_table_text(connector->display.name),
        source_table_text(description(connector)),
        source_table_text(registry_class_path(connector)),
        database_text(buf_bytes(&row->schema_text)),
        database_integer(1),
        source_table_date(clock_realtime_us(&clock_system), now),
    };
    if (row->is_there)
        return database_transaction_query(
            transaction,
            "UPDATE data_source_types SET display_name = $2, description = $3, "
            "connector_class = $4, config_schema = $5 WHERE name = $1",
            values, 5, NULL, NULL, NULL, diag);
    return database_transaction_query(
        transaction,
        "INSERT INTO data_source_types (name, display_name, description, connector_class, "
        "config_schema, enabled, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values, 7, NULL, NULL, NULL, diag);
}

static enum err prepare_type(struct database_transaction *transaction,
                             const struct connector *connector, struct diag *diag)
{
    struct type_row row;
    struct database_value name = source_table_text(connector->name);
    enum err err = type_row_init(&row, connector);
    if (!err)
        err = database_transaction_query(
            transaction,
            "SELECT display_name, description, connector_class, config_schema "
            "FROM data_source_types WHERE name = $1",
            &name, 1, on_type_row, &row, NULL, diag);
    if (!err && !row.is_same)
        err = write_type(transaction, &row, diag);
    type_row_fini(&row);
    return err;
}

static enum err prepare_types(struct database_transaction *transaction, void *ctx,
                              struct diag *diag)
{
    (void)ctx;
    for (size_t i = 0; i < registry_count(); i++) {
        enum err err = prepare_type(transaction, registry_at(i), diag);
        if (err)
            return err;
    }
    return ERR_OK;
}

enum err source_table_prepare_types(struct database *database, struct diag *diag)
{
    return database_transact(database, prepare_types, NULL, diag);
}

enum type_column {
    TYPE_ID,
    TYPE_NAME,
    TYPE_DISPLAY,
    TYPE_DESCRIPTION,
    TYPE_CLASS,
    TYPE_SCHEMA,
    TYPE_ENABLED,
    TYPE_CREATED_AT,
    TYPE_COLUMN_COUNT,
};

static json_t *text_or(const struct database_value *value, const char *otherwise)
{
    if (!source_table_is_text(value))
        return json_string(otherwise);
    return json_stringn((const char *)value->bytes.data, value->bytes.size);
}

/* "YYYY-MM-DD HH:MM:SS"; null when there is none that can be read. */
static json_t *created_at(const struct database_value *value)
{
    int64_t us;
    char text[DATABASE_DATE_BYTES];
    if (value->kind == DATABASE_NULL || !database_date_parse(value, &us))
        return json_null();
    database_date_format(us, text);
    return json_stringn(text, 19);
}

/* The row's schema, or the connector's own where somebody has broken the row's. */
static enum err schema_of(const struct database_value *value, const struct connector *connector,
                          json_t **ret_schema)
{
    enum err err = source_table_read_object(value, ret_schema);
    if (err != ERR_CORRUPT)
        return err;
    *ret_schema = json_loads(connector->config_schema, 0, NULL);
    return *ret_schema ? ERR_OK : ERR_NO_MEMORY;
}

static enum err on_shown_type(void *ctx, const struct database_value *columns, size_t count)
{
    json_t *types = ctx;
    json_t *schema = NULL;
    if (count != TYPE_COLUMN_COUNT)
        return ERR_BUG;
    if (!source_table_is_text(&columns[TYPE_NAME]))
        return ERR_OK;
    const struct connector *connector = registry_find((const char *)columns[TYPE_NAME].bytes.data);
    if (!connector)
        return ERR_OK;
    enum err err = schema_of(&columns[TYPE_SCHEMA], connector, &schema);
    if (err)
        return err;
    json_t *type =
        json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:b, s:o}", "id",
                  (json_int_t)columns[TYPE_ID].integer, "name", connector->name, "display_name",
                  text_or(&columns[TYPE_DISPLAY], connector->display.name), "description",
                  text_or(&columns[TYPE_DESCRIPTION], ""), "connector_class",
                  text_or(&columns[TYPE_CLASS], registry_class_path(connector)), "config_schema",
                  schema, "enabled", columns[TYPE_ENABLED].integer != 0, "created_at",
                  created_at(&columns[TYPE_CREATED_AT]));
    return type && json_array_append_new(types, type) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err source_table_types(struct database *database, json_t **ret_types, struct diag *diag)
{
    json_t *types = json_array();
    if (!types)
        return ERR_NO_MEMORY;
    enum err err = database_query(database,
                                  "SELECT id, name, display_name, description, connector_class, "
                                  "config_schema, enabled, created_at "
                                  "FROM data_source_types ORDER BY id",
                                  NULL, 0, on_shown_type, types, NULL, diag);
    if (err) {
        json_decref(types);
        return err;
    }
    *ret_types = types;
    return ERR_OK;
}
