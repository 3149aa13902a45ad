#pragma once
/*
 * What some of a dataset's records mean for its metadata: one cut's, or several merged. Counts add
 * up; all else (types, samples, sensors) says again what may be known already, and merging it twice
 * changes nothing. One thread at a time.
 *
 * Encoded it goes with LANDED through the journal: change.c has the format. Decoding takes nothing
 * on trust. Fails with ERR_NO_MEMORY (the change then holds what it held, or part of what was to
 * be added that is true by itself) and ERR_CORRUPT.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "metadata/distinct.h"

/* Types merge upward; string and uuid have one rank, and the first of them stays. */
enum dataset_type {
    DATASET_NULL,
    DATASET_BOOLEAN,
    DATASET_DOUBLE,
    DATASET_STRING,
    DATASET_UUID,
    DATASET_ARRAY,
    DATASET_OBJECT,
    DATASET_TYPES
};
const char *dataset_type_name(enum dataset_type type);
/* DATASET_TYPES: no such name. */
enum dataset_type dataset_type_of(struct bytes name);
/* Whether a value of type b changes a field of type a. */
bool dataset_type_rises(enum dataset_type a, enum dataset_type b);

/* A field's types, a bit each, with one more: only one that changes the field is. */
uint8_t change_types_add(uint8_t types, enum dataset_type type);

struct change_field {
    struct bytes name;
    uint64_t missing_before; /* records of this change before the field's first */
    uint8_t types;           /* a bit for each type that it had, one after the other */
    bool nullable;           /* some record lacks it, or has null */
    uint8_t sample_count;
    struct bytes samples[LIMIT_SAMPLES];
};

/* Of data quality; plain sums. */
struct change_quality {
    uint64_t cells; /* of the payload's fields */
    uint64_t filled_cells;
    uint64_t missing_timestamp; /* records */
    uint64_t late;              /* records */
    uint64_t rescued;           /* values */
    uint64_t compared;          /* records looked at for */
    uint64_t duplicates;
};

/* Of a dataset; metadata of more is not kept. */
#define CHANGE_FIELDS_MAX (LIMIT_COLUMNS_PER_DATASET + 1000)

struct change {
    struct arena arena;
    uint64_t first_block; /* of the journal: it says nothing of older ones; 0: it is empty */
    uint64_t records;
    uint64_t payload_bytes;
    int64_t first_us; /* arrivals; 0: none */
    int64_t last_us;
    struct bytes topic;
    struct change_quality quality;
    struct change_field *fields;
    size_t field_count;
    size_t field_capacity;
    struct map by_name; /* index + 1 */
    struct bytes *sensors;
    size_t sensor_count; /* at most LIMIT_SENSORS_LISTED; what is more stands in beyond */
    size_t sensor_capacity;
    struct distinct listed; /* the hashes of sensors */
    struct distinct beyond;
};

void change_init(struct change *change);
void change_fini(struct change *change);

enum err change_topic_set(struct change *change, struct bytes topic) ERR_MUST_USE;
/* Made if missing; NULL in *ret_field when there are CHANGE_FIELDS_MAX of them. */
enum err change_field_get(struct change *change, struct bytes name,
                          struct change_field **ret_field) ERR_MUST_USE;
/* NULL: it is not there. */
struct change_field *change_field_find(const struct change *change, struct bytes name);
/* Cut to LIMIT_SAMPLE_BYTES; nothing happens when it is there, or there are LIMIT_SAMPLES. */
enum err change_sample_add(struct change *change, struct change_field *field,
                           struct bytes sample) ERR_MUST_USE;
enum err change_sensor_add(struct change *change, struct bytes sensor) ERR_MUST_USE;
/* As if it had none. */
void change_sensors_drop(struct change *change);

/* from came after into. */
enum err change_merge(struct change *into, const struct change *from) ERR_MUST_USE;

void change_encode(const struct change *change, struct buf *out);
/* Into an empty one. */
enum err change_decode(struct change *change, struct bytes encoded) ERR_MUST_USE;
/* Of an encoded one; 1, the first of all, where it does not say. */
uint64_t change_first_block(struct bytes encoded);

/* As much of the text as fits, and is whole characters. */
struct bytes change_text_cut(struct bytes text, size_t size_max);
