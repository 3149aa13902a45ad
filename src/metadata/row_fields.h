#pragma once
/*
 * What rows, as the API shows them, say of their dataset's fields and sensors: for a dataset of
 * which nothing has been cut yet. One thread.
 */
#include "metadata/change.h"

struct row_fields {
    struct change change; /* without counts */
    struct map found;     /* name -> in how many rows, as a pointer */
    uint64_t rows;
};

void row_fields_init(struct row_fields *fields);
void row_fields_fini(struct row_fields *fields);
/* A JSON object; anything else says nothing. ctx: the struct row_fields. */
enum err row_fields_add(void *ctx, struct bytes json) ERR_MUST_USE;
/* After the last row. */
void row_fields_end(struct row_fields *fields);
