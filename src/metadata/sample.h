#pragma once
/*
 * Values of columns as people read them: samples of a dataset's fields, names of sensors. One
 * thread; appends to out, whose maximum cuts what is long (out->err ERR_TOO_LARGE is no failure).
 */
#include "base/buf.h"
#include "lake/schema.h"

/* A whole number without a point, else the shortest digits that read back the same. */
void sample_number(struct buf *out, double value);
/* A value of a leaf: strings as they are. */
void sample_leaf(struct buf *out, const struct leaf *leaf, size_t value);
/* A UUID in its canonical form of 36 characters. */
/* A long sensor is told by its beginning and its hash. */
struct bytes sample_sensor_name(struct bytes sensor, char room[LIMIT_SAMPLE_BYTES + 1]);
bool sample_is_uuid(struct bytes text);

/* What row_count rows from the first on have in a column of any kind: objects and arrays as JSON.
 * on_value gets each that is not null; true ends it. */
enum err sample_rows(const struct column *column, size_t row_count,
                     bool (*on_value)(void *ctx, struct bytes text), void *ctx) ERR_MUST_USE;
