#pragma once
/*
 * The accounting of contract/data.md: for each source, always,
 *
 *     received = stored + rejected + repeated + pending
 *
 * since start. received grows when a message is emitted (and for what recovery finds pending),
 * stored and rejected when its cut is UPLOADED, repeated when a repetition is told; pending is what
 * is left. Adding is a relaxed atomic, any thread; an account lives as long as its book.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct account {
    char *source_id;
    char *source_type;
    _Atomic uint64_t received;
    _Atomic uint64_t received_bytes; /* payload bytes */
    _Atomic uint64_t stored;
    _Atomic uint64_t rejected;
    _Atomic uint64_t repeated;
    _Atomic int64_t last_received_us;
    _Atomic uint64_t waiting_bytes; /* memory of its datasets whose cut waits for another side */
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

/* Gets or makes the source's account. source_type may be empty for a source known only by id. */
enum err account_get(struct account_book *book, struct bytes source_id, struct bytes source_type,
                     struct account **ret_account) ERR_MUST_USE;

void account_totals_get(const struct account *account, struct account_totals *ret_totals);
/* Bytes received and not yet stored, about: messages pending at the mean size. */
uint64_t account_pending_bytes(const struct account *account);

/* Walks all accounts under the book's lock; on_account must not come back into the book. */
void account_each(struct account_book *book,
                  void (*on_account)(void *ctx, const struct account *account), void *ctx);
