#pragma once
/*
 * From a response's body to its records (contract/connectors.md "REST"): the body at data_path; an
 * array gives one record for each element, anything else is one. A body that is no JSON is one text
 * record; a data_path that does not match makes the whole body the record. Nothing is copied and no
 * tree is built: the records are slices of the body, however large it is.
 *
 * Pure; the body outlives what is made from it.
 */
#include "codec/content_format.h"
#include "connectors/rest/rest_path.h"

enum rest_body_kind {
    REST_BODY_JSON,
    REST_BODY_TEXT, /* one record: the whole body */
};

struct rest_body {
    struct bytes text; /* without a byte order mark */
    const struct rest_path *path;
    enum rest_body_kind kind;
    bool mismatched; /* data_path does not fit: the whole is what counts */
    uint64_t record_count;
    uint64_t record_bytes; /* of all slices */
};

/* A body of another format (content_format_converts) becomes the JSON that it stands for, at most
 * as large as the body may be, so that paths, cursors and pagination see it. One that is not of its
 * format stays as it is: the lake says what is wrong with it. ERR_NO_MEMORY. */
enum err rest_body_convert(struct buf *body, enum content_format format, int64_t arrived_us,
                           bool *ret_converted) ERR_MUST_USE;

/* Checks and counts. as_text: do not even look for JSON. */
void rest_body_open(struct rest_body *body, struct bytes text, const struct rest_path *path,
                    bool as_text);

/* Calls on_record for each record from index first on, in order; an error from it ends the walk and
 * is returned. is_element: stands in an array (so an array here is one record, not many). */
typedef enum err (*rest_record_fn)(void *ctx, struct bytes record, bool is_element);
enum err rest_body_each(const struct rest_body *body, uint64_t first, rest_record_fn on_record,
                        void *ctx) ERR_MUST_USE;
