#pragma once
/*
 * Dead letters in the lake, newest first: by file, of a file the last row first. A letter's id is
 * the key of its file without "bronze/_dead_letters/" and ".parquet", a dot and its row:
 * "date=2026-01-31/hour=12/part-<journal uuid>-<position>.7".
 *
 * Any thread; a call blocks on the store. Memory: one file at a time (letter_file.h). A file that
 * cannot be read (damaged, too large, of somebody else) is passed over and counted.
 */
#include "lake/letter_file.h"
#include "lake/store.h"
#include "os/clock.h"

#define LETTER_KEY_BYTES 200 /* of a key, with its NUL */
#define LETTER_ID_BYTES  200

struct letter_id {
    char key[LETTER_KEY_BYTES];
    uint32_t row;
};

/* False: it is no id of a letter. */
bool letter_id_parse(struct bytes text, struct letter_id *ret_id);
void letter_id_format(const char *key, uint32_t row, char ret_text[LETTER_ID_BYTES]);

/* What is empty or 0 is not asked for. */
struct letter_filter {
    struct bytes ingestion_id;
    struct bytes source; /* a source's ingestion id: those of all its datasets */
    struct bytes reason;
    int64_t since_us, until_us; /* received from … up to, both included */
};

struct letter_search {
    struct store *store;
    const struct letter_filter *filter;
    const struct letter_id *after; /* go on with the next older one; NULL: from the newest on */
    size_t limit;
    const struct clock *clock;
    int64_t deadline_ns; /* then the search ends where it is */
    /* Letters of one file, of count rows (descending). An error ends the search. */
    enum err (*on_file)(void *ctx, const char *key, const struct letter_file *file,
                        const uint32_t *rows, size_t count);
    void *ctx;
};

struct letter_found {
    size_t count;
    bool more;             /* the limit or the deadline ended it */
    struct letter_id last; /* of all looked at: where to go on; key "": none was */
    size_t unread_files;
    struct diag unread; /* of the first */
};

enum err letter_search(const struct letter_search *search, struct letter_found *ret_found,
                       struct diag *diag) ERR_MUST_USE;

/* The letters of one file by their rows (descending; those that it lacks are left out).
 * ERR_NOT_FOUND: there is no such file. filter, after, limit and deadline are not looked at. */
enum err letter_search_rows(const struct letter_search *search, const char *key,
                            const uint32_t *rows, size_t count, struct diag *diag) ERR_MUST_USE;
