#pragma once
/*
 * Fills a metadata database that lacks what the lake has (metadata_recount.c), in a thread of its
 * own that lives from metadata_start to metadata_stop; what it counted is written by the thread
 * that writes. Without memory, or the store, it comes again.
 */
#include "base/map.h"
#include "metadata/recount.h"
#include "os/thread.h"

struct metadata;

enum recount_stage {
    RECOUNT_NONE,     /* nothing is missing that the lake has */
    RECOUNT_LISTING,  /* whose files lie there is not known: all datasets' changes wait */
    RECOUNT_COUNTING, /* those of the datasets that are to be counted do */
};

/* A dataset to be counted. */
struct recount_todo {
    size_t id_size; /* of one of which an upload was pending; else 0 */
    uint8_t id[];
};
void recount_todo_clear(struct map *todo);

/* Under the metadata's lock but for what is said. */
struct recounting {
    struct store *store; /* NULL: none, nothing is ever counted anew */
    struct thread thread;
    struct condition wake;
    enum recount_stage stage;
    uint64_t round;    /* goes up with each database that is to be filled */
    struct map todo;   /* folder in the lake -> struct recount_todo */
    uint64_t datasets; /* that were to be counted */
    bool is_old;       /* an older copy was put back */
    int64_t lacking;   /* whose lists, sizes or evolution a salvage lost; none: 0 */
    /* From the recounting thread to the one that writes: a dataset, or with none the end. */
    struct recounted *result;
    bool has_result;
    bool is_busy; /* being written */
    uint64_t result_round;
    int64_t result_lacks; /* it mends what lacks (metadata_repair.h), and counts nothing; else 0 */
    uint64_t result_progress;
    enum err result_err; /* ERR_AGAIN: it is not written yet */
    char trouble[200];
    uint64_t unread_count; /* files of the lake */
    char unread[300];
    int64_t turn_ns; /* the thread's */
};

void recount_run(void *ctx); /* the thread */
/* A database was opened, its tables made: begins to count anew if it lacks what the lake has. */
enum err recount_begin(struct metadata *metadata, struct diag *diag) ERR_MUST_USE;
/* Whether the dataset's changes have to wait. Under the lock. */
bool recount_holds(struct metadata *metadata, struct bytes id);
/* Writes the dataset that was counted since, if there is one, by the thread that writes. */
enum err recount_commit(struct metadata *metadata, bool *ret_counted,
                        struct diag *diag) ERR_MUST_USE;
/* The first block of the changes that are not in the database; UINT64_MAX: there are none. Under
 * the lock. */
uint64_t recount_pending_begin(const struct metadata *metadata, struct bytes id, uint64_t progress);
/* What is to be told, after and; nothing: all is well. Under the lock. */
void recount_tell(const struct metadata *metadata, const char *and, char *text, size_t size);
