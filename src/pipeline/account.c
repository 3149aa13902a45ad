#include "pipeline/account.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "os/thread.h"
#include "pipeline/rejections.h"

struct told_part {
    struct account *account;
    uint64_t messages;
    uint64_t rejected;
};

struct told_cut {
    uint32_t count;
    struct told_part parts[];
};

struct account_book {
    struct mutex lock;
    struct map accounts; /* source id -> struct account */
    struct map cuts;     /* dataset id and last block -> struct told_cut */
};

enum err account_book_new(struct account_book **ret_book)
{
    struct account_book *book = mem_zalloc(1, sizeof(*book));
    if (!book)
        return ERR_NO_MEMORY;
    mutex_init(&book->lock);
    map_init(&book->accounts);
    map_init(&book->cuts);
    *ret_book = book;
    return ERR_OK;
}

static void account_free(struct account *account)
{
    if (!account)
        return;
    rejections_free(atomic_load(&account->rejections));
    mem_free(account->source_id);
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
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&book->cuts, &cursor));)
        mem_free(entry->value);
    map_fini(&book->cuts);
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

static struct account *account_new(struct bytes source_id)
{
    struct account *account = mem_aligned(ACCOUNT_LINE_BYTES, sizeof(*account));
    if (!account)
        return NULL;
    memset(account, 0, sizeof(*account));
    account->source_id = text_copy(source_id);
    if (account->source_id)
        return account;
    account_free(account);
    return NULL;
}

enum err account_get(struct account_book *book, struct bytes source_id,
                     struct account **ret_account)
{
    enum err err = ERR_OK;
    mutex_lock(&book->lock);
    struct account *account = map_get(&book->accounts, source_id);
    if (!account) {
        account = account_new(source_id);
        err = account ? map_put(&book->accounts, source_id, account) : ERR_NO_MEMORY;
        if (err != ERR_OK)
            account_free(account);
    }
    mutex_unlock(&book->lock);
    if (err == ERR_OK)
        *ret_account = account;
    return err;
}

/* A source is opened by one loop, and again by another while the first still closes it. */
enum err account_watch_rejections(struct account *account)
{
    struct rejections *made, *none = NULL;
    if (atomic_load(&account->rejections))
        return ERR_OK;
    enum err err = rejections_new(&made);
    if (err == ERR_OK && !atomic_compare_exchange_strong(&account->rejections, &none, made))
        rejections_free(made);
    return err;
}

/* --- cuts of several sources --- */

static enum err cut_key(struct bytes dataset_id, uint64_t through, struct buf *ret_key)
{
    buf_init(ret_key, 2 * LIMIT_DATASET_ID_BYTES + sizeof(through));
    buf_append(ret_key, &through, sizeof(through));
    return buf_append(ret_key, dataset_id.data, dataset_id.size);
}

static enum err told_cut_new(struct account_book *book, const struct account_part *parts,
                             uint32_t count, struct told_cut **ret_cut)
{
    struct told_cut *cut = mem_zalloc(1, sizeof(*cut) + count * sizeof(cut->parts[0]));
    enum err err = cut ? ERR_OK : ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        struct told_part *part = &cut->parts[cut->count++];
        *part = (struct told_part){NULL, parts[i].messages, parts[i].rejected};
        err = account_get(book, parts[i].source_id, &part->account);
    }
    if (err == ERR_OK)
        *ret_cut = cut;
    else
        mem_free(cut);
    return err;
}

enum err account_cut_tell(struct account_book *book, struct bytes dataset_id, uint64_t through,
                          const struct account_part *parts, uint32_t count)
{
    struct told_cut *cut = NULL;
    struct buf key;
    enum err err = cut_key(dataset_id, through, &key);
    if (err == ERR_OK)
        err = told_cut_new(book, parts, count, &cut);
    if (err == ERR_OK) {
        mutex_lock(&book->lock);
        struct told_cut *old = map_get(&book->cuts, buf_bytes(&key));
        err = map_put(&book->cuts, buf_bytes(&key), cut);
        mutex_unlock(&book->lock);
        mem_free(err == ERR_OK ? old : cut);
    }
    buf_fini(&key);
    return err;
}

static struct told_cut *cut_take(struct account_book *book, struct bytes dataset_id,
                                 uint64_t through)
{
    struct told_cut *cut = NULL;
    struct buf key = {0};
    mutex_lock(&book->lock);
    if (book->cuts.live_count > 0 && cut_key(dataset_id, through, &key) == ERR_OK)
        cut = map_remove(&book->cuts, buf_bytes(&key));
    mutex_unlock(&book->lock);
    buf_fini(&key);
    return cut;
}

void account_cut_forget(struct account_book *book, struct bytes dataset_id, uint64_t through)
{
    mem_free(cut_take(book, dataset_id, through));
}

static void uploaded_add(struct account *account, uint64_t messages, uint64_t rejected)
{
    atomic_fetch_add(&account->rejected, rejected);
    atomic_fetch_add(&account->stored, messages - rejected);
}

void account_uploaded(struct account_book *book, struct bytes dataset_id, uint64_t through,
                      const struct account_part *whole)
{
    struct account *account;
    struct told_cut *cut = cut_take(book, dataset_id, through);
    for (uint32_t i = 0; cut && i < cut->count; i++)
        uploaded_add(cut->parts[i].account, cut->parts[i].messages, cut->parts[i].rejected);
    if (!cut && account_get(book, whole->source_id, &account) == ERR_OK)
        uploaded_add(account, whole->messages, whole->rejected);
    mem_free(cut);
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
