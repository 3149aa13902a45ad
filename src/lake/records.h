#pragma once
/*
 * A payload as records (contract/data.md "Payload to records"). Pure; any thread. A record is an
 * object's JSON text in the device dialect (codec/json.h), checked.
 */
#include "base/buf.h"
#include "journal/block.h"

/* Of one message: an array of more elements is none of a sensor's. */
#define RECORDS_PER_MESSAGE_MAX 1000000u

/* depth_max: of the record's containers, for who decodes it (made records are one deeper than the
 * payload they hold). */
typedef enum err (*records_fn)(void *ctx, struct bytes record, uint32_t depth_max);

struct records_input {
    const struct route_view *route;
    struct bytes payload;
    int64_t arrival_us;
};

/* Calls on_record for each; its error ends the walk. ERR_UNSUPPORTED: the payload is not of its
 * route's format, *ret_why (static) says why; ERR_TOO_MANY: more than RECORDS_PER_MESSAGE_MAX.
 * Neither has called on_record. */
enum err records_each(const struct records_input *input, records_fn on_record, void *ctx,
                      const char **ret_why) ERR_MUST_USE;
/* The one record of a payload that is no JSON. */
enum err records_text(const struct route_view *route, struct bytes payload, records_fn on_record,
                      void *ctx) ERR_MUST_USE;
/* Appends the value of one of the route's metadata fields. False: the message has none. */
bool records_metadata_value(struct buf *out, const struct route_view *route, struct bytes extras,
                            uint32_t field_index);
/* Appends ,"name":value for each metadata field of the route that the message has. */
enum err records_metadata(struct buf *out, const struct route_view *route, struct bytes extras);
