#pragma once
/*
 * What a source remembers between polls, in the journal under REST_STATE_KEY: the cursor, the
 * validators of the last response (ETag, Last-Modified), and where to go on when a long poll was
 * put down in several groups. Each is kept with what it belongs to, a hash of the request's making:
 * after a change of the configuration what does not fit any more is not used.
 *
 * As a JSON object of at most REST_STATE_BYTES_MAX bytes. What cannot be read counts as nothing:
 * the next poll reads from the beginning. One thread.
 */
#include "connectors/rest/rest_config.h"
#include "connectors/rest/rest_cursor.h"

#define REST_STATE_KEY           "poll"
#define REST_STATE_BYTES_MAX     (256 * KIB)
#define REST_VALIDATOR_BYTES_MAX 384

struct rest_state {
    struct rest_cursor cursor;
    char etag[REST_VALIDATOR_BYTES_MAX]; /* "": none */
    char last_modified[REST_VALIDATOR_BYTES_MAX];
    uint64_t validators_of; /* the request they came with */
    struct buf resume; /* position of the page that is to be read next; empty: from the start */
    struct rest_cursor resume_cursor; /* greatest so far in the poll that is to be gone on with */
};

void rest_state_init(struct rest_state *state);
void rest_state_fini(struct rest_state *state);

/* What of the text belongs to this configuration. */
enum err rest_state_read(struct rest_state *state, const struct rest_config *config,
                         struct bytes text) ERR_MUST_USE;
enum err rest_state_write(const struct rest_state *state, const struct rest_config *config,
                          struct buf *out) ERR_MUST_USE;

/* Of a request: its address, its making, and how its answer is read. */
uint64_t rest_state_request(const struct rest_config *config, struct bytes url);
