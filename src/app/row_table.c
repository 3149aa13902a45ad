#include "app/row_table.h"

#include "app/terminal.h"

#include <stdint.h>
#include <stdlib.h>

#define CELL_WIDTH 24

static void cell_print(const json_t *value, FILE *out)
{
    char *text = json_is_string(value) ? NULL
                 : value
                     ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12))
                     : NULL;
    const char *shown = json_is_string(value) ? json_string_value(value) : text ? text : "";
    fputc(' ', out);
    terminal_cell(out, shown, CELL_WIDTH);
    free(text);
}

void row_table_head(const json_t *first, FILE *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)first, key, value)
    {
        fputc(' ', out);
        terminal_cell(out, key, CELL_WIDTH);
    }
    fputc('\n', out);
}

void row_table_row(const json_t *first, const json_t *row, FILE *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)first, key, value)
    {
        cell_print(json_object_get(row, key), out);
    }
    fputc('\n', out);
}
