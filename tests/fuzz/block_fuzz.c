/* block_parse over any bytes: refused with a sentence, or every view of it stays in bounds. The
 * second half of the runs has its checksum put right, so that the inner checks are reached. */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "journal/block.h"
#include "journal/ledger.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void touch(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i += 16)
        sink += bytes.data[i];
    if (bytes.size > 0)
        sink += bytes.data[bytes.size - 1];
}

static void views(const struct block *block)
{
    struct message_view message;
    struct message_field field;
    struct route_view route;
    struct record_view record;
    size_t cursor = 0;
    for (uint32_t i = 0; i < block->message_count; i++) {
        block_message_get(block, i, &message);
        touch(message.payload);
        touch(message.extras);
        size_t at = 0;
        while (message_field_next(message.extras, &at, &field))
            touch(field.text);
    }
    for (uint32_t i = 0; i < block->route_count; i++) {
        uint32_t count = 0;
        block_route_get(block, i, &route);
        touch(route.dataset_id);
        for (uint32_t f = 0; f < route.field_count; f++)
            touch(route.fields[f].constant);
        for (uint32_t m = block->routes[i].message_first; m != BLOCK_END;
             m = block->messages[m].next)
            count++;
        if (count != block->routes[i].message_count)
            abort();
    }
    while (block_record_next(block, &cursor, &record))
        touch(record.body);
}

static void ledger_take(const struct block *block)
{
    struct ledger ledger;
    struct diag diag = {0};
    ledger_init(&ledger);
    if (block->number > 0 && ledger_prepare(&ledger, block, &diag) == ERR_OK)
        ledger_apply(&ledger, block);
    ledger_fini(&ledger);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct block *block = NULL;
    struct diag diag = {0};
    uint8_t *copy = mem_dup(data, size);
    if (!copy)
        return 0;
    if (size >= BLOCK_HEADER_BYTES + 1 && data[size - 1] & 1) {
        store_u32(copy, BLOCK_MAGIC);
        store_u64(copy + 24, 0);
        store_u32(copy + 32, (uint32_t)size);
        store_u64(copy + 56, 0);
        store_u32(copy + 4, crc32c(0, copy + 8, size - 8));
    }
    enum err err = block_parse(bytes_from(copy, size), &block, &diag);
    if (err == ERR_OK) {
        views(block);
        ledger_take(block);
        block_unref(block);
    } else if (diag.text[0] == '\0') {
        abort();
    }
    mem_free(copy);
    return 0;
}
