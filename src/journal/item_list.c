#include "journal/item_list.h"

#include "base/alloc.h"

void item_list_push(struct item_list *list, struct item *item)
{
    item->next = NULL;
    if (list->last)
        list->last->next = item;
    else
        list->first = item;
    list->last = item;
    list->count++;
    list->bytes += block_padded_bytes(item->block);
}

void item_list_move(struct item_list *to, struct item_list *from)
{
    while (from->first) {
        struct item *item = from->first;
        from->first = item->next;
        item_list_push(to, item);
    }
    *from = (struct item_list){0};
}

struct item *item_list_pop(struct item_list *list)
{
    struct item *item = list->first;
    if (!item)
        return NULL;
    list->first = item->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    list->bytes -= block_padded_bytes(item->block);
    return item;
}

void item_list_split(struct item_list *from, struct item_list *control, struct item_list *data)
{
    for (struct item *item; (item = item_list_pop(from));)
        item_list_push(item->kind == BLOCK_CONTROL ? control : data, item);
}

size_t item_group_length(const struct item *item)
{
    size_t count = 1;
    for (; item->flags & BLOCK_MORE; item = item->next)
        count++;
    return count;
}

void item_finish(struct item *item, enum err err)
{
    if (item->on_durable)
        item->on_durable(item->ctx, item->kind == BLOCK_DATA ? item->block : NULL, err);
    block_unref(item->block);
    mem_free(item);
}
