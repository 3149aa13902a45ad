#include "lake/letter_file.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/parquet_reader.h"

#define NULL_INDEX UINT32_MAX

enum { INGESTION_ID, SOURCE_TYPE, TOPIC, REASON, DETAIL, RECEIVED_AT, PAYLOAD, METADATA, COLUMNS };

static const struct {
    const char *name;
    enum parquet_kind kind;
} wanted[COLUMNS] = {
    [INGESTION_ID] = {"ingestion_id", PARQUET_STRING},
    [SOURCE_TYPE] = {"source_type", PARQUET_STRING},
    [TOPIC] = {"topic", PARQUET_STRING},
    [REASON] = {"reason", PARQUET_STRING},
    [DETAIL] = {"detail", PARQUET_STRING},
    [RECEIVED_AT] = {"received_at", PARQUET_TIMESTAMP_US},
    [PAYLOAD] = {"payload", PARQUET_BINARY},
    [METADATA] = {"metadata", PARQUET_STRING},
};

/* A column of all row groups: where each row's value is. */
struct letter_column {
    struct buf data;
    uint64_t *begins; /* in data; of a text, one more than there are values */
    uint32_t *values; /* of each row; NULL_INDEX: null */
    size_t value_count;
};

struct letter_file {
    size_t row_count;
    struct letter_column columns[COLUMNS];
};

void letter_file_free(struct letter_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < COLUMNS; i++) {
        buf_fini(&file->columns[i].data);
        mem_free(file->columns[i].begins);
        mem_free(file->columns[i].values);
    }
    mem_free(file);
}

size_t letter_file_count(const struct letter_file *file)
{
    return file->row_count;
}

/* --- reading ------------------------------------------------------------------------------- */

static enum err column_find(const struct parquet_metadata *metadata, size_t column,
                            size_t *ret_place, struct diag *diag)
{
    for (size_t i = 0; i < metadata->column_count; i++) {
        const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[i]];
        if (!bytes_equal_text(element->name, wanted[column].name) || !element->is_known ||
            element->kind != wanted[column].kind || element->repetition_level_max > 0 ||
            element->definition_level_max > 1 || element->parent != 0)
            continue;
        *ret_place = i;
        return ERR_OK;
    }
    return diag_set(diag, ERR_UNSUPPORTED, "is no file of dead letters: it has no column %s",
                    wanted[column].name);
}

/* Of one row group, from row first on. */
static enum err rows_place(struct letter_column *column, const struct parquet_column_data *data,
                           size_t first, size_t rows, size_t values_before)
{
    bool nullable = data->definition_levels.size > 0;
    size_t value = 0;
    if (data->level_count != rows || (nullable && data->definition_levels.size != rows))
        return ERR_CORRUPT;
    for (size_t i = 0; i < rows; i++) {
        bool is_null = nullable && data->definition_levels.data[i] == 0;
        column->values[first + i] = is_null ? NULL_INDEX : (uint32_t)(values_before + value);
        value += !is_null;
    }
    return value == data->value_count ? ERR_OK : ERR_CORRUPT;
}

static enum err values_add(struct letter_column *column, const struct parquet_column_data *data,
                           bool is_text)
{
    uint64_t base = column->data.size;
    if (!is_text) {
        if (data->values.size != data->value_count * sizeof(int64_t))
            return ERR_CORRUPT;
        column->value_count += data->value_count;
        return buf_append(&column->data, data->values.data, data->values.size);
    }
    if (data->value_count == 0)
        return ERR_OK;
    if (data->offsets.size < (data->value_count + 1) * sizeof(uint32_t))
        return ERR_CORRUPT;
    uint32_t before = 0;
    for (size_t i = 0; i <= data->value_count; i++) {
        uint32_t offset = load_u32(data->offsets.data + i * sizeof(offset));
        if (offset < before || offset > data->data.size)
            return ERR_CORRUPT;
        column->begins[column->value_count + i] = base + offset;
        before = offset;
    }
    if (before != data->data.size)
        return ERR_CORRUPT;
    column->value_count += data->value_count;
    return buf_append(&column->data, data->data.data, data->data.size);
}

static enum err column_read(struct letter_file *file, size_t index, struct parquet_reader *reader,
                            struct diag *diag)
{
    struct letter_column *column = &file->columns[index];
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    struct parquet_column_data data;
    size_t place = 0, first = 0;
    enum err err = column_find(metadata, index, &place, diag);
    if (err != ERR_OK)
        return err;
    column->begins = mem_zalloc(file->row_count + 1, sizeof(*column->begins));
    column->values = mem_zalloc(file->row_count + 1, sizeof(*column->values));
    if (!column->begins || !column->values)
        return ERR_NO_MEMORY;
    parquet_column_data_init(&data, LETTER_FILE_BYTES_MAX);
    for (size_t group = 0; group < metadata->row_group_count && err == ERR_OK; group++) {
        size_t rows = (size_t)metadata->row_groups[group].row_count;
        err = first + rows > file->row_count ? ERR_CORRUPT : ERR_OK;
        if (err == ERR_OK)
            err = parquet_reader_read(reader, group, place, &data, diag);
        if (err == ERR_OK)
            err = rows_place(column, &data, first, rows, column->value_count);
        if (err == ERR_OK)
            err = values_add(column, &data, index != RECEIVED_AT);
        first += rows;
    }
    parquet_column_data_fini(&data);
    if (err == ERR_OK && first != file->row_count)
        err = ERR_CORRUPT;
    return err;
}

static enum err all_read(struct letter_file *file, struct bytes bytes, struct diag *diag)
{
    struct parquet_reader *reader;
    enum err err = parquet_reader_new(bytes, LETTER_FILE_BYTES_MAX, &reader, diag);
    if (err != ERR_OK)
        return err;
    uint64_t rows = parquet_reader_metadata(reader)->row_count;
    if (rows > LETTER_FILE_ROWS_MAX)
        err = diag_set(diag, ERR_TOO_LARGE, "has more than %zu letters", LETTER_FILE_ROWS_MAX);
    file->row_count = (size_t)rows;
    for (size_t i = 0; i < COLUMNS && err == ERR_OK; i++)
        err = column_read(file, i, reader, diag);
    parquet_reader_free(reader);
    return err;
}

enum err letter_file_read(struct bytes bytes, struct letter_file **ret_file, struct diag *diag)
{
    struct letter_file *file = mem_zalloc(1, sizeof(*file));
    if (!file)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < COLUMNS; i++)
        buf_init(&file->columns[i].data, LETTER_FILE_BYTES_MAX);
    enum err err = all_read(file, bytes, diag);
    if (err != ERR_OK) {
        letter_file_free(file);
        return diag_set(diag, err, "%s", err_text(err));
    }
    *ret_file = file;
    return ERR_OK;
}

/* --- letters ------------------------------------------------------------------------------- */

static struct bytes text_at(const struct letter_file *file, size_t column, size_t row)
{
    const struct letter_column *from = &file->columns[column];
    uint32_t value = from->values[row];
    if (value == NULL_INDEX || from->data.size == 0)
        return bytes_from("", 0);
    return bytes_from(from->data.data + from->begins[value],
                      (size_t)(from->begins[value + 1] - from->begins[value]));
}

static int64_t instant_at(const struct letter_file *file, size_t row)
{
    const struct letter_column *from = &file->columns[RECEIVED_AT];
    uint32_t value = from->values[row];
    return value == NULL_INDEX ? 0 : (int64_t)load_u64(from->data.data + value * sizeof(int64_t));
}

void letter_file_get(const struct letter_file *file, size_t row, struct letter_view *ret_letter)
{
    *ret_letter = (struct letter_view){
        .ingestion_id = text_at(file, INGESTION_ID, row),
        .source_type = text_at(file, SOURCE_TYPE, row),
        .topic = text_at(file, TOPIC, row),
        .reason = text_at(file, REASON, row),
        .detail = text_at(file, DETAIL, row),
        .payload = text_at(file, PAYLOAD, row),
        .metadata = text_at(file, METADATA, row),
        .received_us = instant_at(file, row),
    };
}

bool letter_is_whole(const struct letter_view *letter)
{
    /* CoAP ends a transfer as soon as it is too long, MQTT skips the rest of it on the wire. */
    return !bytes_equal_text(letter->reason, "oversize") ||
           (letter->payload.size < LIMIT_DEAD_LETTER_BYTES &&
            !bytes_equal_text(letter->source_type, "coap"));
}
