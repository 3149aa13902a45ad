/*
 * Objects and arrays are put together again from their leaves: each leaf has a piece, the entries
 * of one row, and rendering a value eats what it needs from the front of the pieces below it
 * (Dremel's record assembly). A null, absent or empty group has one entry in each of its leaves.
 */
#include "metadata/sample.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "metadata/change.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLE_TEXT_BYTES (4 * KIB)
#define UUID_BYTES        36

void sample_number(struct buf *out, double value)
{
    char text[32];
    if (value == trunc(value) && fabs(value) < 1e15) {
        buf_printf(out, "%.0f", value);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_text(out, isnan(value) ? "NaN" : text);
}

static struct bytes leaf_text(const struct leaf *leaf, size_t value)
{
    return bytes_from(leaf->data + leaf->offsets[value],
                      leaf->offsets[value + 1] - leaf->offsets[value]);
}

void sample_leaf(struct buf *out, const struct leaf *leaf, size_t value)
{
    struct bytes text;
    switch (leaf->kind) {
    case PARQUET_DOUBLE:
        sample_number(out, leaf->doubles[value]);
        break;
    case PARQUET_BOOLEAN:
        buf_text(out, leaf->booleans[value] ? "true" : "false");
        break;
    default:
        text = leaf_text(leaf, value);
        buf_append(out, text.data, text.size);
    }
}

bool sample_is_uuid(struct bytes text)
{
    if (text.size != UUID_BYTES)
        return false;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        uint8_t c = text.data[i];
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (hyphen ? c != '-' : !digit)
            return false;
    }
    return true;
}

struct bytes sample_sensor_name(struct bytes sensor, char room[LIMIT_SAMPLE_BYTES + 1])
{
    if (sensor.size <= LIMIT_SAMPLE_BYTES)
        return sensor;
    struct bytes begin = change_text_cut(sensor, LIMIT_SAMPLE_BYTES - 1 - 16);
    memcpy(room, begin.data, begin.size);
    snprintf(room + begin.size, LIMIT_SAMPLE_BYTES + 1 - begin.size, "-%016" PRIx64,
             hash_bytes(sensor));
    return bytes_from(room, begin.size + 1 + 16);
}

/* --- a row's value ------------------------------------------------------------------------- */

struct piece {
    const struct leaf *leaf;
    struct leaf_cursor cursor; /* of the next row */
    size_t entry;
    size_t entry_end;
    size_t value;
    bool has_levels;
};

struct assembly {
    struct buf text;
    struct piece *pieces; /* of the column's leaves, in order */
    size_t piece_count;
};

static size_t leaf_count_of(const struct column *column)
{
    if (column_is_leaf(column))
        return 1;
    size_t count = 0;
    for (uint32_t i = 0; i < column->child_count; i++)
        count += leaf_count_of(column->children[i]);
    return count;
}

static void pieces_add(struct assembly *assembly, const struct column *column)
{
    if (column_is_leaf(column))
        assembly->pieces[assembly->piece_count++] = (struct piece){.leaf = &column->leaf};
    for (uint32_t i = 0; i < column->child_count && !column_is_leaf(column); i++)
        pieces_add(assembly, column->children[i]);
}

static uint8_t definition_of(const struct piece *piece)
{
    return piece->has_levels && piece->entry < piece->entry_end
               ? piece->leaf->definition_levels[piece->entry]
               : piece->leaf->definition_max;
}

static void entry_skip(struct piece *piece)
{
    piece->value += definition_of(piece) == piece->leaf->definition_max;
    piece->entry++;
}

static void leaf_render(struct assembly *assembly, struct piece *piece)
{
    const struct leaf *leaf = piece->leaf;
    if (definition_of(piece) < leaf->definition_max)
        buf_text(&assembly->text, "null");
    else if (leaf->kind == PARQUET_STRING)
        buf_json_string(&assembly->text, leaf_text(leaf, piece->value));
    else
        sample_leaf(&assembly->text, leaf, piece->value);
    entry_skip(piece);
}

/* Renders the value that the pieces from *at on begin with, and moves *at behind them. Columns are
 * at most LIMIT_COLUMN_DEPTH deep. */
static void render(struct assembly *assembly, const struct column *column, size_t *at);

static void group_skip(struct assembly *assembly, size_t from, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        entry_skip(&assembly->pieces[from + i]);
    buf_text(&assembly->text, text);
}

static void struct_render(struct assembly *assembly, const struct column *column, size_t from)
{
    bool comma = false;
    buf_byte(&assembly->text, '{');
    for (uint32_t i = 0; i < column->child_count; i++) {
        if (leaf_count_of(column->children[i]) == 0)
            continue;
        buf_text(&assembly->text, comma ? ", " : "");
        comma = true;
        buf_json_string(&assembly->text, column->children[i]->key);
        buf_text(&assembly->text, ": ");
        render(assembly, column->children[i], &from);
    }
    buf_byte(&assembly->text, '}');
}

static void list_render(struct assembly *assembly, const struct column *column, size_t from)
{
    const struct column *element = column->children[0];
    const struct piece *first = &assembly->pieces[from];
    bool more = true;
    buf_byte(&assembly->text, '[');
    while (more) {
        size_t at = from;
        render(assembly, element, &at);
        more = first->entry < first->entry_end && first->has_levels &&
               first->leaf->repetition_levels[first->entry] == element->repetition;
        buf_text(&assembly->text, more ? ", " : "");
    }
    buf_byte(&assembly->text, ']');
}

static void render(struct assembly *assembly, const struct column *column, size_t *at)
{
    size_t from = *at;
    size_t count = leaf_count_of(column);
    *at += count;
    if (count == 0)
        return;
    uint8_t definition = definition_of(&assembly->pieces[from]);
    if (column_is_leaf(column))
        leaf_render(assembly, &assembly->pieces[from]);
    else if (definition < column->definition)
        group_skip(assembly, from, count, "null");
    else if (column->kind == COLUMN_STRUCT)
        struct_render(assembly, column, from);
    else if (definition == column->definition)
        group_skip(assembly, from, count, "[]");
    else
        list_render(assembly, column, from);
}

/* The pieces become those of the next row. */
static enum err row_next(struct assembly *assembly)
{
    for (size_t i = 0; i < assembly->piece_count; i++) {
        struct piece *piece = &assembly->pieces[i];
        struct parquet_leaf slice;
        struct leaf_cursor begin = piece->cursor;
        enum err err = leaf_slice(piece->leaf, &piece->cursor, 1, &slice);
        if (err != ERR_OK)
            return err;
        piece->has_levels = piece->leaf->definition_levels != NULL;
        piece->entry = begin.level;
        piece->entry_end = piece->cursor.level;
        piece->value = begin.value;
    }
    return ERR_OK;
}

static bool row_is_null(const struct assembly *assembly, const struct column *column)
{
    return definition_of(&assembly->pieces[0]) < column->definition;
}

enum err sample_rows(const struct column *column, size_t row_count,
                     bool (*on_value)(void *ctx, struct bytes text), void *ctx)
{
    struct assembly assembly = {0};
    size_t leaf_count = leaf_count_of(column);
    enum err err = ERR_OK;
    if (leaf_count == 0)
        return ERR_OK;
    buf_init(&assembly.text, SAMPLE_TEXT_BYTES);
    assembly.pieces = mem_zalloc(leaf_count, sizeof(*assembly.pieces));
    if (!assembly.pieces)
        return ERR_NO_MEMORY;
    pieces_add(&assembly, column);
    for (size_t row = 0; row < row_count && err == ERR_OK; row++) {
        size_t at = 0;
        err = row_next(&assembly);
        if (err != ERR_OK || row_is_null(&assembly, column))
            continue;
        buf_clear(&assembly.text);
        render(&assembly, column, &at);
        if (assembly.text.err == ERR_NO_MEMORY)
            err = ERR_NO_MEMORY;
        else if (on_value(ctx, buf_bytes(&assembly.text)))
            break;
    }
    buf_fini(&assembly.text);
    mem_free(assembly.pieces);
    return err;
}
