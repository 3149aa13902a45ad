/*
 * Layouts, all little-endian, packed:
 *
 *   record   size u32 (whole record) | kind u8 | flags u8 | body
 *   MESSAGE  packet_identifier u16 | route_index u32 | extras_size u32 | arrival_us i64
 *            | identity_hash u64, with MESSAGE_IDENTITY only | extras | payload (the rest)
 *   ROUTE    format u8 | partition_by u8 | window u16 | field_count u8
 *            | 7 texts, each size u16 and bytes: source_id, dataset_id, source_type, topic,
 *              content_type, timestamp_field, sensor_id_field
 *            | fields, each: name_size u8, name, type u8, per_message u8,
 *              unless per_message: constant_size u32, constant
 *            | only when one is set: columns (text16 of: type u8, name text16), dedupe_field
 * text16, dedupe_window_seconds u32 extras   fields, each: index u8, type u8, then f64 | u8 | size
 * u32 and bytes
 *
 * The writer keeps the index (messages, routes) as it goes; block_parse makes the same one, and
 * refuses what the writer could not have made, so that the views need no checks of their own.
 */
#include "journal/block.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/hash.h"

#include <assert.h>

#define RECORD_HEAD_BYTES   6
#define ROUTE_IDS_OFFSET    5  /* in a ROUTE body: behind format, rule, window and field count */
#define MESSAGE_FIXED_BYTES 24 /* record head included */
#define IDENTITY_BYTES      8
#define ROUTE_FIXED_BYTES   5 /* of the body */
#define MESSAGE_FLAGS_KNOWN                                                                        \
    (MESSAGE_IDENTITY | MESSAGE_DEAD_LETTER | MESSAGE_QOS_2 | MESSAGE_SESSION)
#define BLOCK_FLAGS_KNOWN    BLOCK_MORE
#define ROUTES_MAX           (1u << 20)
#define MESSAGES_FIRST_COUNT 64

_Static_assert(LIMIT_BLOCK_BYTES % LIMIT_BLOCK_ALIGN_BYTES == 0, "blocks are whole pages");
_Static_assert(LIMIT_BLOCK_BYTES > LIMIT_MESSAGE_BYTES_MAX + MIB, "any message fits a block");
_Static_assert(MESSAGE_IDENTITY == 1, "counted by its bit");
_Static_assert(LIMIT_BLOCK_BYTES < UINT32_MAX / 2, "offsets are 32 bits");

static size_t page_round(size_t size_bytes)
{
    return (size_bytes + LIMIT_BLOCK_ALIGN_BYTES - 1) & ~(size_t)(LIMIT_BLOCK_ALIGN_BYTES - 1);
}

enum err block_new(size_t capacity_bytes, struct block **ret_block)
{
    if (capacity_bytes > LIMIT_BLOCK_BYTES)
        return ERR_TOO_LARGE;
    struct block *block = mem_zalloc(1, sizeof(*block));
    if (!block)
        return ERR_NO_MEMORY;
    atomic_init(&block->references, 1);
    block->capacity_bytes = page_round(capacity_bytes ? capacity_bytes : 1);
    block->size_bytes = BLOCK_HEADER_BYTES;
    block->image = mem_aligned(LIMIT_BLOCK_ALIGN_BYTES, block->capacity_bytes);
    if (!block->image) {
        block_unref(block);
        return ERR_NO_MEMORY;
    }
    memset(block->image, 0, BLOCK_HEADER_BYTES);
    *ret_block = block;
    return ERR_OK;
}

struct block *block_ref(struct block *block)
{
    atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
    return block;
}

void block_unref(struct block *block)
{
    if (!block || atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(block->image);
    mem_free(block->messages);
    mem_free(block->routes);
    mem_free(block);
}

/* ---- filling ---- */

static enum err image_reserve(struct block *block, size_t size_bytes)
{
    if (size_bytes <= block->capacity_bytes - block->size_bytes)
        return ERR_OK;
    if (size_bytes > LIMIT_BLOCK_BYTES - block->size_bytes)
        return ERR_TOO_LARGE;
    size_t capacity = block->capacity_bytes * 2;
    if (capacity < block->size_bytes + size_bytes)
        capacity = page_round(block->size_bytes + size_bytes);
    if (capacity > LIMIT_BLOCK_BYTES)
        capacity = LIMIT_BLOCK_BYTES;
    uint8_t *image = mem_aligned(LIMIT_BLOCK_ALIGN_BYTES, capacity);
    if (!image)
        return ERR_NO_MEMORY;
    memcpy(image, block->image, block->size_bytes);
    mem_free(block->image);
    block->image = image;
    block->capacity_bytes = capacity;
    return ERR_OK;
}

static enum err messages_reserve(struct block *block)
{
    if (block->message_count < block->message_capacity)
        return ERR_OK;
    /* A first guess for messages of about 128 bytes, so that a usual block grows it never. */
    size_t capacity = block->message_capacity ? (size_t)block->message_capacity * 2
                                              : block->capacity_bytes / 128 + MESSAGES_FIRST_COUNT;
    void *messages = mem_realloc(block->messages, capacity * sizeof(*block->messages));
    if (!messages)
        return ERR_NO_MEMORY;
    block->messages = messages;
    block->message_capacity = (uint32_t)capacity;
    return ERR_OK;
}

static enum err routes_reserve(struct block *block)
{
    if (block->route_count < block->route_capacity)
        return ERR_OK;
    if (block->route_count >= ROUTES_MAX)
        return ERR_TOO_MANY;
    size_t capacity = block->route_capacity ? (size_t)block->route_capacity * 2 : 16;
    void *routes = mem_realloc(block->routes, capacity * sizeof(*block->routes));
    if (!routes)
        return ERR_NO_MEMORY;
    block->routes = routes;
    block->route_capacity = (uint32_t)capacity;
    return ERR_OK;
}

static void route_index_add(struct block *block, size_t offset, uint64_t dataset_hash)
{
    block->routes[block->route_count++] = (struct block_route){
        .offset = (uint32_t)offset,
        .message_first = BLOCK_END,
        .message_last = BLOCK_END,
        .dataset_hash = dataset_hash,
    };
}

static void message_index_add(struct block *block, size_t offset, uint32_t route_index,
                              size_t payload_bytes)
{
    uint32_t index = block->message_count++;
    struct block_route *route = &block->routes[route_index];
    block->messages[index] = (struct block_message){(uint32_t)offset, BLOCK_END};
    if (route->message_last == BLOCK_END)
        route->message_first = index;
    else
        block->messages[route->message_last].next = index;
    route->message_last = index;
    route->message_count++;
    route->payload_bytes += payload_bytes;
}

static void record_head_write(uint8_t *at, size_t size_bytes, enum record_kind kind, uint8_t flags)
{
    store_u32(at, (uint32_t)size_bytes);
    at[4] = (uint8_t)kind;
    at[5] = flags;
}

enum err block_add_route(struct block *block, struct bytes encoded, uint64_t dataset_hash,
                         uint32_t *ret_index)
{
    assert(encoded.size > RECORD_HEAD_BYTES && load_u32(encoded.data) == encoded.size &&
           encoded.data[4] == RECORD_ROUTE);
    enum err err = routes_reserve(block);
    if (err == ERR_OK)
        err = image_reserve(block, encoded.size);
    if (err != ERR_OK)
        return err;
    memcpy(block->image + block->size_bytes, encoded.data, encoded.size);
    *ret_index = block->route_count;
    route_index_add(block, block->size_bytes, dataset_hash);
    block->size_bytes += encoded.size;
    block->record_count++;
    return ERR_OK;
}

static void message_encode(uint8_t *at, size_t size_bytes, const struct message_view *message)
{
    record_head_write(at, size_bytes, RECORD_MESSAGE, message->flags);
    store_u16(at + 6, message->packet_identifier);
    store_u32(at + 8, message->route_index);
    store_u32(at + 12, (uint32_t)message->extras.size);
    store_u64(at + 16, (uint64_t)message->arrival_us);
    at += MESSAGE_FIXED_BYTES;
    if (message->flags & MESSAGE_IDENTITY) {
        store_u64(at, message->identity_hash);
        at += IDENTITY_BYTES;
    }
    if (message->extras.size > 0)
        memcpy(at, message->extras.data, message->extras.size);
    if (message->payload.size > 0)
        memcpy(at + message->extras.size, message->payload.data, message->payload.size);
}

enum err block_add_message(struct block *block, const struct message_view *message)
{
    assert(message->route_index < block->route_count);
    assert((message->flags & ~MESSAGE_FLAGS_KNOWN) == 0);
    if (message->payload.size > LIMIT_BLOCK_BYTES || message->extras.size > LIMIT_BLOCK_BYTES)
        return ERR_TOO_LARGE;
    size_t size_bytes = MESSAGE_FIXED_BYTES + message->extras.size + message->payload.size;
    if (message->flags & MESSAGE_IDENTITY)
        size_bytes += IDENTITY_BYTES;
    enum err err = messages_reserve(block);
    if (err == ERR_OK)
        err = image_reserve(block, size_bytes);
    if (err != ERR_OK)
        return err;
    message_encode(block->image + block->size_bytes, size_bytes, message);
    message_index_add(block, block->size_bytes, message->route_index, message->payload.size);
    block->identity_count += message->flags & MESSAGE_IDENTITY;
    block->size_bytes += size_bytes;
    block->record_count++;
    return ERR_OK;
}

enum err block_add_record(struct block *block, enum record_kind kind, struct bytes body)
{
    assert(kind != RECORD_ROUTE && kind != RECORD_MESSAGE && kind <= UINT8_MAX);
    if (body.size > LIMIT_BLOCK_BYTES)
        return ERR_TOO_LARGE;
    size_t size_bytes = RECORD_HEAD_BYTES + body.size;
    enum err err = image_reserve(block, size_bytes);
    if (err != ERR_OK)
        return err;
    uint8_t *at = block->image + block->size_bytes;
    record_head_write(at, size_bytes, kind, 0);
    if (body.size > 0)
        memcpy(at + RECORD_HEAD_BYTES, body.data, body.size);
    block->size_bytes += size_bytes;
    block->record_count++;
    return ERR_OK;
}

void block_seal(struct block *block, enum block_kind kind, uint16_t flags, uint64_t group,
                uint64_t number, uint64_t epoch, uint64_t durable_number)
{
    uint8_t *image = block->image;
    assert((flags & ~BLOCK_FLAGS_KNOWN) == 0 && durable_number <= number);
    block->number = number;
    store_u32(image, BLOCK_MAGIC);
    store_u64(image + 8, number);
    store_u64(image + 16, epoch);
    store_u64(image + 24, durable_number);
    store_u32(image + 32, (uint32_t)block->size_bytes);
    store_u16(image + 36, (uint16_t)kind);
    store_u16(image + 38, flags);
    store_u32(image + 40, block->record_count);
    store_u32(image + 44, block->message_count);
    store_u64(image + 48, group);
    store_u64(image + 56, 0);
    memset(image + block->size_bytes, 0, block_padded_bytes(block) - block->size_bytes);
    store_u32(image + 4, crc32c(0, image + 8, block->size_bytes - 8));
}

/* ---- parsing ---- */

void block_header_read(const uint8_t image[BLOCK_HEADER_BYTES], struct block_header *ret_header)
{
    *ret_header = (struct block_header){
        .magic = load_u32(image),
        .crc32c = load_u32(image + 4),
        .number = load_u64(image + 8),
        .epoch = load_u64(image + 16),
        .durable_number = load_u64(image + 24),
        .size_bytes = load_u32(image + 32),
        .kind = load_u16(image + 36),
        .flags = load_u16(image + 38),
        .record_count = load_u32(image + 40),
        .message_count = load_u32(image + 44),
        .group = load_u64(image + 48),
    };
}

enum err block_check(struct bytes image, struct block_header *ret_header, struct diag *diag)
{
    *ret_header = (struct block_header){0};
    if (image.size < BLOCK_HEADER_BYTES)
        return diag_set(diag, ERR_CORRUPT, "block of %zu bytes is shorter than its header",
                        image.size);
    struct block_header h;
    block_header_read(image.data, &h);
    *ret_header = h;
    if (h.magic != BLOCK_MAGIC)
        return diag_set(diag, ERR_CORRUPT, "no block here (magic 0x%08x, expected 0x%08x)", h.magic,
                        BLOCK_MAGIC);
    if (h.size_bytes < BLOCK_HEADER_BYTES || h.size_bytes > image.size ||
        h.size_bytes > LIMIT_BLOCK_BYTES)
        return diag_set(diag, ERR_CORRUPT, "block size %u is not between %d and %zu", h.size_bytes,
                        BLOCK_HEADER_BYTES, image.size);
    uint32_t crc = crc32c(0, image.data + 8, h.size_bytes - 8);
    if (crc != h.crc32c)
        return diag_set(diag, ERR_CORRUPT, "checksum of block %llu is 0x%08x, expected 0x%08x",
                        (unsigned long long)h.number, crc, h.crc32c);
    if (h.kind < BLOCK_DATA || h.kind > BLOCK_EMPTY || (h.flags & ~BLOCK_FLAGS_KNOWN) ||
        h.durable_number > h.number || h.number > LIMIT_BLOCK_NUMBER ||
        load_u64(image.data + 56) != 0)
        return diag_set(diag, ERR_CORRUPT, "block %llu has header fields that make no sense",
                        (unsigned long long)h.number);
    return ERR_OK;
}

/* A cursor over a body; once something did not fit, everything after it is empty and bad. */
struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *reader_take(struct reader *reader, size_t size)
{
    static const uint8_t zeros[8];
    if (reader->bad || size > reader->left) {
        reader->bad = true;
        return zeros; /* good for the fixed loads below, none larger than 8 */
    }
    const uint8_t *at = reader->at;
    reader->at += size;
    reader->left -= size;
    return at;
}

static struct bytes reader_bytes(struct reader *reader, size_t size)
{
    const uint8_t *at = reader_take(reader, size);
    return reader->bad ? (struct bytes){at, 0} : (struct bytes){at, size};
}

static struct bytes reader_text16(struct reader *reader)
{
    return reader_bytes(reader, load_u16(reader_take(reader, 2)));
}

static bool route_field_decode(struct reader *reader, struct route_field *ret_field)
{
    ret_field->name = reader_bytes(reader, *reader_take(reader, 1));
    ret_field->type = (enum field_type) * reader_take(reader, 1);
    uint8_t per_message = *reader_take(reader, 1);
    ret_field->per_message = per_message == 1;
    ret_field->constant = (struct bytes){NULL, 0};
    if (reader->bad || per_message > 1 || ret_field->type < FIELD_STRING ||
        ret_field->type > FIELD_BOOLEAN)
        return false;
    if (per_message)
        return true;
    ret_field->constant = reader_bytes(reader, load_u32(reader_take(reader, 4)));
    return !reader->bad && field_value_fits(ret_field->type, ret_field->constant.size);
}

static bool route_columns_fit(struct bytes columns)
{
    size_t cursor = 0;
    struct bytes name;
    enum field_type type;
    while (route_column_next(columns, &cursor, &name, &type))
        ;
    return cursor == columns.size;
}

static bool route_decode(struct bytes body, struct route_view *route)
{
    struct reader reader = {body.data, body.size, false};
    route->format = (enum content_format) * reader_take(&reader, 1);
    route->partition_by = (enum partition_by) * reader_take(&reader, 1);
    route->partition_window_hours = load_u16(reader_take(&reader, 2));
    route->field_count = *reader_take(&reader, 1);
    route->source_id = reader_text16(&reader);
    route->dataset_id = reader_text16(&reader);
    route->source_type = reader_text16(&reader);
    route->topic = reader_text16(&reader);
    route->content_type = reader_text16(&reader);
    route->timestamp_field = reader_text16(&reader);
    route->sensor_id_field = reader_text16(&reader);
    if (reader.bad || route->field_count > ROUTE_FIELDS_MAX ||
        route->partition_by > PARTITION_BY_ARRIVAL ||
        route->dataset_id.size > LIMIT_DATASET_ID_BYTES)
        return false;
    for (uint32_t i = 0; i < route->field_count; i++)
        if (!route_field_decode(&reader, &route->fields[i]))
            return false;
    route->columns = route->dedupe_field = (struct bytes){0};
    route->dedupe_window_seconds = 0;
    if (!reader.bad && reader.left > 0) {
        route->columns = reader_text16(&reader);
        route->dedupe_field = reader_text16(&reader);
        route->dedupe_window_seconds = load_u32(reader_take(&reader, 4));
    }
    return !reader.bad && reader.left == 0 && route_columns_fit(route->columns);
}

static enum err route_record_index(struct block *block, size_t offset, size_t size)
{
    struct route_view route;
    struct bytes body =
        bytes_from(block->image + offset + RECORD_HEAD_BYTES, size - RECORD_HEAD_BYTES);
    if (block->image[offset + 5] != 0 || !route_decode(body, &route))
        return ERR_CORRUPT;
    enum err err = routes_reserve(block);
    if (err == ERR_TOO_MANY)
        return ERR_CORRUPT; /* the writer could not have made it */
    if (err == ERR_OK)
        route_index_add(block, offset, hash_bytes(route.dataset_id));
    return err;
}

static enum err message_record_index(struct block *block, size_t offset, size_t size)
{
    const uint8_t *at = block->image + offset;
    uint8_t flags = at[5];
    size_t fixed = MESSAGE_FIXED_BYTES + ((flags & MESSAGE_IDENTITY) ? IDENTITY_BYTES : 0);
    if ((flags & ~MESSAGE_FLAGS_KNOWN) || size < fixed || load_u32(at + 12) > size - fixed ||
        load_u32(at + 8) >= block->route_count)
        return ERR_CORRUPT;
    enum err err = messages_reserve(block);
    if (err != ERR_OK)
        return err;
    message_index_add(block, offset, load_u32(at + 8), size - fixed - load_u32(at + 12));
    block->identity_count += flags & MESSAGE_IDENTITY;
    return ERR_OK;
}

static enum err records_index(struct block *block, struct diag *diag)
{
    size_t end = block->size_bytes;
    for (size_t offset = BLOCK_HEADER_BYTES; offset < end;) {
        size_t left = end - offset;
        size_t size = left < RECORD_HEAD_BYTES ? 0 : load_u32(block->image + offset);
        uint8_t kind = left < RECORD_HEAD_BYTES ? 0 : block->image[offset + 4];
        enum err err = ERR_OK;
        if (size < RECORD_HEAD_BYTES || size > left || kind == 0)
            err = ERR_CORRUPT;
        else if (kind == RECORD_ROUTE)
            err = route_record_index(block, offset, size);
        else if (kind == RECORD_MESSAGE)
            err = message_record_index(block, offset, size);
        if (err == ERR_CORRUPT)
            return diag_set(diag, err, "record of kind %u at offset %zu of block %llu is malformed",
                            kind, offset, (unsigned long long)block->number);
        if (err != ERR_OK)
            return diag_set(diag, err, "no memory to read block %llu",
                            (unsigned long long)block->number);
        block->record_count++;
        offset += size;
    }
    return ERR_OK;
}

enum err block_parse(struct bytes image, struct block **ret_block, struct diag *diag)
{
    struct block_header header;
    struct block *block = NULL;
    enum err err = block_check(image, &header, diag);
    if (err != ERR_OK)
        return err;
    err = block_new(header.size_bytes, &block);
    if (err != ERR_OK)
        return diag_set(diag, err, "no memory to read a block of %u bytes", header.size_bytes);
    memcpy(block->image, image.data, header.size_bytes);
    block->size_bytes = header.size_bytes;
    block->number = header.number;
    memset(block->image + block->size_bytes, 0, block_padded_bytes(block) - block->size_bytes);
    err = records_index(block, diag);
    if (err == ERR_OK && (block->record_count != header.record_count ||
                          block->message_count != header.message_count))
        err = diag_set(diag, ERR_CORRUPT,
                       "block %llu holds %u records and %u messages, its header says %u and %u",
                       (unsigned long long)block->number, block->record_count, block->message_count,
                       header.record_count, header.message_count);
    if (err != ERR_OK) {
        block_unref(block);
        return err;
    }
    *ret_block = block;
    return ERR_OK;
}

/* ---- views ---- */

void block_message_get(const struct block *block, uint32_t message_index,
                       struct message_view *ret_message)
{
    assert(message_index < block->message_count);
    message_record_get(block->image + block->messages[message_index].offset, ret_message);
}

void message_record_get(const uint8_t *record, struct message_view *ret_message)
{
    const uint8_t *at = record;
    size_t left = load_u32(at) - MESSAGE_FIXED_BYTES;
    *ret_message = (struct message_view){
        .flags = message_record_flags(record),
        .packet_identifier = load_u16(at + 6),
        .route_index = load_u32(at + 8),
        .extras.size = load_u32(at + 12),
        .arrival_us = (int64_t)load_u64(at + 16),
    };
    at += MESSAGE_FIXED_BYTES;
    if (ret_message->flags & MESSAGE_IDENTITY) {
        ret_message->identity_hash = load_u64(at);
        at += IDENTITY_BYTES;
        left -= IDENTITY_BYTES;
    }
    ret_message->extras.data = at;
    ret_message->payload =
        bytes_from(at + ret_message->extras.size, left - ret_message->extras.size);
}

void block_route_ids(const struct block *block, uint32_t route_index, struct bytes *ret_source_id,
                     struct bytes *ret_dataset_id)
{
    const uint8_t *at =
        block->image + block->routes[route_index].offset + RECORD_HEAD_BYTES + ROUTE_IDS_OFFSET;
    *ret_source_id = bytes_from(at + 2, load_u16(at));
    at += 2 + ret_source_id->size;
    *ret_dataset_id = bytes_from(at + 2, load_u16(at));
}

void block_route_get(const struct block *block, uint32_t route_index, struct route_view *ret_route)
{
    assert(route_index < block->route_count);
    const uint8_t *at = block->image + block->routes[route_index].offset;
    bool good = route_decode(bytes_from(at + RECORD_HEAD_BYTES, load_u32(at) - RECORD_HEAD_BYTES),
                             ret_route);
    assert(good);
    (void)good;
}

bool block_record_next(const struct block *block, size_t *cursor, struct record_view *ret_record)
{
    size_t offset = *cursor ? *cursor : BLOCK_HEADER_BYTES;
    if (offset >= block->size_bytes)
        return false;
    const uint8_t *at = block->image + offset;
    size_t size = load_u32(at);
    ret_record->kind = (enum record_kind)at[4];
    ret_record->flags = at[5];
    ret_record->body = bytes_from(at + RECORD_HEAD_BYTES, size - RECORD_HEAD_BYTES);
    *cursor = offset + size;
    return true;
}
