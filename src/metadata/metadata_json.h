#pragma once
/* Pieces of the API's answers: a dataset as JSON (contract/http-api.md "Dataset"). Any thread; what
 * fails is seen in out->err. */
#include "base/buf.h"
#include "database/database.h"
#include "metadata/metadata_table.h"

void put_text(struct buf *out, const char *name, struct bytes text);
/* Integers and texts; else null. */
void put_value(struct buf *out, const char *name, const struct database_value *value);
/* A number as JSON has it: none is infinite. */
void put_number(struct buf *out, const char *name, const struct database_value *value);
/* us 0: the time now. */
void put_moment(struct buf *out, const char *name, int64_t us);
/* "YYYY-MM-DD HH:MM:SS", whatever form it has; null when it has none. */
void put_second(struct buf *out, const char *name, const struct database_value *value);
/* 0: there is none. */
int64_t moment_of(const struct database_value *value);

/* The column's text as an array of samples, of fields ("schema_fields":[…]), of sensors. A text as
 * this service writes it is checked and copied; any other (the Python service's, a damaged one) is
 * read as a tree and shown as well as can be. */
enum err put_samples_text(struct buf *out, const struct database_value *text) ERR_MUST_USE;
enum err put_fields_text(struct buf *out, const struct database_value *text,
                         size_t *ret_count) ERR_MUST_USE;
enum err put_sensors_text(struct buf *out, const struct database_value *text) ERR_MUST_USE;

/* A Dataset, all but its last two moments, left open. Its fields and sensors: from the row, or when
 * it has none from the columns (METADATA_ROW_SQL). */
enum err put_dataset(struct buf *out, struct bytes id, const struct metadata_row *row,
                     const struct database_value *columns) ERR_MUST_USE;
