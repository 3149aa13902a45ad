#pragma once
/*
 * A LANDED of our own: everything it views lies in the same block of memory. One owner at a time.
 */
#include "journal/journal.h"

#define LANDED_FILES_MAX                                                                           \
    100000 /* a cut has one for each hour it touches; replays of old data many */

struct landed_cut {
    struct landed landed;      /* landed.files == files */
    struct landed_file *files; /* keys have a NUL after them, not counted */
    bool *done;                /* per file: known to be at its key */
    bool *tried;               /* per file: a put has begun, which may move it out of the spool */
    bool *elsewhere;           /* per file: was not in the spool before any put */
    uint64_t size_bytes;       /* of all files */
    uint64_t rows;
    /* the upload's own, see upload.c */
    struct upload *upload;
    struct upload_lane *lane;
    struct landed_cut *lane_next;
    struct landed_cut *older;
    struct landed_cut *newer;
    struct landed_cut *committed_next;
    int64_t landed_ns;
    int64_t due_ns;
    uint64_t sequence;
    uint32_t attempts;
    int state;
    bool aside;
};

/* NULL when there is no memory (or there are more than LANDED_FILES_MAX files). */
struct landed_cut *landed_cut_new(const struct landed *landed);
void landed_cut_free(struct landed_cut *cut); /* NULL is fine */
