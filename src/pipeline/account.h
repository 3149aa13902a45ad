#pragma once
/*
 * The accounting of contract/data.md: for each source, always,
 *
 *     received = stored + rejected + repeated + pending
 *
 * since start. received grows as messages are emitted, before their block goes out (and for what
 * recovery finds pending), stored and rejected when its cut is UPLOADED, repeated when a repetition
 * is told; pending is what is left. Adding is a relaxed atomic, any thread; an account lives as
 * long as its book.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

#define ACCOUNT_LINE_BYTES 64

struct rejections;

/* What the I/O loop writes for each message has a line of its own: the workers look at the rest for
 * each block. */
struct account {
    char *source_id;
    _Atomic uint64_t stored;
    _Atomic uint64_t rejected;
    _Atomic uint64_t waiting_bytes; /* memory of its datasets whose cut waits for another side */
    struct rejections *_Atomic rejections; /* NULL: nobody asks which topics they are of */

    _Alignas(ACCOUNT_LINE_BYTES) _Atomic uint64_t received;
    _Atomic uint64_t received_bytes; /* payload bytes */
    _Atomic uint64_t repeated;
    _Atomic int64_t last_received_us;
};

struct account_totals {
    uint64_t received;
    uint64_t received_bytes;
    uint64_t stored;
    uint64_t rejected;
    uint64_t repeated;
    uint64_t pending;
};

struct account_book;

enum err account_book_new(struct account_book **ret_book) ERR_MUST_USE;
void account_book_free(struct account_book *book);

/* Gets or makes the source's account. */
enum err account_get(struct account_book *book, struct bytes source_id,
                     struct account **ret_account) ERR_MUST_USE;

/* From now on it is known which topics the rejected messages are of (rejections.h). */
enum err account_watch_rejections(struct account *account) ERR_MUST_USE;

/* A source's part of a cut. rejected: of the messages. */
struct account_part {
    struct bytes source_id;
    uint64_t messages;
    uint64_t rejected;
};

/* A cut of a dataset that several sources feed is told before it is handed over: LANDED names one
 * source only. (After a restart all of such a cut counts for that one, as received and as stored,
 * so the sums hold then too.) The cut is known by its dataset and its range's last block. */
enum err account_cut_tell(struct account_book *book, struct bytes dataset_id, uint64_t through,
                          const struct account_part *parts, uint32_t count) ERR_MUST_USE;
/* It was not made after all. */
void account_cut_forget(struct account_book *book, struct bytes dataset_id, uint64_t through);
/* The cut is uploaded: stored and rejected grow, as was told, or else as whole says. */
void account_uploaded(struct account_book *book, struct bytes dataset_id, uint64_t through,
                      const struct account_part *whole);

void account_totals_get(const struct account *account, struct account_totals *ret_totals);
/* Bytes received and not yet stored, about: messages pending at the mean size. */
uint64_t account_pending_bytes(const struct account *account);

/* Walks all accounts under the book's lock; on_account must not come back into the book. */
void account_each(struct account_book *book,
                  void (*on_account)(void *ctx, const struct account *account), void *ctx);
