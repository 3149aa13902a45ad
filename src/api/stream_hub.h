#pragma once
/*
 * The clients of /api/stream and what waits for each: references to clumps, in a queue bounded by
 * count and bytes. Those who bring rows (the pipeline's workers) never wait for a client: what does
 * not fit is counted and told as dropped. Rows are rendered when their client's connection can
 * take them, on an API thread.
 *
 * One lock guards all; any thread. Limits: LIMIT_API_STREAM_CLIENTS, LIMIT_API_STREAM_BYTES.
 */
#include "api/message.h"
#include "os/clock.h"
#include "pipeline/recent.h"

struct stream_hub;

enum err stream_hub_new(struct recent *recent, const struct clock *clock,
                        struct stream_hub **ret_hub) ERR_MUST_USE;
/* After every client is gone. NULL is fine, here and below. */
void stream_hub_free(struct stream_hub *hub);
/* All streams end, no new one begins. */
void stream_hub_stop(struct stream_hub *hub);
/* Wakes who has heard nothing for a while, for a heartbeat. */
void stream_hub_tick(struct stream_hub *hub);

/* Makes response a stream of the rows of that dataset, or (size 0) of all. ERR_TOO_MANY: that would
 * be one client too many; ERR_STOPPED. */
enum err stream_hub_open(struct stream_hub *hub, struct bytes dataset_id,
                         struct api_response *response) ERR_MUST_USE;
