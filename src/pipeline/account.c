#include "pipeline/account.h"

#include "base/alloc.h"
#include "base/map.h"
#include "os/thread.h"

struct account_book {
    struct mutex lock;
    struct map accounts; /* source id -> struct account */
};

enum err account_book_new(struct account_book **ret_book)
{
    struct account_book *book = mem_zalloc(1, sizeof(*book));
    if (!book)
        return ERR_NO_MEMORY;
    mutex_init(&book->lock);
    map_init(&book->accounts);
    *ret_book = book;
    return ERR_OK;
}

static void account_free(struct account *account)
{
    if (!account)
        return;
    mem_free(account->source_id);
    mem_free(account->source_type);
    mem_free(account);
}

void account_book_free(struct account_book *book)
{
    if (!book)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&book->accounts, &cursor));)
        account_free(entry->value);
    map_fini(&book->accounts);
    mutex_fini(&book->lock);
    mem_free(book);
}

static char *text_copy(struct bytes text)
{
    char *copy = mem_alloc(text.size + 1);
    if (!copy)
        return NULL;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

static struct account *account_new(struct bytes source_id, struct bytes source_type)
{
    struct account *account = mem_zalloc(1, sizeof(*account));
    if (!account)
        return NULL;
    account->source_id = text_copy(source_id);
    account->source_type = text_copy(source_type);
    if (account->source_id && account->source_type)
        return account;
    account_free(account);
    return NULL;
}

enum err account_get(struct account_book *book, struct bytes source_id, struct bytes source_type,
                     struct account **ret_account)
{
    enum err err = ERR_OK;
    mutex_lock(&book->lock);
    struct account *account = map_get(&book->accounts, source_id);
    if (!account) {
        account = account_new(source_id, source_type);
        err = account ? map_put(&book->accounts, source_id, account) : ERR_NO_MEMORY;
        if (err != ERR_OK)
            account_free(account);
    }
    mutex_unlock(&book->lock);
    if (err == ERR_OK)
        *ret_account = account;
    return err;
}

void account_totals_get(const struct account *account, struct account_totals *ret_totals)
{
    /* What is taken away is read before what it is taken from, so that pending is never negative.
     */
    uint64_t stored = atomic_load(&account->stored);
    uint64_t rejected = atomic_load(&account->rejected);
    uint64_t repeated = atomic_load(&account->repeated);
    uint64_t received = atomic_load(&account->received);
    *ret_totals = (struct account_totals){
        .received = received,
        .received_bytes = atomic_load(&account->received_bytes),
        .stored = stored,
        .rejected = rejected,
        .repeated = repeated,
        .pending = received - stored - rejected - repeated,
    };
}

uint64_t account_pending_bytes(const struct account *account)
{
    struct account_totals totals;
    account_totals_get(account, &totals);
    if (totals.received == 0)
        return 0;
    return (uint64_t)((double)totals.received_bytes *
                      ((double)totals.pending / (double)totals.received));
}

void account_each(struct account_book *book,
                  void (*on_account)(void *ctx, const struct account *account), void *ctx)
{
    mutex_lock(&book->lock);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&book->accounts, &cursor));)
        on_account(ctx, entry->value);
    mutex_unlock(&book->lock);
}
