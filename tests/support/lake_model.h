#pragma once
/*
 * What the promise says of a schedule, beside the service: which messages are durable, which files
 * a LANDED has decided on, and what may and must be seen in the store. Whatever differs ends the
 * program (promise.h). One thread. Aborts without memory.
 *
 *   - a cut holds exactly its dataset's messages of the blocks of its range, each once, in the
 *     partition that is the message's own;
 *   - a dataset's ranges follow each other without a gap (the ledger forgets a dataset when no
 *     block of it is retained; its next range begins at 0 then); a range made again is as it was;
 *   - nothing is put, and nothing is visible, before its LANDED is durable;
 *   - what was put stays, byte for byte; after UPLOADED it is there;
 *   - a file that is landed and not uploaded is in the spool or at its key, unless the simulation
 *     damaged it;
 *   - the files' journal ranges say that nothing is doubled and, at the end, no file and no cut
 *     missing, as `ingestor lake verify` reads them;
 *   - at the end every durable message is visible exactly once, and no other.
 */
#include "journal/journal.h"
#include "lake/batch.h"
#include "lake/lake_ranges.h"

#define LAKE_DATASETS     3
#define LAKE_MESSAGES_MAX 1024
#define LAKE_CUTS_MAX     512

struct lake_message {
    uint64_t block; /* 0: not durable */
    uint8_t dataset;
    uint8_t hour;        /* of its partition */
    bool is_dead_letter; /* rejected */
    bool is_silent;      /* makes no record */
    bool is_lost;        /* reported, rightly */
};

struct lake_file { /* bytes that were made for a key; made again otherwise: another one */
    char *key;
    uint8_t sha256[32];
    uint32_t *messages;
    size_t message_count;
    bool is_landed;   /* some LANDED named it */
    bool is_put;      /* the store said so */
    bool is_uploaded; /* UPLOADED, and not lost */
    bool is_damaged;  /* the simulation's doing */
    bool is_lost;
    bool was_damaged;
    bool is_visible; /* at the last look */
    bool was_seen;
};

struct lake_cut {
    uint64_t cut_id, after, through, first_block;
    uint64_t after_said; /* by LANDED: 0 when the journal has forgotten the dataset, see below */
    uint32_t files[64];  /* into files */
    uint32_t file_count;
    uint8_t dataset;
    bool is_pending; /* LANDED without UPLOADED, not replaced */
};

struct lake_model {
    struct lake_message messages[LAKE_MESSAGES_MAX + 1]; /* by number, from 1 */
    uint32_t message_last;
    struct lake_file *files;
    size_t file_count;
    struct lake_cut cuts[LAKE_CUTS_MAX];
    size_t cut_count;
    uint64_t landed[LAKE_DATASETS];
    uint64_t retained_from; /* the journal had all from this block on when it was last alive */
    uint8_t seen[LAKE_MESSAGES_MAX + 1];
    struct lake_ranges ranges; /* of the last look */
    uint64_t visible_count, lost_count, redone_count;
};

void lake_model_init(struct lake_model *model);
void lake_model_fini(struct lake_model *model);

uint32_t lake_message_new(struct lake_model *model, struct lake_message message);
void lake_block_durable(struct lake_model *model, uint32_t first, uint32_t count, uint64_t number);
/* The files of a cut: read and remembered. */
void lake_cut_made(struct lake_model *model, const struct cut *cut);
void lake_landed_durable(struct lake_model *model, const struct landed *landed);
void lake_uploaded_durable(struct lake_model *model, uint64_t cut_id);
void lake_put_begins(struct lake_model *model, const char *key, const uint8_t sha256[32]);
void lake_put_done(struct lake_model *model, const char *key, const uint8_t sha256[32]);
/* The simulation damages the spool file of this key, whichever bytes it holds. */
void lake_damaged(struct lake_model *model, const char *key);
/* A report of landing: "lost: object <key> of dataset …". */
void lake_reported(struct lake_model *model, const char *sentence);

/* A look at the store: begin, each object, end. */
void lake_look_begin(struct lake_model *model);
void lake_look_object(struct lake_model *model, const char *key, struct bytes content);
void lake_look_end(struct lake_model *model, bool is_final);

/* Messages that are durable and not in a LANDED, and cuts that are not uploaded. */
size_t lake_outstanding(const struct lake_model *model);
const struct lake_cut *lake_pending_next(const struct lake_model *model, size_t *cursor);
