#pragma once
/* The inside of the desk of dead letters, shared by letters.c (turns, listing, marks) and
 * letters_replay.c. */
#include "base/buf.h"
#include "connectors/common_options.h"
#include "os/thread.h"
#include "sources/letters.h"

#define LETTERS_SOURCE_ID    "dead_letter_replay"
#define LETTERS_PORTS_MAX    32 /* source types; the first is the marks' */
#define LETTERS_TYPE_BYTES   64
#define LETTERS_MARKS_MAX    (16 * MIB) /* all of them, in the journal's checkpoints */
#define LETTERS_MARK_MAX     (LETTER_FILE_ROWS_MAX / 8 + 1)
#define LETTERS_MARK_KEY_MAX LETTER_KEY_BYTES

/* A source of the loop for each source type, so that a row's source_type is its device's. */
struct letters_port {
    struct letters *letters;
    char type[LETTERS_TYPE_BYTES];
    struct ingest_source *source;
    _Atomic bool paused;
    uint64_t emitted; /* of the call's thread; set on the loop */
    uint64_t durable; /* under the lock */
};

struct letters {
    struct letters_options options;
    struct mutex lock; /* all below */
    struct condition changed;
    bool busy; /* a call has its turn: what follows the line is its own */
    bool opened;
    bool stopping;
    /* ---- */
    struct letters_port ports[LETTERS_PORTS_MAX];
    size_t port_count;
    bool group_open; /* a group is begun on the loop, and not all of it is emitted */
};

/* Which letters of a file were sent again: a bit a row. */
struct letters_mark {
    struct buf bits;
    size_t stored_bytes; /* of the mark as it stands in the journal, key included */
};

void letters_mark_init(struct letters_mark *mark);
void letters_mark_fini(struct letters_mark *mark);
/* On the loop's thread. The port of the marks must be open. */
enum err letters_mark_get(struct letters *letters, const char *key,
                          struct letters_mark *mark) ERR_MUST_USE;
enum err letters_mark_put(struct letters *letters, const char *key,
                          struct letters_mark *mark) ERR_MUST_USE;
bool letters_mark_has(const struct letters_mark *mark, uint32_t row);
enum err letters_mark_add(struct letters_mark *mark, uint32_t row) ERR_MUST_USE;
/* The same, from the thread of a call. */
enum err letters_mark_load(struct letters *letters, const char *key,
                           struct letters_mark *mark) ERR_MUST_USE;
/* On the loop's thread. */
enum err letters_port_get(struct letters *letters, const char *type,
                          struct letters_port **ret_port) ERR_MUST_USE;

/* Waits for the call's turn. */
enum err letters_begin(struct letters *letters, int64_t deadline_ns,
                       struct diag *diag) ERR_MUST_USE;
void letters_end(struct letters *letters);
int64_t letters_deadline_ns(const struct letters *letters);
bool letters_is_stopping(struct letters *letters);

/* manager_options.c: the options of the source that a dataset belongs to, read into the arena.
 * *ret_found false: there is no such source, or its options cannot be read. ERR_BUSY: what the
 * sources are is not known yet, or is about to change. */
struct arena;
enum err manager_common_options(struct manager *manager, struct bytes dataset_id,
                                struct arena *arena, struct common_options *ret_options,
                                bool *ret_found, struct diag *diag) ERR_MUST_USE;
