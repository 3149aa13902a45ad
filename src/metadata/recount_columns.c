#include "metadata/recount_columns.h"

#include "lake/footer_columns.h"
#include "lake/parquet_reader.h"
#include "metadata/extract.h"
#include "metadata/sample.h"

#define TEXT_BYTES_MAX (64 * KIB)

/* --- fields -------------------------------------------------------------------------------- */

/* The name of a top-level field, unescaped; of the service's own "#name". False: it is neither, or
 * none that metadata shows. */
static bool field_name(struct bytes path, struct buf *name)
{
    bool own = path.size > 0 && path.data[0] == '#';
    buf_clear(name);
    if (path.size < 1 || (own && path.size > 1 && path.data[1] == '_'))
        return false;
    for (size_t i = 1; i < path.size; i++) {
        uint8_t byte = path.data[i];
        if (!own && byte == '/')
            return false;
        if (!own && byte == '~' && i + 1 < path.size)
            byte = path.data[++i] == '1' ? '/' : '~';
        buf_byte(name, byte);
    }
    return name->err == ERR_OK;
}

/* The column of a top-level leaf; column_count: it is a group, or not there. */
static size_t leaf_find(const struct parquet_metadata *metadata, struct bytes name)
{
    size_t i = 0;
    while (i < metadata->column_count) {
        const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[i]];
        if (element->parent == 0 && bytes_equal(element->name, name))
            break;
        i++;
    }
    return i;
}

static uint64_t nulls_count(const struct parquet_metadata *metadata, size_t column)
{
    uint64_t count = 0;
    for (size_t i = 0; i < metadata->row_group_count; i++)
        count += metadata->row_groups[i].chunks[column].null_count;
    return count;
}

static enum dataset_type type_of(struct bytes column_type)
{
    static const struct {
        const char *column;
        enum dataset_type type;
    } types[] = {{"DOUBLE", DATASET_DOUBLE},
                 {"BOOLEAN", DATASET_BOOLEAN},
                 {"STRUCT", DATASET_OBJECT},
                 {"LIST", DATASET_ARRAY}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (bytes_equal_text(column_type, types[i].column))
            return types[i].type;
    return DATASET_STRING;
}

static enum err field_tell(const struct parquet_metadata *metadata,
                           const struct catalog_column *column, struct bytes name,
                           struct change *change)
{
    size_t leaf = leaf_find(metadata, column->column_name);
    uint64_t nulls = leaf < metadata->column_count ? nulls_count(metadata, leaf) : 0;
    struct change_field *field;
    enum err err = change_field_get(change, change_text_cut(name, 1024), &field);
    if (err != ERR_OK || !field)
        return err;
    if (nulls < metadata->row_count)
        field->types = change_types_add(field->types, type_of(column->column_type));
    field->nullable |= nulls > 0;
    return ERR_OK;
}

/* It stands in the path. */
static enum err id_tell(struct change *change)
{
    struct change_field *field;
    enum err err = change_field_get(change, BYTES_LITERAL("ingestion_id"), &field);
    if (err == ERR_OK && field)
        field->types = change_types_add(field->types, DATASET_STRING);
    return err;
}

static enum err fields_tell(const struct parquet_metadata *metadata, struct change *change)
{
    struct footer_columns columns;
    struct buf name;
    footer_columns_init(&columns);
    buf_init(&name, TEXT_BYTES_MAX);
    enum err err = footer_columns_add(&columns, metadata);
    if (err == ERR_OK)
        err = id_tell(change);
    for (size_t i = 0; i < columns.count && err == ERR_OK; i++)
        if (field_name(columns.columns[i].field_path, &name))
            err = field_tell(metadata, &columns.columns[i], buf_bytes(&name), change);
    buf_fini(&name);
    footer_columns_fini(&columns);
    return err;
}

/* --- arrivals ------------------------------------------------------------------------------ */

static void arrivals_tell(const struct parquet_metadata *metadata, struct change *change)
{
    size_t column = leaf_find(metadata, BYTES_LITERAL("_ingested_at"));
    for (size_t i = 0; i < metadata->row_group_count && column < metadata->column_count; i++) {
        const struct parquet_metadata_chunk *chunk = &metadata->row_groups[i].chunks[column];
        if (!chunk->min.is_set || !chunk->max.is_set || chunk->min.bytes.size != 8 ||
            chunk->max.bytes.size != 8)
            continue;
        int64_t first_us = (int64_t)load_u64(chunk->min.bytes.data);
        int64_t last_us = (int64_t)load_u64(chunk->max.bytes.data);
        if (change->first_us == 0 || first_us < change->first_us)
            change->first_us = first_us;
        if (change->last_us == 0 || last_us > change->last_us)
            change->last_us = last_us;
    }
}

/* --- sensors ------------------------------------------------------------------------------- */

static enum err values_tell(const struct parquet_column_data *data, enum parquet_kind kind,
                            struct change *change)
{
    struct buf text;
    enum err err = ERR_OK;
    buf_init(&text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < data->value_count && err == ERR_OK; i++) {
        struct bytes sensor;
        if (kind == PARQUET_STRING) {
            uint32_t at[2];
            memcpy(at, data->offsets.data + i * sizeof(uint32_t), sizeof(at));
            sensor = bytes_from(data->data.data + at[0], at[1] - at[0]);
        } else {
            double number;
            memcpy(&number, data->values.data + i * sizeof(number), sizeof(number));
            buf_clear(&text);
            sample_number(&text, number == 0 ? 0 : number); /* one sensor: no -0 */
            sensor = buf_bytes(&text);
        }
        err = extract_sensor_add(change, sensor);
    }
    buf_fini(&text);
    return err;
}

static enum err column_tell(struct parquet_reader *reader, size_t column, struct change *change,
                            struct diag *diag)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[column]];
    enum err err = ERR_OK;
    if (!element->is_known || element->repetition_level_max > 0 ||
        (element->kind != PARQUET_STRING && element->kind != PARQUET_DOUBLE))
        return ERR_OK;
    for (size_t i = 0; i < metadata->row_group_count && err == ERR_OK; i++) {
        struct parquet_column_data data;
        parquet_column_data_init(&data, RECOUNT_COLUMNS_BYTES_MAX);
        err = parquet_reader_read(reader, i, column, &data, diag);
        if (err == ERR_OK)
            err = values_tell(&data, element->kind, change);
        parquet_column_data_fini(&data);
    }
    return err;
}

/* Of a file that is small enough to be read. */
static enum err columns_tell(struct store *store, const struct lake_file *file,
                             const size_t *columns, size_t count, struct change *change,
                             struct diag *diag)
{
    struct parquet_reader *reader = NULL;
    struct buf bytes;
    buf_init(&bytes, RECOUNT_COLUMNS_BYTES_MAX + 1);
    enum err err = lake_read_file(store, file, &bytes, diag);
    if (err == ERR_OK)
        err = parquet_reader_new(buf_bytes(&bytes), RECOUNT_COLUMNS_BYTES_MAX, &reader, diag);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        if (columns[i] < parquet_reader_metadata(reader)->column_count)
            err = column_tell(reader, columns[i], change, diag);
    parquet_reader_free(reader);
    buf_fini(&bytes);
    return err;
}

static enum err sensors_tell(struct store *store, const struct lake_file *file,
                             const struct parquet_metadata *metadata, struct change *change,
                             struct diag *diag)
{
    static const char *const names[] = {"sensor_id", "sensorId"};
    size_t columns[2];
    size_t found = 0;
    for (size_t i = 0; i < 2; i++) {
        columns[i] = leaf_find(metadata, bytes_from_text(names[i]));
        found += columns[i] < metadata->column_count;
    }
    if (found == 0 || file->size_bytes > RECOUNT_COLUMNS_BYTES_MAX)
        return ERR_OK;
    return columns_tell(store, file, columns, 2, change, diag);
}

enum err recount_sensors(struct store *store, const struct lake_file *file,
                         const struct parquet_metadata *metadata, struct bytes name,
                         struct change *change, struct diag *diag)
{
    size_t column = leaf_find(metadata, name);
    if (column == metadata->column_count)
        return diag_set(diag, ERR_CORRUPT, "it lacks the column that its footer names");
    if (file->size_bytes > RECOUNT_COLUMNS_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "too large to be read for its sensors");
    return columns_tell(store, file, &column, 1, change, diag);
}

enum err recount_columns(struct store *store, const struct lake_file *file,
                         const struct parquet_metadata *metadata, struct change *change,
                         struct diag *diag)
{
    change->records = metadata->row_count;
    arrivals_tell(metadata, change);
    enum err err = fields_tell(metadata, change);
    return err == ERR_OK ? sensors_tell(store, file, metadata, change, diag) : err;
}
