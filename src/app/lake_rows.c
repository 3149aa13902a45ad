/* `ingestor lake cat` and `head`: rows as NDJSON or a table, file after file. */
#include "app/lake_parts.h"
#include "app/row_table.h"
#include "app/terminal.h"
#include "lake/lake_read.h"
#include "lake/parquet_check.h"
#include "lake/parquet_json.h"

#include <unistd.h>

struct rows {
    struct lake_view *view;
    struct buf bytes; /* the file */
    struct buf line;
    uint64_t count;
    json_t *first; /* whose columns the table has */
    bool is_terminal;
};

static enum err print_table_row(struct rows *rows)
{
    json_t *row = json_loadb((const char *)rows->line.data, rows->line.size, JSON_ALLOW_NUL, NULL);
    if (!row)
        return ERR_NO_MEMORY;
    if (!rows->first) {
        rows->first = json_incref(row);
        row_table_head(row, stdout);
    }
    row_table_row(rows->first, row, stdout);
    json_decref(row);
    return ERR_OK;
}

static enum err print_row(struct rows *rows)
{
    if (rows->view->command->table)
        return print_table_row(rows);
    enum err err = buf_byte(&rows->line, '\n');
    if (err == ERR_OK && rows->is_terminal) {
        terminal_json(stdout, (const char *)rows->line.data, rows->line.size);
        return ERR_OK;
    }
    if (err == ERR_OK && fwrite(rows->line.data, 1, rows->line.size, stdout) != rows->line.size)
        err = diag_set(&rows->view->diag, ERR_IO, "the rows could not be written");
    return err;
}

static enum err print_group(struct rows *rows, struct parquet_json *json, size_t group,
                            uint64_t row_count, struct diag *diag)
{
    enum err err = parquet_json_open(json, group, diag);
    for (uint64_t i = 0; i < row_count && err == ERR_OK; i++) {
        if (rows->count == rows->view->command->rows_max)
            return ERR_OK;
        buf_clear(&rows->line);
        err = parquet_json_row(json, &rows->line, diag);
        if (err == ERR_OK)
            err = print_row(rows);
        rows->count++;
    }
    return err;
}

static enum err print_file(struct rows *rows, struct diag *diag)
{
    struct parquet_reader *reader;
    struct parquet_json *json = NULL;
    enum err err = parquet_reader_new(buf_bytes(&rows->bytes), LAKE_READ_BYTES_MAX, &reader, diag);
    if (err != ERR_OK)
        return err;
    err = parquet_json_new(reader, LAKE_READ_BYTES_MAX, &json, diag);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    for (size_t i = 0; i < metadata->row_group_count && err == ERR_OK; i++)
        err = print_group(rows, json, i, metadata->row_groups[i].row_count, diag);
    if (err == ERR_OK) /* last: a file that is damaged elsewhere still gives what it has */
        err = parquet_check_footer(buf_bytes(&rows->bytes), metadata, diag);
    parquet_json_free(json);
    parquet_reader_free(reader);
    return err;
}

static enum err on_file(void *ctx, const struct lake_file *file)
{
    struct rows *rows = ctx;
    struct diag diag = {0};
    if (rows->count == rows->view->command->rows_max)
        return ERR_OK;
    enum err err = lake_read_file(rows->view->store, file, &rows->bytes, &diag);
    if (err == ERR_OK)
        err = print_file(rows, &diag);
    return lake_view_file_read(rows->view, file, err, &diag);
}

enum err lake_rows(struct lake_view *view)
{
    struct rows rows = {.view = view, .is_terminal = isatty(STDOUT_FILENO) == 1};
    buf_init(&rows.bytes, LAKE_FILE_BYTES_MAX + 1);
    buf_init(&rows.line, LAKE_LINE_BYTES_MAX);
    enum err err = lake_view_walk(view, on_file, &rows);
    json_decref(rows.first);
    buf_fini(&rows.bytes);
    buf_fini(&rows.line);
    return err;
}
