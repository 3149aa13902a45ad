#pragma once
/*
 * Puts a poll's pages down: one message for each record, the state they lead to, all in one group
 * (pipeline/ingest.h), so that after a crash either all of it is there or nothing.
 *
 * A group that would be too large with a message for each record (very many very small ones) gets
 * several of them in one message, as a JSON array: the rows are the same.
 *
 * When an emission fails the group stays open and rest_emit_run goes on where it was; between tries
 * the pages must stay as they are. The loop's thread.
 */
#include "connectors/rest/rest_poll.h"
#include "pipeline/ingest.h"

struct rest_emit {
    const struct rest_config *config;
    const char *source_id;
    struct ingest_source *source;
    struct rest_state *state;
    struct buf state_text; /* as it was put last */
    bool open;             /* a group is */
    bool packed;
    uint32_t page;
    uint64_t record; /* of the page: the next one */
    uint64_t sequence;
    uint64_t records;  /* since the source began */
    uint64_t oversize; /* of them */
    uint64_t repeated; /* not among them: known from the last poll's edge */
    struct buf scratch;
    uint64_t scratch_records;
};

void rest_emit_init(struct rest_emit *emit, const struct rest_config *config, const char *source_id,
                    struct ingest_source *source, struct rest_state *state);
/* Ends a group that is still open. */
void rest_emit_fini(struct rest_emit *emit);
/* Reads what the journal has of this source's state. */
enum err rest_emit_recover(struct rest_emit *emit) ERR_MUST_USE;
/* All kept pages of the poll, then the state. ERR_OK: done. Else: call it again later. */
enum err rest_emit_run(struct rest_emit *emit, const struct rest_poll *poll) ERR_MUST_USE;
