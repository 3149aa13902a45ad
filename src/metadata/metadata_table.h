#pragma once
/*
 * The metadata database of contract/data.md "Databases" 2: schema, and what a change does to it.
 * Any thread; calls block on the database. Rows that the Python service wrote are gone on with:
 * their texts are read and written in its own way, so that it can go back to them.
 *
 * Errors are those of database/database.h.
 */
#include "base/map.h"
#include "database/database.h"
#include "metadata/change.h"

#include <jansson.h>

#define METADATA_JSON_BYTES_MAX (64 * MIB) /* of a column */

/* Makes the tables that lack. */
enum err metadata_table_prepare(struct database *database, struct diag *diag) ERR_MUST_USE;
/* Whether the tables are there, as metadata_table_prepare makes them. */
enum err metadata_table_check(struct database *database, struct diag *diag) ERR_MUST_USE;

/* Through which block of the journal the dataset's changes are in the database; 0: none. */
enum err metadata_table_progress(struct database_transaction *transaction, const char *journal,
                                 struct bytes dataset_id, uint64_t *ret_through,
                                 struct diag *diag) ERR_MUST_USE;
/* Whether all that the journal's cuts left in the lake is in the database, or on its way there; and
 * that it is now. */
enum err metadata_table_is_recounted(struct database *database, const char *journal, bool *ret_is,
                                     struct diag *diag) ERR_MUST_USE;
enum err metadata_table_set_recounted(struct database *database, const char *journal, uint64_t mark,
                                      struct diag *diag) ERR_MUST_USE;
enum err metadata_table_unset_recounted(struct database *database, const char *journal,
                                        struct diag *diag) ERR_MUST_USE;
/* What the database bears of this journal; 0: none. It never goes down. */
enum err metadata_table_mark(struct database *database, const char *journal, uint64_t *ret_mark,
                             struct diag *diag) ERR_MUST_USE;
enum err metadata_table_set_mark(struct database_transaction *transaction, const char *journal,
                                 uint64_t mark, struct diag *diag) ERR_MUST_USE;
/* Adds the change and moves the progress: in one transaction, once or not at all. */
enum err metadata_table_apply(struct database_transaction *transaction, const char *journal,
                              struct bytes dataset_id, const struct change *change,
                              uint64_t through, struct diag *diag) ERR_MUST_USE;

/* --- the row as it is merged (metadata_row.c) --- */

struct metadata_row {
    bool exists;
    int64_t record_count;
    int64_t payload_bytes;
    int64_t sensor_count;
    int64_t first_us; /* 0: none */
    int64_t last_us;
    char *topic;     /* NULL: none */
    json_t *sensors; /* array of texts */
    json_t *fields;  /* array of {name, type, nullable, sample_values} */
    struct distinct sketch;
    bool has_sketch;
};
void metadata_row_fini(struct metadata_row *row);
/* From these columns of dataset_metadata. */
#define METADATA_ROW_COLUMNS 8
#define METADATA_ROW_SENSORS 6
#define METADATA_ROW_FIELDS  7
#define METADATA_COUNTS_SQL                                                                        \
    "record_count, data_size_bytes, unique_sensor_count, first_seen, last_seen, topic"
#define METADATA_ROW_SQL METADATA_COUNTS_SQL ", unique_sensor_ids, schema_fields"
enum err metadata_row_read(struct metadata_row *row,
                           const struct database_value *columns) ERR_MUST_USE;
/* Its two halves: all but sensors and fields, and these. */
enum err metadata_row_counts(struct metadata_row *row,
                             const struct database_value *columns) ERR_MUST_USE;
enum err metadata_row_trees(struct metadata_row *row,
                            const struct database_value *columns) ERR_MUST_USE;
/* A column's JSON array; NULL: it is none, or no memory. */
json_t *metadata_list_read(const struct database_value *value);
/* What is no array, or cannot be read, is an empty one; NULL: no memory. */
json_t *metadata_array_read(const struct database_value *value);

/* The dataset's; one that is not there yet is empty. Most changes bring counts and nothing else:
 * sensors and fields, which are long, stay unread then, and are empty. */
enum err metadata_row_load(struct database_transaction *transaction, struct bytes dataset_id,
                           bool sensors, bool fields, struct metadata_row *row,
                           struct diag *diag) ERR_MUST_USE;
/* Without sensors or fields, those in the database stay. */
enum err metadata_row_write(struct database_transaction *transaction, struct bytes dataset_id,
                            const struct metadata_row *row, struct bytes topic, bool with_sensors,
                            bool with_fields, struct diag *diag) ERR_MUST_USE;
/* A text, or an empty one where it is not UTF-8; NULL: no memory. */
json_t *metadata_json_text(struct bytes text);

/* What was added to a field, for the schema evolution. */
struct metadata_evolution {
    struct bytes name;
    enum dataset_type type;
    const json_t *samples;
};
/* on_evolution is called for each field that is new or whose type rose, once for each type. */
enum err metadata_row_merge(struct metadata_row *row, const struct change *change,
                            enum err (*on_evolution)(void *ctx,
                                                     const struct metadata_evolution *evolution),
                            void *ctx) ERR_MUST_USE;

/* "YYYY-MM-DDTHH:MM:SS.ffffff+00:00"; us 0: the time now. */
#define METADATA_MOMENT_BYTES 40
void metadata_moment(int64_t us, char ret_text[METADATA_MOMENT_BYTES]);
/* "YYYY-MM-DD HH:MM:SS" */
void metadata_second(int64_t us, char ret_text[METADATA_MOMENT_BYTES]);
