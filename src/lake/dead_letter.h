#pragma once
/*
 * Messages that become no record (contract/data.md "Dead letters"): kept raw, written at the cut.
 * One thread; lives with its batch.
 */
#include "base/buf.h"
#include "journal/position.h"
#include "lake/batch_tally.h"
#include "lake/origin.h"
#include "lake/parquet_writer.h"

struct dead_letter {
    int64_t arrival_us;
    struct position position;
    uint32_t origin;
    uint32_t payload_offset;
    uint32_t payload_size;
    const char *reason; /* static; NULL: reason and detail are among the origin's extras */
    const char *detail;
};

struct dead_letters {
    struct dead_letter *letters;
    size_t count;
    size_t capacity;
    struct buf payloads;
};

void dead_letters_init(struct dead_letters *letters);
void dead_letters_fini(struct dead_letters *letters);
/* letter->payload_… are filled in. ERR_NO_MEMORY leaves all as before. */
enum err dead_letters_add(struct dead_letters *letters, const struct dead_letter *letter,
                          struct bytes payload) ERR_MUST_USE;
void dead_letters_truncate(struct dead_letters *letters, size_t count);

/* Counts those from one on in the tally, by their reasons. */
void dead_letters_tell(const struct dead_letters *letters, size_t from,
                       const struct origins *origins, struct batch_tally *tally);

/* Letters that arrived in one hour: pick marks those already written. Calls on_file once for each
 * hour with the file's nodes and leaves ready. */
struct dead_letter_file {
    int64_t instant_us; /* of the first */
    struct position first;
    size_t rows;
    const struct parquet_node *nodes;
    size_t node_count;
    const struct parquet_leaf *leaves;
};
/* How many files that makes. */
enum err dead_letters_count_files(const struct dead_letters *letters,
                                  size_t *ret_count) ERR_MUST_USE;
enum err dead_letters_files(const struct dead_letters *letters, const struct origins *origins,
                            struct bytes dataset_id,
                            enum err (*on_file)(void *ctx, const struct dead_letter_file *file),
                            void *ctx) ERR_MUST_USE;
