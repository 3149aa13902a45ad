#pragma once
/* What the files of the extraction share. All on the worker's thread, for one cut. */
#include "base/arena.h"
#include "metadata/extract.h"

#define FIELD_NAME_BYTES 1024

/* A field as it was told. */
struct told_field {
    uint64_t name_hash;
    uint64_t samples[LIMIT_SAMPLES]; /* hashes */
    uint8_t sample_count;
    uint8_t types;
    bool nullable;
};

struct told {
    struct told_field beyond; /* of which nothing is news */
    struct told_field *fields;
    size_t field_count;
    size_t field_capacity;
    struct distinct sensors;
    size_t sensors_listed;
    struct bytes *bare; /* names (heap) of fields that every record had, and only as {} or []: no
                           column tells when one lacks it */
    size_t bare_count;
    size_t bare_bytes;
    int64_t since_us; /* the arrival of the first record that it saw */
};

/* A sensorId that has its say after the sensor_ids. */
struct late_sensor {
    size_t row;
    struct bytes value; /* JSON; lives with the rows */
};

struct extraction {
    const struct cut_input *cut;
    struct told *told;
    struct change *change;
    size_t fields_max; /* that may be told: some are left for the service's own */
    size_t place;      /* where the next field was told last time, likely */
    struct buf text;
    struct buf unescaped;
    uint8_t *named; /* a bit for each row whose sensor sensor_id told; NULL: not both are there */
    struct late_sensor *late;
    size_t late_count;
    size_t late_capacity;
};

/* When a field first had a value of each type: an order as rows_arrival_order's, plus 1; 0: never.
 */
struct sightings {
    uint64_t order[DATASET_TYPES];
};

static inline void sighting_add(struct sightings *sightings, enum dataset_type type, uint64_t order)
{
    if (sightings->order[type] == 0 || order + 1 < sightings->order[type])
        sightings->order[type] = order + 1;
}

/* extract_rescued.c: values that did not fit their column, or have none. */
struct rescued_field {
    struct bytes name;
    size_t absent; /* records with such a value, and nothing in the column */
    struct sightings sightings;
    struct bytes samples[LIMIT_SAMPLES]; /* JSON, of the first records; lives with the rows */
    uint8_t sample_count;
};

struct rescued {
    struct arena arena;
    struct map by_name; /* struct rescued_field */
};

void rescued_init(struct rescued *rescued);
void rescued_fini(struct rescued *rescued);
/* on_value gets each top-level value with its row and name. */
enum err rescued_read(struct rescued *rescued, const struct cut_input *cut,
                      enum err (*on_value)(void *ctx, size_t row, struct bytes name,
                                           struct bytes value),
                      void *ctx) ERR_MUST_USE;

/* extract_sensors.c: begin, on_rescued_sensor for what was rescued, tell, end. */
enum err sensors_begin(struct extraction *extraction) ERR_MUST_USE;
void sensors_end(struct extraction *extraction);
enum err sensors_tell(struct extraction *extraction) ERR_MUST_USE;
enum err on_rescued_sensor(void *ctx, size_t row, struct bytes name,
                           struct bytes value) ERR_MUST_USE;
