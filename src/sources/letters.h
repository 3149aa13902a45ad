#pragma once
/*
 * The desk of the dead letters: shows what lies in the lake, and sends letters again through the
 * journal, each once (letters.c has the invariant).
 *
 * Any thread; calls block on the store and on the journal for up to some 20 s, and take turns:
 * ERR_BUSY when another's takes too long. letters_stop before the ingest loop closes: it lets the
 * running call end, later ones are ERR_STOPPED; letters_free when nobody calls any more.
 */
#include "lake/letter_search.h"
#include "os/loop.h"
#include "pipeline/ingest.h"
#include "sources/manager.h"

#define LETTERS_IDS_MAX   1000
#define LETTERS_LIMIT_MAX 10000

struct letters_options {
    struct store *store;
    struct manager *manager; /* knows the sources' options */
    struct loop *loop;
    struct ingest_loop *ingest; /* on that loop */
    const char *journal_uuid;
    const struct clock *clock;
    uint32_t timeout_ms; /* 0: 20,000 */
};

struct letters;

enum err letters_new(const struct letters_options *options,
                     struct letters **ret_letters) ERR_MUST_USE;
/* From now on letters may be sent again: the journal's own replay is over. */
void letters_open(struct letters *letters);
void letters_stop(struct letters *letters);
void letters_free(struct letters *letters); /* NULL is fine */

struct letters_shown {
    struct letter_id id;
    struct letter_view letter; /* lives for the call */
    bool whole;                /* it can be sent again */
    bool replayed;             /* it was */
};

/* on_letter is called for each, newest first. */
enum err letters_list(struct letters *letters, const struct letter_filter *filter,
                      const struct letter_id *after, size_t limit,
                      enum err (*on_letter)(void *ctx, const struct letters_shown *shown),
                      void *ctx, struct letter_found *ret_found, struct diag *diag) ERR_MUST_USE;

struct letters_wish {
    const struct letter_id *ids; /* these (sorted here); count 0: by filter, after, limit */
    size_t id_count;
    const struct letter_filter *filter;
    const struct letter_id *after;
    size_t limit;
    bool has_format;            /* decode as format, whatever the source's options say */
    enum content_format format; /* CONTENT_AUTO: as its content type says, or JSON, or text */
    bool other_journals;        /* letters of other replicas, or of a journal that is gone, too */
};

struct letters_told {
    uint64_t replayed; /* durable in the journal now */
    uint64_t already;  /* had been before */
    /* left where they are, because … */
    uint64_t incomplete;    /* only the beginning was kept */
    uint64_t no_source;     /* no source has them, and no format was named */
    uint64_t too_large;     /* for the source's max_message_bytes, still */
    uint64_t other_journal; /* another replica's */
    uint64_t not_found;     /* ids */
    struct letter_found found;
};

/* ERR_TIMEOUT: what was begun is on its way and not yet known to be durable; to ask again doubles
 * nothing. ERR_NO_SPACE: the journal takes nothing now. ERR_TOO_MANY: no more marks fit. *ret_told
 * is true on error, too. */
enum err letters_replay(struct letters *letters, struct letters_wish *wish,
                        struct letters_told *ret_told, struct diag *diag) ERR_MUST_USE;
