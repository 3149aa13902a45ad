#include "codec/csv.h"

#include "codec/json.h"
#include "codec/json_writer.h"
#include "codec/utf8.h"

#include <stdio.h>

struct field {
    struct bytes raw; /* between the quotes if it has any */
    bool quoted;
    bool line_end; /* the last of its line */
};

struct csv {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t separator;
    const char *why;
    struct buf text; /* a quoted field's */
    struct json_writer writer;
    uint32_t column_count;
    struct field names[CSV_COLUMNS_MAX]; /* of the header */
};

static enum err malformed(struct csv *csv, const char *why)
{
    csv->why = why;
    return ERR_SYNTAX;
}

/* To the first byte of a line that is not empty; false: there is none. */
static bool line_begin(struct csv *csv)
{
    while (csv->at < csv->end && (*csv->at == '\n' || *csv->at == '\r'))
        csv->at++;
    return csv->at < csv->end;
}

/* Moves behind a field's separator or line end. */
static enum err field_end(struct csv *csv, struct field *field)
{
    while (field->quoted && csv->at < csv->end && *csv->at == ' ')
        csv->at++;
    field->line_end = true;
    if (csv->at == csv->end)
        return ERR_OK;
    if (*csv->at == csv->separator) {
        csv->at++;
        field->line_end = false;
        return ERR_OK;
    }
    if (*csv->at == '\r' && csv->end - csv->at > 1 && csv->at[1] == '\n')
        csv->at++;
    if (*csv->at != '\n' && *csv->at != '\r')
        return malformed(csv, "the CSV has something behind closing quotes");
    csv->at++;
    return ERR_OK;
}

static enum err quoted_read(struct csv *csv, struct field *field)
{
    const uint8_t *start = ++csv->at;
    for (;; csv->at += 2) {
        const uint8_t *quote =
            csv->at < csv->end ? memchr(csv->at, '"', (size_t)(csv->end - csv->at)) : NULL;
        if (!quote)
            return malformed(csv, "the CSV has quotes that are not closed");
        csv->at = quote;
        if (csv->end - quote < 2 || quote[1] != '"')
            break;
    }
    field->raw = bytes_from(start, (size_t)(csv->at - start));
    field->quoted = true;
    csv->at++;
    return field_end(csv, field);
}

static enum err field_read(struct csv *csv, struct field *field)
{
    *field = (struct field){0};
    while (csv->at < csv->end && *csv->at == ' ')
        csv->at++;
    if (csv->at < csv->end && *csv->at == '"')
        return quoted_read(csv, field);
    const uint8_t *start = csv->at;
    while (csv->at < csv->end && *csv->at != csv->separator && *csv->at != '\n' && *csv->at != '\r')
        csv->at++;
    const uint8_t *stop = csv->at;
    while (stop > start && stop[-1] == ' ')
        stop--;
    field->raw = bytes_from(start, (size_t)(stop - start));
    return field_end(csv, field);
}

/* The whole field is a JSON number. */
static bool is_number(struct bytes raw)
{
    double number;
    const uint8_t *at = raw.data;
    return raw.size > 0 &&
           json_number_read(&at, raw.data + raw.size, &number) != JSON_NUMBER_INVALID &&
           at == raw.data + raw.size;
}

static enum err text_write(struct csv *csv, const struct field *field)
{
    if (!field->quoted || !memchr(field->raw.data, '"', field->raw.size))
        return json_writer_text(&csv->writer, field->raw);
    buf_clear(&csv->text);
    for (size_t i = 0; i < field->raw.size; i++) {
        buf_byte(&csv->text, field->raw.data[i]);
        i += field->raw.data[i] == '"'; /* its twin */
    }
    return csv->text.err == ERR_OK ? json_writer_text(&csv->writer, buf_bytes(&csv->text))
                                   : csv->text.err;
}

static enum err value_write(struct csv *csv, const struct field *field)
{
    if (field->quoted)
        return text_write(csv, field);
    if (field->raw.size == 0)
        return json_writer_raw(&csv->writer, BYTES_LITERAL("null"));
    if (is_number(field->raw) || bytes_equal_text(field->raw, "true") ||
        bytes_equal_text(field->raw, "false"))
        return json_writer_raw(&csv->writer, field->raw);
    return text_write(csv, field);
}

static enum err name_write(struct csv *csv, uint32_t column)
{
    char name[24];
    if (csv->names[column].raw.size > 0)
        return text_write(csv, &csv->names[column]);
    int size = snprintf(name, sizeof(name), "column_%u", column + 1);
    return json_writer_text(&csv->writer, bytes_from(name, (size_t)size));
}

static enum err line_write(struct csv *csv)
{
    struct field field = {0};
    enum err err = json_writer_begin(&csv->writer, true);
    for (uint32_t column = 0; err == ERR_OK && !field.line_end; column++) {
        err = field_read(csv, &field);
        if (err == ERR_OK && column >= csv->column_count)
            return malformed(csv, "the CSV has a line with more values than columns");
        if (err == ERR_OK)
            err = name_write(csv, column);
        if (err == ERR_OK)
            err = value_write(csv, &field);
    }
    return err == ERR_OK ? json_writer_end(&csv->writer) : err;
}

static void separator_find(struct csv *csv)
{
    bool quoted = false;
    csv->separator = ',';
    for (const uint8_t *at = csv->at; at < csv->end && (quoted || (*at != '\n' && *at != '\r'));
         at++) {
        if (*at == '"')
            quoted = !quoted;
        if (quoted || (*at != ',' && *at != ';' && *at != '\t'))
            continue;
        csv->separator = *at;
        return;
    }
}

/* Reads the first line; if it is no header, goes back to it. */
static enum err header_read(struct csv *csv)
{
    const uint8_t *start = csv->at;
    bool values = false;
    bool texts = false;
    struct field field = {0};
    for (csv->column_count = 0; !field.line_end; csv->column_count++) {
        if (csv->column_count == CSV_COLUMNS_MAX)
            return malformed(csv, "the CSV has more than 2000 columns");
        enum err err = field_read(csv, &field);
        if (err != ERR_OK)
            return err;
        values |= !field.quoted && is_number(field.raw);
        texts |= field.raw.size > 0;
        csv->names[csv->column_count] = field;
    }
    if (texts && !values && line_begin(csv))
        return ERR_OK;
    csv->at = start;
    for (uint32_t i = 0; i < csv->column_count; i++)
        csv->names[i].raw.size = 0;
    return ERR_OK;
}

static enum err payload_write(struct csv *csv)
{
    enum err err = json_writer_begin(&csv->writer, false);
    if (err == ERR_OK && line_begin(csv)) {
        separator_find(csv);
        err = header_read(csv);
        while (err == ERR_OK && line_begin(csv))
            err = line_write(csv);
    }
    if (err == ERR_OK)
        err = json_writer_end(&csv->writer);
    return err == ERR_OK ? csv->writer.out->err : err;
}

enum err csv_to_json(struct bytes payload, struct buf *out, const char **ret_why)
{
    if (payload.size >= 3 && memcmp(payload.data, "\xef\xbb\xbf", 3) == 0)
        payload = bytes_from(payload.data + 3, payload.size - 3);
    struct csv csv; /* large: what is in use is set */
    csv.at = payload.data;
    csv.end = payload.size > 0 ? payload.data + payload.size : payload.data;
    csv.why = NULL;
    buf_init(&csv.text, out->size_max);
    json_writer_init(&csv.writer, out);
    enum err err =
        utf8_valid(payload) ? payload_write(&csv) : malformed(&csv, "the CSV is not UTF-8");
    buf_fini(&csv.text);
    if (err == ERR_SYNTAX && csv.why)
        *ret_why = csv.why;
    return err;
}
