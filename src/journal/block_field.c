/* Encoders of routes, and the values that go with single messages. Layouts: block.c. */
#include "base/buf.h"
#include "journal/block.h"
#include "journal/record.h"

bool field_value_fits(enum field_type type, size_t size)
{
    switch (type) {
    case FIELD_STRING:
        return true;
    case FIELD_DOUBLE:
        return size == 8;
    case FIELD_BOOLEAN:
        return size == 1;
    }
    return false;
}

static void route_field_encode(struct buf *out, const struct route_field *field)
{
    if (field->name.size > UINT8_MAX ||
        (!field->per_message && field->constant.size > LIMIT_BLOCK_BYTES / 2)) {
        out->err = ERR_TOO_LARGE;
        return;
    }
    buf_byte(out, (uint8_t)field->name.size);
    buf_append(out, field->name.data, field->name.size);
    buf_byte(out, (uint8_t)field->type);
    buf_byte(out, field->per_message ? 1 : 0);
    if (field->per_message)
        return;
    buf_u32(out, (uint32_t)field->constant.size);
    buf_append(out, field->constant.data, field->constant.size);
}

static enum err route_check(const struct route_view *route)
{
    if (route->field_count > ROUTE_FIELDS_MAX)
        return ERR_TOO_MANY;
    if (route->dataset_id.size > LIMIT_DATASET_ID_BYTES)
        return ERR_TOO_LARGE;
    for (uint32_t i = 0; i < route->field_count; i++) {
        const struct route_field *field = &route->fields[i];
        if (!field->per_message && !field_value_fits(field->type, field->constant.size))
            return ERR_INVALID;
    }
    return ERR_OK;
}

enum err route_encode(const struct route_view *route, struct buf *ret_record)
{
    enum err err = route_check(route);
    if (err != ERR_OK)
        return err;
    size_t begin = ret_record->size;
    buf_u32(ret_record, 0); /* its size, below */
    buf_byte(ret_record, RECORD_ROUTE);
    buf_byte(ret_record, 0);
    buf_byte(ret_record, (uint8_t)route->format);
    buf_byte(ret_record, (uint8_t)route->partition_by);
    buf_u16(ret_record, route->partition_window_hours);
    buf_byte(ret_record, (uint8_t)route->field_count);
    record_append_text16(ret_record, route->source_id);
    record_append_text16(ret_record, route->dataset_id);
    record_append_text16(ret_record, route->source_type);
    record_append_text16(ret_record, route->topic);
    record_append_text16(ret_record, route->content_type);
    record_append_text16(ret_record, route->timestamp_field);
    record_append_text16(ret_record, route->sensor_id_field);
    for (uint32_t i = 0; i < route->field_count; i++)
        route_field_encode(ret_record, &route->fields[i]);
    if (route->columns.size > 0 || route->dedupe_field.size > 0) {
        record_append_text16(ret_record, route->columns);
        record_append_text16(ret_record, route->dedupe_field);
        buf_u32(ret_record, route->dedupe_window_seconds);
    }
    if (ret_record->err != ERR_OK) {
        ret_record->size = begin;
        return ret_record->err;
    }
    store_u32(ret_record->data + begin, (uint32_t)(ret_record->size - begin));
    return ERR_OK;
}

enum err route_column_append(struct buf *columns, struct bytes name, enum field_type type)
{
    size_t begin = columns->size;
    buf_byte(columns, (uint8_t)type);
    record_append_text16(columns, name);
    if (columns->err != ERR_OK)
        columns->size = begin;
    return columns->err;
}

bool route_column_next(struct bytes columns, size_t *cursor, struct bytes *ret_name,
                       enum field_type *ret_type)
{
    if (*cursor >= columns.size)
        return false;
    struct record_reader reader =
        record_reader_of(bytes_from(columns.data + *cursor, columns.size - *cursor));
    uint8_t type = record_u8(&reader);
    *ret_name = record_text16(&reader);
    *ret_type = (enum field_type)type;
    if (reader.bad || type < FIELD_STRING || type > FIELD_BOOLEAN)
        return false;
    *cursor = columns.size - reader.left;
    return true;
}

enum err message_field_append(struct buf *extras, const struct message_field *field)
{
    size_t begin = extras->size;
    if (field->type == FIELD_STRING && field->text.size > LIMIT_BLOCK_BYTES / 2)
        return ERR_TOO_LARGE;
    buf_byte(extras, field->index);
    buf_byte(extras, (uint8_t)field->type);
    if (field->type == FIELD_STRING) {
        buf_u32(extras, (uint32_t)field->text.size);
        buf_append(extras, field->text.data, field->text.size);
    } else if (field->type == FIELD_DOUBLE) {
        uint64_t bits;
        memcpy(&bits, &field->number, sizeof(bits));
        buf_u64(extras, bits);
    } else {
        buf_byte(extras, field->number > 0 ? 1 : 0);
    }
    if (extras->err != ERR_OK)
        extras->size = begin;
    return extras->err;
}

bool message_field_next(struct bytes extras, size_t *cursor, struct message_field *ret_field)
{
    if (*cursor >= extras.size)
        return false;
    struct record_reader reader =
        record_reader_of(bytes_from(extras.data + *cursor, extras.size - *cursor));
    *ret_field = (struct message_field){.index = record_u8(&reader)};
    uint8_t type = record_u8(&reader);
    if (type == FIELD_STRING) {
        ret_field->text = record_text32(&reader);
    } else if (type == FIELD_DOUBLE) {
        uint64_t bits = record_u64(&reader);
        memcpy(&ret_field->number, &bits, sizeof(bits));
    } else if (type == FIELD_BOOLEAN) {
        ret_field->number = record_u8(&reader) ? 1 : 0;
    } else {
        return false;
    }
    ret_field->type = (enum field_type)type;
    *cursor = extras.size - reader.left;
    return !reader.bad;
}
