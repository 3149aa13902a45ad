#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "journal/ledger.h"

#include <stdio.h>

#define DATASETS 20000 /* enough for several blocks */

static void fill(struct ledger *ledger)
{
    struct ledger_dataset *dataset;
    char id[32];
    ledger_init(ledger);
    ledger->applied_through = 77;
    ledger->cut_id_last = 5;
    for (uint32_t i = 0; i < DATASETS; i++) {
        snprintf(id, sizeof(id), "dataset%u", i);
        assert_int_equal(ledger_dataset_ensure(ledger, bytes_from_text(id), &dataset), ERR_OK);
        *dataset = (struct ledger_dataset){.landed_through = i,
                                           .oldest = i + 1,
                                           .newest = i + 2,
                                           .filed_through = i > 9 ? i - 9 : 0};
    }
    assert_int_equal(
        ledger_state_put(ledger, BYTES_LITERAL("s"), BYTES_LITERAL("k"), BYTES_LITERAL("value")),
        ERR_OK);
}

/* Decodes all blocks but the one of index skip. */
static enum err decode(const struct block_list *list, size_t skip, struct ledger *ledger,
                       bool *ret_end)
{
    uint64_t record_index = 0;
    struct diag diag = {0};
    enum err err = ERR_OK;
    ledger_init(ledger);
    *ret_end = false;
    for (size_t i = 0; i < list->count && err == ERR_OK; i++)
        if (i != skip)
            err = ledger_decode(ledger, list->blocks[i], &record_index, ret_end, &diag);
    return err;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct ledger ledger, again;
    struct block_list list = {0};
    bool end;
    fill(&ledger);
    assert_int_equal(ledger_encode(&ledger, BYTES_LITERAL("segment"), &list), ERR_OK);
    assert_true(list.count > 2);
    assert_int_equal(decode(&list, SIZE_MAX, &again, &end), ERR_OK);
    assert_true(end);
    assert_int_equal(again.applied_through, 77);
    assert_int_equal(again.cut_id_last, 5);
    assert_int_equal(again.datasets.live_count, DATASETS);
    const struct ledger_dataset *dataset = ledger_dataset(&again, BYTES_LITERAL("dataset19999"));
    assert_int_equal(dataset->landed_through, 19999);
    assert_int_equal(dataset->newest, 20001);
    assert_int_equal(dataset->filed_through, 19990);
    assert_true(bytes_equal_text(
        buf_bytes(ledger_state(&again, BYTES_LITERAL("s"), BYTES_LITERAL("k"))), "value"));
    ledger_fini(&again);
    ledger_fini(&ledger);
    block_list_fini(&list);
}

static void test_missing_block(void **state)
{
    (void)state;
    struct ledger ledger, again;
    struct block_list list = {0};
    bool end;
    fill(&ledger);
    assert_int_equal(ledger_encode(&ledger, BYTES_LITERAL("segment"), &list), ERR_OK);
    for (size_t skip = 0; skip + 1 < list.count; skip++) {
        assert_int_equal(decode(&list, skip, &again, &end), ERR_CORRUPT);
        ledger_fini(&again);
    }
    assert_int_equal(decode(&list, list.count - 1, &again, &end), ERR_OK);
    assert_false(end); /* without its last block it never ends */
    ledger_fini(&again);
    ledger_fini(&ledger);
    block_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_missing_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
