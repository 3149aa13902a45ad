/*
 * Encoded, integers little-endian, text16 and text32 as in journal/record.h:
 *
 *   version u8 (2) | first_block u64 | records u64 | payload_bytes u64 | first_us u64 | last_us u64
 *   | topic text16 | quality: 7 x u64 | field_count u32 | fields | sensor_count u32
 *   | sensors: text16 each | beyond text32 (distinct.h)
 *   field: name text32 | missing_before u64 | types u8 | nullable u8 | sample_count u8
 *          | samples: text16 each
 *
 * Version 1 has no first_block.
 */
#include "metadata/change.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include "journal/record.h"

#define CHANGE_VERSION   2
#define CHANGE_BYTES_MAX (64 * MIB)

static const char *const type_names[DATASET_TYPES] = {"null", "boolean", "double", "string",
                                                      "uuid", "array",   "object"};
static const uint8_t type_ranks[DATASET_TYPES] = {0, 1, 2, 3, 3, 4, 5};

const char *dataset_type_name(enum dataset_type type)
{
    return type_names[type];
}

enum dataset_type dataset_type_of(struct bytes name)
{
    int type = 0;
    while (type < DATASET_TYPES && !bytes_equal_text(name, type_names[type]))
        type++;
    return (enum dataset_type)type;
}

bool dataset_type_rises(enum dataset_type a, enum dataset_type b)
{
    return type_ranks[b] > type_ranks[a];
}

uint8_t change_types_add(uint8_t types, enum dataset_type type)
{
    int highest = DATASET_TYPES - 1;
    while (highest > 0 && !(types & (1u << highest)))
        highest--;
    if (types != 0 && !dataset_type_rises((enum dataset_type)highest, type))
        return types;
    return (uint8_t)(types | (1u << type));
}

void change_init(struct change *change)
{
    *change = (struct change){0};
    arena_init(&change->arena, CHANGE_BYTES_MAX);
    map_init(&change->by_name);
    distinct_init(&change->listed);
    distinct_init(&change->beyond);
}

void change_fini(struct change *change)
{
    arena_fini(&change->arena);
    map_fini(&change->by_name);
    mem_free(change->fields);
    mem_free(change->sensors);
    distinct_fini(&change->listed);
    distinct_fini(&change->beyond);
}

struct bytes change_text_cut(struct bytes text, size_t size_max)
{
    size_t at = 0;
    if (text.size <= size_max)
        return text;
    while (at < size_max) {
        size_t length = utf8_sequence(text.data + at, text.size - at);
        if (length == 0 || at + length > size_max)
            break;
        at += length;
    }
    return bytes_from(text.data, at);
}

static enum err text_keep(struct change *change, struct bytes text, struct bytes *ret_kept)
{
    char *copy = arena_dup(&change->arena, text.data ? text.data : (const uint8_t *)"", text.size);
    *ret_kept = bytes_from(copy, text.size);
    return copy ? ERR_OK : ERR_NO_MEMORY;
}

enum err change_topic_set(struct change *change, struct bytes topic)
{
    return text_keep(change, topic, &change->topic);
}

struct change_field *change_field_find(const struct change *change, struct bytes name)
{
    uintptr_t place = (uintptr_t)map_get(&change->by_name, name);
    return place ? &change->fields[place - 1] : NULL;
}

static enum err fields_grow(struct change *change)
{
    size_t capacity = change->field_capacity ? change->field_capacity * 2 : 16;
    struct change_field *fields = mem_realloc(change->fields, capacity * sizeof(*fields));
    if (!fields)
        return ERR_NO_MEMORY;
    change->fields = fields;
    change->field_capacity = capacity;
    return ERR_OK;
}

enum err change_field_get(struct change *change, struct bytes name, struct change_field **ret_field)
{
    enum err err = ERR_OK;
    *ret_field = change_field_find(change, name);
    if (*ret_field || change->field_count >= CHANGE_FIELDS_MAX)
        return ERR_OK;
    if (change->field_count == change->field_capacity)
        err = fields_grow(change);
    struct bytes kept;
    if (err == ERR_OK)
        err = text_keep(change, name, &kept);
    if (err == ERR_OK)
        err = map_put(&change->by_name, kept, (void *)(uintptr_t)(change->field_count + 1));
    if (err != ERR_OK)
        return err;
    *ret_field = &change->fields[change->field_count++];
    **ret_field = (struct change_field){.name = kept};
    return ERR_OK;
}

enum err change_sample_add(struct change *change, struct change_field *field, struct bytes sample)
{
    if (field->sample_count >= LIMIT_SAMPLES)
        return ERR_OK;
    sample = change_text_cut(sample, LIMIT_SAMPLE_BYTES);
    for (uint8_t i = 0; i < field->sample_count; i++)
        if (bytes_equal(field->samples[i], sample))
            return ERR_OK;
    enum err err = text_keep(change, sample, &field->samples[field->sample_count]);
    if (err == ERR_OK)
        field->sample_count++;
    return err;
}

enum err change_sensor_add(struct change *change, struct bytes sensor)
{
    bool is_new;
    sensor = change_text_cut(sensor, LIMIT_SAMPLE_BYTES);
    uint64_t hash = distinct_hash(sensor);
    if (distinct_has(&change->listed, hash))
        return ERR_OK;
    if (change->sensor_count >= LIMIT_SENSORS_LISTED)
        return distinct_add(&change->beyond, hash, &is_new);
    if (change->sensor_count == change->sensor_capacity) {
        size_t capacity = change->sensor_capacity ? change->sensor_capacity * 2 : 8;
        struct bytes *sensors = mem_realloc(change->sensors, capacity * sizeof(*sensors));
        if (!sensors)
            return ERR_NO_MEMORY;
        change->sensors = sensors;
        change->sensor_capacity = capacity;
    }
    struct bytes kept;
    enum err err = text_keep(change, sensor, &kept);
    if (err == ERR_OK)
        err = distinct_add(&change->listed, hash, &is_new);
    if (err == ERR_OK && is_new)
        change->sensors[change->sensor_count++] = kept;
    return err;
}

void change_sensors_drop(struct change *change)
{
    change->sensor_count = 0;
    distinct_clear(&change->listed);
    distinct_clear(&change->beyond);
}

/* --- merging ------------------------------------------------------------------------------- */

static enum err field_merge(struct change *into, const struct change_field *from)
{
    bool known = change_field_find(into, from->name) != NULL;
    struct change_field *field;
    enum err err = change_field_get(into, from->name, &field);
    if (err != ERR_OK || !field)
        return err;
    if (!known)
        field->missing_before = into->records + from->missing_before;
    for (int type = 0; type < DATASET_TYPES; type++)
        if (from->types & (1u << type))
            field->types = change_types_add(field->types, (enum dataset_type)type);
    field->nullable |= from->nullable;
    for (uint8_t i = 0; i < from->sample_count && err == ERR_OK; i++)
        err = change_sample_add(into, field, from->samples[i]);
    return err;
}

static void quality_merge(struct change_quality *into, const struct change_quality *from)
{
    into->cells += from->cells;
    into->filled_cells += from->filled_cells;
    into->missing_timestamp += from->missing_timestamp;
    into->late += from->late;
    into->rescued += from->rescued;
    into->compared += from->compared;
    into->duplicates += from->duplicates;
}

/* The sums last: nothing can fail after them. */
enum err change_merge(struct change *into, const struct change *from)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < from->field_count && err == ERR_OK; i++)
        err = field_merge(into, &from->fields[i]);
    for (size_t i = 0; i < from->sensor_count && err == ERR_OK; i++)
        err = change_sensor_add(into, from->sensors[i]);
    if (err == ERR_OK)
        err = distinct_merge(&into->beyond, &from->beyond);
    if (err == ERR_OK && into->topic.size == 0 && from->topic.size > 0)
        err = change_topic_set(into, from->topic);
    if (err != ERR_OK)
        return err;
    if (into->first_block == 0 || (from->first_block && from->first_block < into->first_block))
        into->first_block = from->first_block;
    into->records += from->records;
    into->payload_bytes += from->payload_bytes;
    if (from->first_us != 0 && (into->first_us == 0 || from->first_us < into->first_us))
        into->first_us = from->first_us;
    if (from->last_us != 0 && (into->last_us == 0 || from->last_us > into->last_us))
        into->last_us = from->last_us;
    quality_merge(&into->quality, &from->quality);
    return ERR_OK;
}

uint64_t change_first_block(struct bytes encoded)
{
    struct record_reader reader = record_reader_of(encoded);
    uint8_t version = record_u8(&reader);
    uint64_t first_block = version > 1 ? record_u64(&reader) : 1;
    return reader.bad || first_block == 0 ? 1 : first_block;
}

/* --- encoded ------------------------------------------------------------------------------- */

static void field_encode(const struct change_field *field, struct buf *out)
{
    record_append_text32(out, field->name);
    buf_u64(out, field->missing_before);
    buf_byte(out, field->types);
    buf_byte(out, field->nullable);
    buf_byte(out, field->sample_count);
    for (uint8_t i = 0; i < field->sample_count; i++)
        record_append_text16(out, field->samples[i]);
}

static void beyond_encode(const struct distinct *beyond, struct buf *out)
{
    struct buf encoded;
    buf_init(&encoded, 2 * (size_t)DISTINCT_REGISTERS);
    distinct_encode(beyond, &encoded);
    if (encoded.err != ERR_OK && out->err == ERR_OK)
        out->err = encoded.err;
    record_append_text32(out, buf_bytes(&encoded));
    buf_fini(&encoded);
}

void change_encode(const struct change *change, struct buf *out)
{
    const struct change_quality *quality = &change->quality;
    const uint64_t sums[] = {quality->cells,     quality->filled_cells, quality->missing_timestamp,
                             quality->late,      quality->rescued,      quality->compared,
                             quality->duplicates};
    buf_byte(out, CHANGE_VERSION);
    buf_u64(out, change->first_block);
    buf_u64(out, change->records);
    buf_u64(out, change->payload_bytes);
    buf_u64(out, (uint64_t)change->first_us);
    buf_u64(out, (uint64_t)change->last_us);
    record_append_text16(out, change->topic);
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
        buf_u64(out, sums[i]);
    buf_u32(out, (uint32_t)change->field_count);
    for (size_t i = 0; i < change->field_count; i++)
        field_encode(&change->fields[i], out);
    buf_u32(out, (uint32_t)change->sensor_count);
    for (size_t i = 0; i < change->sensor_count; i++)
        record_append_text16(out, change->sensors[i]);
    beyond_encode(&change->beyond, out);
}

static enum err field_decode(struct change *change, struct record_reader *reader)
{
    struct change_field *field;
    struct bytes name = record_text32(reader);
    enum err err = reader->bad ? ERR_CORRUPT : change_field_get(change, name, &field);
    if (err != ERR_OK || !field)
        return err != ERR_OK ? err : ERR_CORRUPT;
    field->missing_before = record_u64(reader);
    field->types = record_u8(reader);
    field->nullable = record_u8(reader) != 0;
    uint8_t count = record_u8(reader);
    if (reader->bad || count > LIMIT_SAMPLES || field->types >> DATASET_TYPES)
        return ERR_CORRUPT;
    for (uint8_t i = 0; i < count && err == ERR_OK; i++)
        err = change_sample_add(change, field, record_text16(reader));
    return err;
}

static enum err fields_decode(struct change *change, struct record_reader *reader)
{
    uint32_t count = record_u32(reader);
    enum err err = count <= CHANGE_FIELDS_MAX ? ERR_OK : ERR_CORRUPT;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++)
        err = field_decode(change, reader);
    return err;
}

static enum err sensors_decode(struct change *change, struct record_reader *reader)
{
    uint32_t count = record_u32(reader);
    enum err err = count <= LIMIT_SENSORS_LISTED ? ERR_OK : ERR_CORRUPT;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct bytes sensor = record_text16(reader);
        err = reader->bad ? ERR_CORRUPT : change_sensor_add(change, sensor);
    }
    if (err != ERR_OK)
        return err;
    struct bytes beyond = record_text32(reader);
    return reader->bad ? ERR_CORRUPT : distinct_decode(&change->beyond, beyond);
}

enum err change_decode(struct change *change, struct bytes encoded)
{
    struct record_reader reader = record_reader_of(encoded);
    struct change_quality *quality = &change->quality;
    uint64_t *const sums[] = {
        &quality->cells,   &quality->filled_cells, &quality->missing_timestamp, &quality->late,
        &quality->rescued, &quality->compared,     &quality->duplicates};
    uint8_t version = record_u8(&reader);
    if (version == 0 || version > CHANGE_VERSION)
        return ERR_CORRUPT;
    change->first_block = version > 1 ? record_u64(&reader) : 1; /* it may begin anywhere */
    change->records = record_u64(&reader);
    change->payload_bytes = record_u64(&reader);
    change->first_us = (int64_t)record_u64(&reader);
    change->last_us = (int64_t)record_u64(&reader);
    enum err err = change_topic_set(change, record_text16(&reader));
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
        *sums[i] = record_u64(&reader);
    if (err == ERR_OK)
        err = fields_decode(change, &reader);
    if (err == ERR_OK)
        err = sensors_decode(change, &reader);
    return err != ERR_OK ? err : record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}
