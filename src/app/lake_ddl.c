#include "app/lake_ddl.h"

#include "base/limits.h"

#include <string.h>

#define DEPTH_MAX 64

struct dialect {
    char quote; /* of names; doubled inside them */
    /* Types that are not called as in the file. */
    const char *int32, *int64, *real, *text, *binary, *instant;
    const char *struct_open, *struct_close, *struct_colon; /* STRUCT<a: DOUBLE>, ROW("a" DOUBLE) */
    const char *list_open, *list_close;
    /* CREATE TABLE … name (columns partitions 'location' repair name repair_end */
    const char *schema, *partitions, *repair, *repair_end;
    char repair_quote;
};

static const struct dialect dialect_spark = {
    .quote = '`',
    .int32 = "INT",
    .int64 = "BIGINT",
    .real = "FLOAT",
    .text = "STRING",
    .binary = "BINARY",
    .instant = "TIMESTAMP",
    .struct_open = "STRUCT<",
    .struct_close = ">",
    .struct_colon = ": ",
    .list_open = "ARRAY<",
    .list_close = ">",
    .schema = "",
    .partitions = ",\n  `date` STRING,\n  `hour` STRING\n)\nUSING PARQUET\n"
                  "PARTITIONED BY (`date`, `hour`)\nLOCATION ",
    .repair = ";\nMSCK REPAIR TABLE ",
    .repair_quote = '`',
    .repair_end = "; -- again when there are new partitions\n",
};

static const struct dialect dialect_trino = {
    .quote = '"',
    .int32 = "INTEGER",
    .int64 = "BIGINT",
    .real = "REAL",
    .text = "VARCHAR",
    .binary = "VARBINARY",
    .instant = "TIMESTAMP(6)",
    .struct_open = "ROW(",
    .struct_close = ")",
    .struct_colon = " ",
    .list_open = "ARRAY(",
    .list_close = ")",
    .schema = "hive.\"default\".",
    .partitions = ",\n  \"date\" VARCHAR,\n  \"hour\" VARCHAR\n)\nWITH (format = 'PARQUET', "
                  "partitioned_by = ARRAY['date', 'hour'], external_location = ",
    .repair = ");\nCALL hive.system.sync_partition_metadata('default', ",
    .repair_quote = '\'',
    .repair_end = ", 'FULL'); -- again when there are new partitions\n",
};

static void put_quoted(struct buf *out, const char *text, char quote)
{
    buf_byte(out, (uint8_t)quote);
    for (; *text; text++) {
        if (*text == quote)
            buf_byte(out, (uint8_t)quote);
        buf_byte(out, (uint8_t)*text);
    }
    buf_byte(out, (uint8_t)quote);
}

static const char *text_of(const json_t *column, const char *key)
{
    const char *text = json_string_value(json_object_get(column, key));
    return text ? text : "";
}

static enum err put_type(const struct dialect *dialect, const json_t *column, int depth,
                         struct buf *out);

static enum err put_struct(const struct dialect *dialect, const json_t *column, int depth,
                           struct buf *out)
{
    const json_t *fields = json_object_get(column, "fields");
    enum err err = buf_text(out, dialect->struct_open);
    for (size_t i = 0; i < json_array_size(fields) && err == ERR_OK; i++) {
        const json_t *field = json_array_get(fields, i);
        if (i > 0)
            buf_text(out, ", ");
        put_quoted(out, text_of(field, "name"), dialect->quote);
        buf_text(out, dialect->struct_colon);
        err = put_type(dialect, field, depth + 1, out);
    }
    buf_text(out, dialect->struct_close);
    return err;
}

static const char *leaf_type(const struct dialect *dialect, const char *type)
{
    const struct {
        const char *ours, *theirs;
    } names[] = {{"STRING", dialect->text}, {"BINARY", dialect->binary},
                 {"INT32", dialect->int32}, {"INT64", dialect->int64},
                 {"FLOAT", dialect->real},  {"TIMESTAMP", dialect->instant}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].ours, type) == 0)
            return names[i].theirs;
    }
    return type; /* DOUBLE, BOOLEAN: the same everywhere */
}

static enum err put_type(const struct dialect *dialect, const json_t *column, int depth,
                         struct buf *out)
{
    const char *type = text_of(column, "type");
    if (depth > DEPTH_MAX)
        return ERR_TOO_DEEP;
    if (strcmp(type, "STRUCT") == 0)
        return put_struct(dialect, column, depth, out);
    if (strcmp(type, "LIST") != 0)
        return buf_text(out, leaf_type(dialect, type));
    buf_text(out, dialect->list_open);
    enum err err = put_type(dialect, json_object_get(column, "element"), depth + 1, out);
    buf_text(out, dialect->list_close);
    return err ? err : out->err;
}

static enum err put_columns(const struct dialect *dialect, const json_t *columns, struct buf *out)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < json_array_size(columns) && err == ERR_OK; i++) {
        const json_t *column = json_array_get(columns, i);
        buf_text(out, i > 0 ? ",\n  " : "  ");
        put_quoted(out, text_of(column, "name"), dialect->quote);
        buf_byte(out, ' ');
        err = put_type(dialect, column, 0, out);
    }
    return err;
}

/* The view finds new files and new columns by itself. */
static enum err put_duckdb(const struct lake_ddl *ddl, struct buf *out)
{
    struct buf glob;
    buf_init(&glob, 64 * KIB);
    enum err err = buf_printf(&glob, "%s*/*/*.parquet", ddl->location);
    const char *text = buf_cstr(&glob);
    buf_text(out, "CREATE OR REPLACE VIEW ");
    put_quoted(out, ddl->table, '"');
    buf_text(out, " AS\nSELECT * FROM read_parquet(");
    if (text)
        put_quoted(out, text, '\'');
    buf_text(out, ", hive_partitioning = true, union_by_name = true);\n");
    buf_fini(&glob);
    return err ? err : out->err;
}

static enum err put_table(const struct lake_ddl *ddl, const struct dialect *dialect,
                          struct buf *out)
{
    buf_printf(out, "CREATE TABLE IF NOT EXISTS %s", dialect->schema);
    put_quoted(out, ddl->table, dialect->quote);
    buf_text(out, " (\n");
    enum err err = put_columns(dialect, ddl->columns, out);
    buf_text(out, dialect->partitions);
    put_quoted(out, ddl->location, '\'');
    buf_text(out, dialect->repair);
    put_quoted(out, ddl->table, dialect->repair_quote);
    buf_text(out, dialect->repair_end);
    return err ? err : out->err;
}

enum err lake_ddl_write(const struct lake_ddl *ddl, struct buf *out)
{
    if (strcmp(ddl->engine, "duckdb") == 0)
        return put_duckdb(ddl, out);
    if (strcmp(ddl->engine, "spark") == 0)
        return put_table(ddl, &dialect_spark, out);
    return put_table(ddl, &dialect_trino, out);
}
