#pragma once
/*
 * What a file's columns tell of its dataset's metadata, where its cut said nothing in the footer:
 * records, first and last arrival, fields with types (a text that is a UUID is a string), and the
 * sensors of sensor_id and sensorId. Bytes, samples and data quality are not in them.
 *
 * Blocks on the store; one thread. A file of more than RECOUNT_COLUMNS_BYTES_MAX is not read for
 * its sensors. Errors: the store's and those of a damaged file.
 */
#include "lake/lake_read.h"
#include "metadata/change.h"

#define RECOUNT_COLUMNS_BYTES_MAX ((size_t)256 * 1024 * 1024)

/* The sensors of the column that extract_sensors_column named (change_text.h), as they were.
 * ERR_CORRUPT: there is none. */
enum err recount_sensors(struct store *store, const struct lake_file *file,
                         const struct parquet_metadata *metadata, struct bytes name,
                         struct change *change, struct diag *diag) ERR_MUST_USE;
/* metadata: the file's. Into an empty change. */
enum err recount_columns(struct store *store, const struct lake_file *file,
                         const struct parquet_metadata *metadata, struct change *change,
                         struct diag *diag) ERR_MUST_USE;
