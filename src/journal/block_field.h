#pragma once
/*
 * What a route says of its messages, and the fields that are given with each: encoded once, part of
 * the block they stand in (journal/block.h). Pure; any thread.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "codec/content_format.h"

#include <stdbool.h>
#include <stdint.h>

struct buf;

enum partition_by { PARTITION_BY_EVENT = 0, PARTITION_BY_ARRIVAL = 1 };

/* A metadata field of a route: constant for all its messages, or given with each. */
enum field_type { FIELD_STRING = 1, FIELD_DOUBLE = 2, FIELD_BOOLEAN = 3 };

/* Whether a constant of that many bytes can be of the type; false for a type that is none. */
bool field_value_fits(enum field_type type, size_t size);

#define ROUTE_FIELDS_MAX 16

struct route_field {
    struct bytes name; /* "topic", "qos", … in the order of contract/data.md */
    enum field_type type;
    bool per_message;      /* the value is in each message's extras, or lacks there (null) */
    struct bytes constant; /* STRING: text; DOUBLE: 8 bytes; BOOLEAN: 1 byte. Not per_message. */
};

/* What a route says. All bytes are borrowed: from the maker, or from the block it was read from. */
struct route_view {
    struct bytes source_id;       /* ingestion id of the source */
    struct bytes dataset_id;      /* ingestion id of the records, at most 200 bytes */
    struct bytes source_type;     /* "mqtt" */
    struct bytes topic;           /* what metadata and dead letters call topic; may be empty */
    struct bytes content_type;    /* as received, for text records; may be empty */
    struct bytes timestamp_field; /* empty: "timestamp" */
    struct bytes sensor_id_field; /* empty: "sensor_id", "sensorId" */
    struct bytes columns;      /* route_column_append makes it; pinned before their first value */
    struct bytes dedupe_field; /* empty: repetitions stay */
    uint32_t dedupe_window_seconds;
    enum content_format format;
    enum partition_by partition_by;
    uint16_t partition_window_hours;
    uint32_t field_count;
    struct route_field fields[ROUTE_FIELDS_MAX]; /* besides ingestion_id, timestamp, source_type,
                                                    ingestion_timestamp, which every record has */
};

/* The list of a source's columns: appending to it, and walking it (*cursor starts at 0; false at
 * the end, and where the bytes are no such list). A name of over 64 KiB is ERR_TOO_LARGE. */
#define ROUTE_COLUMNS_BYTES_MAX 65535 /* of the list */
enum err route_column_append(struct buf *columns, struct bytes name,
                             enum field_type type) ERR_MUST_USE;
bool route_column_next(struct bytes columns, size_t *cursor, struct bytes *ret_name,
                       enum field_type *ret_type);

/* A value of a per_message field. Names of the two that dead letters carry are fixed indexes. */
#define FIELD_INDEX_REASON 254
#define FIELD_INDEX_DETAIL 255

struct message_field {
    uint8_t index; /* into route_view.fields, or FIELD_INDEX_… */
    enum field_type type;
    double number; /* DOUBLE, BOOLEAN */
    struct bytes text;
};

/* Extras: encoding and walking of per-message field values. */
enum err message_field_append(struct buf *extras, const struct message_field *field) ERR_MUST_USE;
/* *cursor starts at 0; false at the end or where the bytes make no sense. */
bool message_field_next(struct bytes extras, size_t *cursor, struct message_field *ret_field);
