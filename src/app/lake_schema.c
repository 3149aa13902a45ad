/* `ingestor lake schema` and `ddl`: the columns of all files of a dataset, merged by name. */
#include "app/lake_ddl.h"
#include "app/lake_parts.h"
#include "app/terminal.h"
#include "base/limits.h"
#include "lake/lake_columns.h"
#include "lake/lake_read.h"

#include <unistd.h>

#define NAME_WIDTH    40
#define FOOTER_MEMORY (256 * MIB)
#define DDL_BYTES_MAX (16 * MIB)

struct merge {
    struct lake_view *view;
    json_t *columns;
    struct buf tail;
    struct buf folder; /* "bronze/ingestion_id=…/" */
};

static const char *leaf_type(const struct parquet_metadata_element *element)
{
    switch (element->type) {
    case PARQUET_TYPE_BOOLEAN:
        return "BOOLEAN";
    case PARQUET_TYPE_INT32:
        return element->converted_type == PARQUET_CONVERTED_UINT_32 ? "INT64" : "INT32";
    case PARQUET_TYPE_INT64:
        return element->is_known && element->kind == PARQUET_TIMESTAMP_US ? "TIMESTAMP" : "INT64";
    case PARQUET_TYPE_FLOAT:
        return "FLOAT";
    case PARQUET_TYPE_DOUBLE:
        return "DOUBLE";
    default:
        return element->is_known && element->kind == PARQUET_STRING ? "STRING" : "BINARY";
    }
}

static const char *type_name(const struct parquet_metadata_element *element, bool is_list)
{
    return element->is_leaf ? leaf_type(element) : is_list ? "LIST" : "STRUCT";
}

static json_t *describe(const struct parquet_metadata *metadata, uint32_t *index);

static bool is_list(const struct parquet_metadata *metadata, uint32_t index)
{
    const struct parquet_metadata_element *element = &metadata->elements[index];
    return (element->converted_type == PARQUET_CONVERTED_LIST ||
            element->logical_type == PARQUET_LOGICAL_LIST) &&
           element->child_count == 1 && !metadata->elements[index + 1].is_leaf &&
           metadata->elements[index + 1].child_count == 1;
}

/* The children of a group; *index: behind the group, and behind them afterwards. */
static json_t *describe_fields(const struct parquet_metadata *metadata, uint32_t count,
                               uint32_t *index)
{
    json_t *fields = json_array();
    for (uint32_t i = 0; fields && i < count; i++) {
        if (json_array_append_new(fields, describe(metadata, index)) != 0) {
            json_decref(fields);
            fields = NULL;
        }
    }
    return fields;
}

/* jansson's setters take NULLs for failures, and free what they do not keep. */
static json_t *describe(const struct parquet_metadata *metadata, uint32_t *index)
{
    const struct parquet_metadata_element *element = &metadata->elements[*index];
    bool list = is_list(metadata, *index);
    json_t *column = json_object();
    int failed = json_object_set_new(column, "name", lake_json_text(element->name));
    failed |= json_object_set_new(column, "type", json_string(type_name(element, list)));
    if (element->field_id >= 0)
        failed |= json_object_set_new(column, "field_id", json_integer(element->field_id));
    *index += list ? 2 : 1;
    if (list)
        failed |= json_object_set_new(column, "element", describe(metadata, index));
    else if (!element->is_leaf)
        failed |= json_object_set_new(column, "fields",
                                      describe_fields(metadata, element->child_count, index));
    if (!failed)
        return column;
    json_decref(column);
    return NULL;
}

static json_t *find_named(const json_t *columns, const json_t *name)
{
    size_t index;
    json_t *column;
    json_array_foreach(columns, index, column)
    {
        if (json_equal(json_object_get(column, "name"), name))
            return column;
    }
    return NULL;
}

static bool type_is(const json_t *column, const char *type)
{
    return strcmp(json_string_value(json_object_get(column, "type")), type) == 0;
}

static bool is_number(const json_t *column)
{
    return type_is(column, "INT32") || type_is(column, "INT64") || type_is(column, "FLOAT") ||
           type_is(column, "DOUBLE");
}

/* INT32, which a field that was always null is in files of the Python service, gives way to any
 * type, other numbers to DOUBLE; else the first file's type stands. */
static enum err merge_types(json_t *column, json_t *other)
{
    int failed = 0;
    if (type_is(column, "INT32"))
        failed = json_object_update(column, other);
    else if (is_number(column) && is_number(other) && !type_is(other, "INT32"))
        failed = json_object_set_new(column, "type", json_string("DOUBLE"));
    return failed ? ERR_NO_MEMORY : ERR_OK;
}

static enum err merge_fields(json_t *columns, json_t *others);

/* What is below one column comes to what is below the other. */
static enum err merge_column(json_t *column, json_t *other)
{
    json_t *fields = json_object_get(column, "fields");
    json_t *element = json_object_get(column, "element");
    if (!json_equal(json_object_get(column, "type"), json_object_get(other, "type")))
        return merge_types(column, other);
    if (fields)
        return merge_fields(fields, json_object_get(other, "fields"));
    return element ? merge_column(element, json_object_get(other, "element")) : ERR_OK;
}

/* Adds what columns lack. */
static enum err merge_fields(json_t *columns, json_t *others)
{
    size_t index;
    json_t *other;
    enum err err = ERR_OK;
    json_array_foreach(others, index, other)
    {
        json_t *column = find_named(columns, json_object_get(other, "name"));
        if (column)
            err = merge_column(column, other);
        else if (json_array_append(columns, other) != 0)
            err = ERR_NO_MEMORY;
        if (err != ERR_OK)
            return err;
    }
    return err;
}

static enum err note_folder(struct merge *merge, const char *key)
{
    const char *date = strstr(key, "/date=");
    if (merge->folder.size > 0 || !date)
        return ERR_OK;
    return buf_append(&merge->folder, key, (size_t)(date - key) + 1);
}

static enum err on_file(void *ctx, const struct lake_file *file)
{
    struct merge *merge = ctx;
    struct arena arena;
    struct parquet_metadata metadata;
    struct diag diag = {0};
    uint32_t index = 1;
    arena_init(&arena, FOOTER_MEMORY);
    enum err err =
        lake_read_footer(merge->view->store, file, &arena, &merge->tail, &metadata, &diag);
    if (err == ERR_OK) {
        json_t *columns = describe_fields(&metadata, metadata.elements[0].child_count, &index);
        err = columns ? merge_fields(merge->columns, columns) : ERR_NO_MEMORY;
        json_decref(columns);
    }
    arena_fini(&arena);
    if (err == ERR_OK)
        err = note_folder(merge, file->key);
    return lake_view_file_read(merge->view, file, err, &diag);
}

/* --- printing ------------------------------------------------------------------------------ */

/* All of it, however long: it may be asked for. */
static void name_print(const char *name, size_t width)
{
    terminal_cell(stdout, name, strlen(name) > width ? strlen(name) : width);
}

static void print_column(const json_t *column, int depth)
{
    size_t index;
    const json_t *field;
    const json_t *id = json_object_get(column, "field_id");
    const char *name = json_string_value(json_object_get(column, "name"));
    char text[16] = "";
    if (id)
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(id));
    printf("%*s", depth * 2, "");
    name_print(name ? name : "", (size_t)(depth < 15 ? NAME_WIDTH - depth * 2 : 10));
    printf(" %-10s %s\n", json_string_value(json_object_get(column, "type")), text);
    json_array_foreach(json_object_get(column, "fields"), index, field)
    {
        print_column(field, depth + 1);
    }
    if (json_object_get(column, "element"))
        print_column(json_object_get(column, "element"), depth + 1);
}

static enum err print_schema(const struct merge *merge)
{
    size_t index;
    const json_t *column;
    if (merge->view->command->json)
        return json_dumpf(merge->columns, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF
                   ? ERR_OK
                   : ERR_IO;
    terminal_cell(stdout, "column", NAME_WIDTH);
    printf(" %-10s %s\n", "type", "field_id");
    json_array_foreach(merge->columns, index, column)
    {
        print_column(column, 0);
    }
    return ERR_OK;
}

/* On a terminal, line by line: a foreign file's names may have anything in them. */
static enum err ddl_print(struct buf *out)
{
    char *text = (char *)(uintptr_t)buf_cstr(out);
    if (!text)
        return ERR_NO_MEMORY;
    if (isatty(STDOUT_FILENO) != 1)
        return fwrite(out->data, 1, out->size, stdout) == out->size ? ERR_OK : ERR_IO;
    for (char *end; (end = strchr(text, '\n')); text = end + 1) {
        *end = '\0';
        terminal_text(stdout, text);
        fputc('\n', stdout);
    }
    return ERR_OK;
}

static enum err print_ddl(struct merge *merge)
{
    struct buf location;
    struct buf out;
    const struct lake_command *command = merge->view->command;
    const char *folder = buf_cstr(&merge->folder);
    buf_init(&location, 64 * KIB);
    buf_init(&out, DDL_BYTES_MAX);
    buf_printf(&location, "%s%s", merge->view->url, folder ? folder : "");
    const char *text = buf_cstr(&location);
    enum err err =
        text && folder
            ? lake_ddl_write(
                  &(struct lake_ddl){command->engine, command->target, text, merge->columns}, &out)
            : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = ddl_print(&out);
    buf_fini(&location);
    buf_fini(&out);
    return err;
}

enum err lake_schema(struct lake_view *view)
{
    struct merge merge = {.view = view, .columns = json_array()};
    buf_init(&merge.tail, LAKE_FOOTER_BYTES_MAX);
    buf_init(&merge.folder, LAKE_KEY_BYTES_MAX);
    enum err err = merge.columns ? lake_view_walk(view, on_file, &merge) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = strcmp(view->command->verb, "ddl") == 0 ? print_ddl(&merge) : print_schema(&merge);
    json_decref(merge.columns);
    buf_fini(&merge.tail);
    buf_fini(&merge.folder);
    return err;
}
