#pragma once
/*
 * What was submitted to the journal and waits to be written, in the order of submission. Whoever
 * has the list guards it. A group (BLOCK_MORE) stands in one list, its blocks side by side.
 */
#include "journal/journal.h"

struct item {
    struct item *next;
    struct block *block;
    enum block_kind kind;
    uint16_t flags;
    uint64_t group;
    journal_on_durable on_durable;
    void *ctx;
};

struct item_list {
    struct item *first, *last;
    size_t count;
    size_t bytes;
};

void item_list_push(struct item_list *list, struct item *take_item);
struct item *item_list_pop(struct item_list *list); /* NULL: it is empty */
/* Appends all of from, which is empty then. */
void item_list_move(struct item_list *to, struct item_list *from);
/* Appends LANDED and UPLOADED to control and the others to data. */
void item_list_split(struct item_list *from, struct item_list *control, struct item_list *data);
/* How many blocks the group has that begins here. */
size_t item_group_length(const struct item *item);
/* Tells the submitter and frees it. */
void item_finish(struct item *take_item, enum err err);
