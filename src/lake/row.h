#pragma once
/*
 * A message as the rows that the API shows (contract/http-api.md "Recent data"): the record's own
 * fields in the device's order, then ingestion_id, timestamp, source_type, ingestion_timestamp and
 * the metadata fields; one that both have has our value in the device's place. Cold path: called
 * when somebody reads. Any thread.
 */
#include "base/buf.h"
#include "journal/block.h"

/* Calls on_row with each record's JSON object text (valid JSON: NaN and infinities become null). A
 * message that makes no record calls nothing. */
enum err row_render(const struct route_view *route, const struct message_view *message,
                    enum err (*on_row)(void *ctx, struct bytes json), void *ctx) ERR_MUST_USE;
