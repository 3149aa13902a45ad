#include "app/try_print.h"

#include "app/row_table.h"
#include "app/terminal.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "lake/batch.h"
#include "lake/catalog.h"
#include "lake/row.h"

#include <jansson.h>

#define TRY_DATASETS_SHOWN 20
#define TRY_NAME_WIDTH     32
#define TEXT_ROW_WIDTH     100

struct seen {
    struct batch *batch;
    json_t *rows;
    uint64_t messages;
};

struct print {
    struct catalog *catalog;
    struct batch_options options;
    struct map datasets;
    uint32_t rows_max;
};

static enum err on_row(void *ctx, struct bytes text)
{
    struct seen *seen = ctx;
    json_t *row = json_loadb((const char *)text.data, text.size, JSON_ALLOW_NUL, NULL);
    if (!row) /* integers beyond 64 bits */
        row = json_loadb((const char *)text.data, text.size,
                         JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    if (!row) /* numbers beyond a double's, a NUL in a name: jansson has no room for them */
        row = json_stringn((const char *)text.data, text.size);
    return row && json_array_append_new(seen->rows, row) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

static enum err seen_get(struct print *print, struct bytes id, struct seen **ret_seen)
{
    *ret_seen = map_get(&print->datasets, id);
    if (*ret_seen)
        return ERR_OK;
    struct seen *seen = mem_zalloc(1, sizeof(*seen));
    if (!seen)
        return ERR_NO_MEMORY;
    seen->rows = json_array();
    enum err err = seen->rows ? batch_new(&print->options, id, &seen->batch) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = map_put(&print->datasets, id, seen);
    if (err != ERR_OK) {
        batch_free(seen->batch);
        json_decref(seen->rows);
        mem_free(seen);
        return err;
    }
    *ret_seen = seen;
    return ERR_OK;
}

static enum err route_look(struct print *print, const struct block *block, uint32_t index)
{
    struct route_view route;
    struct seen *seen;
    block_route_get(block, index, &route);
    enum err err = seen_get(print, route.dataset_id, &seen);
    if (err == ERR_OK)
        err = batch_append(seen->batch, block, index);
    if (err == ERR_OK)
        batch_end_block(seen->batch, block);
    seen->messages += block->routes[index].message_count;
    uint32_t at = block->routes[index].message_first;
    for (; err == ERR_OK && at != BLOCK_END && json_array_size(seen->rows) < print->rows_max;
         at = block->messages[at].next) {
        struct message_view message;
        block_message_get(block, at, &message);
        err = row_render(&route, &message, on_row, seen);
    }
    return err;
}

static enum err on_column(void *ctx, const struct catalog_column *column)
{
    json_t *columns = ctx;
    json_t *entry = json_pack("{s:s%, s:s%}", "name", (const char *)column->column_name.data,
                              column->column_name.size, "type",
                              (const char *)column->column_type.data, column->column_type.size);
    return entry && json_array_append_new(columns, entry) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* Everything about a dataset as one object: the JSON answer, and what the table is printed from. */
static enum err dataset_describe(const char *id, struct seen *seen, json_t **ret_object,
                                 struct diag *diag)
{
    struct cut cut;
    json_t *columns = json_array();
    json_t *paths = json_array();
    enum err err = columns && paths ? batch_cut(seen->batch, &cut, diag) : ERR_NO_MEMORY;
    if (err == ERR_OK) {
        for (size_t i = 0; i < cut.file_count; i++)
            json_array_append_new(paths, json_string(cut.files[i].key));
        cut_fini(&cut);
        err = batch_columns(seen->batch, on_column, columns);
    }
    json_t *object = err == ERR_OK ? json_pack("{s:s, s:I, s:O, s:O, s:O}", "ingestion_id", id,
                                               "messages", (json_int_t)seen->messages, "columns",
                                               columns, "paths", paths, "rows", seen->rows)
                                   : NULL;
    json_decref(columns);
    json_decref(paths);
    *ret_object = object;
    return object ? ERR_OK : err != ERR_OK ? err : ERR_NO_MEMORY;
}

static void rows_print(const json_t *rows, FILE *out)
{
    const json_t *first = json_array_get(rows, 0);
    size_t index;
    const json_t *row;
    row_table_head(first, out);
    json_array_foreach(rows, index, row)
    {
        if (json_is_string(row)) {
            fputc(' ', out);
            terminal_cell(out, json_string_value(row), TEXT_ROW_WIDTH);
            fputc('\n', out);
        } else {
            row_table_row(first, row, out);
        }
    }
}

static void table_print(const json_t *object, FILE *out)
{
    size_t index;
    const json_t *entry;
    fprintf(out, "dataset  %s  (%lld messages)\n",
            json_string_value(json_object_get(object, "ingestion_id")),
            (long long)json_integer_value(json_object_get(object, "messages")));
    json_array_foreach(json_object_get(object, "paths"), index, entry)
        fprintf(out, "path     %s\n", json_string_value(entry));
    fprintf(out, "columns\n");
    json_array_foreach(json_object_get(object, "columns"), index, entry)
    {
        fputs("  ", out);
        terminal_cell(out, json_string_value(json_object_get(entry, "name")), TRY_NAME_WIDTH);
        fprintf(out, " %s\n", json_string_value(json_object_get(entry, "type")));
    }
    fprintf(out, "rows\n");
    rows_print(json_object_get(object, "rows"), out);
    fputc('\n', out);
}

static enum err all_print(struct print *print, bool json, FILE *out, struct diag *diag)
{
    json_t *all = json_array();
    size_t cursor = 0;
    size_t shown = 0;
    enum err err = all ? ERR_OK : ERR_NO_MEMORY;
    for (struct map_entry *entry; err == ERR_OK && (entry = map_next(&print->datasets, &cursor));) {
        json_t *object = NULL;
        if (!json && shown++ >= TRY_DATASETS_SHOWN)
            continue;
        err = dataset_describe((const char *)entry->key, entry->value, &object, diag);
        if (err == ERR_OK && !json)
            table_print(object, out);
        if (object && json_array_append_new(all, object) != 0)
            err = ERR_NO_MEMORY;
    }
    if (err == ERR_OK && json) {
        json_dumpf(all, out, JSON_INDENT(2));
        fputc('\n', out);
    } else if (err == ERR_OK && shown > TRY_DATASETS_SHOWN) {
        fprintf(out, "… and %zu datasets more (--json shows all)\n", shown - TRY_DATASETS_SHOWN);
    }
    json_decref(all);
    return err;
}

static void print_fini(struct print *print)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&print->datasets, &cursor));) {
        struct seen *seen = entry->value;
        batch_free(seen->batch);
        json_decref(seen->rows);
        mem_free(seen);
    }
    map_fini(&print->datasets);
    catalog_close(print->catalog);
}

enum err try_print(struct block *const *blocks, uint32_t block_count, uint32_t rows_max, bool json,
                   FILE *out, struct diag *diag)
{
    struct print print = {.rows_max = rows_max};
    map_init(&print.datasets);
    enum err err = catalog_open("sqlite:///:memory:", &print.catalog, diag);
    print.options = (struct batch_options){
        .catalog = print.catalog,
        .parquet = {.codec = PARQUET_ZSTD,
                    .zstd_level = 3,
                    .page_bytes = MIB,
                    .page_rows = 20000,
                    .created_by = "ingestor try"},
        .journal_uuid = "00000000-0000-0000-0000-000000000000",
        .row_group_rows = 1000000,
        .row_group_bytes = 128 * MIB,
    };
    for (uint32_t i = 0; err == ERR_OK && i < block_count; i++)
        for (uint32_t route = 0; err == ERR_OK && route < blocks[i]->route_count; route++)
            if (blocks[i]->routes[route].message_count > 0)
                err = route_look(&print, blocks[i], route);
    if (err == ERR_OK)
        err = all_print(&print, json, out, diag);
    print_fini(&print);
    return err;
}
