#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "journal/core.h"
#include "journal/inspect.h"
#include "support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct block *sample(const char *payload)
{
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index;
    struct route_view route = {.source_id = BYTES_LITERAL("src"),
                               .dataset_id = BYTES_LITERAL("set"),
                               .topic = BYTES_LITERAL("a/b")};
    struct message_view message = {.payload = bytes_from_text(payload)};
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(block_add_route(block, buf_bytes(&encoded), 1, &route_index), ERR_OK);
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    buf_clear(&encoded);
    assert_int_equal(
        record_state_encode(&encoded, route.source_id, BYTES_LITERAL("k"), BYTES_LITERAL("v")),
        ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_STATE, buf_bytes(&encoded)), ERR_OK);
    buf_fini(&encoded);
    return block;
}

static struct sim_disk *journal_with(uint32_t blocks)
{
    struct sim_disk *disk = sim_disk_new(1, 64 * MIB);
    struct core core;
    struct journal_options options = {.fs = sim_disk_fs(disk),
                                      .clock = sim_disk_clock(disk),
                                      .folder = "/j",
                                      .size_max_bytes = 16 * MIB,
                                      .segment_bytes = 64 * KIB};
    assert_int_equal(core_open(&core, &options, NULL), ERR_OK);
    for (uint32_t i = 0; i < blocks; i++) {
        struct block *block = sample("{\"x\": 1}\n");
        struct core_item item = {.block = block, .kind = BLOCK_DATA};
        size_t done;
        assert_int_equal(core_append(&core, &item, 1, &done, NULL), ERR_OK);
        block_unref(block);
    }
    assert_int_equal(core_call_durable(&core, NULL), ERR_OK);
    core_fini(&core);
    return disk;
}

static char *inspected(struct sim_disk *disk, struct inspect_options options, enum err want)
{
    char *text = NULL;
    size_t size = 0;
    struct diag diag = {0};
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(journal_inspect(sim_disk_fs(disk), "/j", &options, out, &diag), want);
    fclose(out);
    return text;
}

static void test_listing(void **state)
{
    (void)state;
    struct sim_disk *disk = journal_with(30);
    char *text = inspected(disk, (struct inspect_options){.payloads = true}, ERR_OK);
    assert_non_null(strstr(text, "payload=\"{\\\"x\\\": 1}\\n\""));
    assert_non_null(strstr(text, "dataset=\"set\""));
    assert_non_null(strstr(text, "segment slot=1"));
    assert_non_null(strstr(text, "messages=30 damaged_blocks=0"));
    free(text);
    text = inspected(disk, (struct inspect_options){.json = true, .records = true}, ERR_OK);
    assert_non_null(strstr(text, "{\"what\":\"block\",\"number\":30,\"kind\":\"data\""));
    assert_null(strstr(text, "payload\":\""));
    free(text);
    text = inspected(disk, (struct inspect_options){.segment = "segment-000001"}, ERR_OK);
    assert_null(strstr(text, "slot=0"));
    free(text);
    text = inspected(disk, (struct inspect_options){.segment = "../x"}, ERR_INVALID);
    free(text);
    sim_disk_free(disk);
}

static void test_damaged(void **state)
{
    (void)state;
    struct sim_disk *disk = journal_with(5);
    assert_true(sim_disk_flip(disk, "/j/segment-000000", 4096 * 4 + 100)); /* block 3 */
    char *text = inspected(disk, (struct inspect_options){0}, ERR_OK);
    assert_non_null(strstr(text, "damage offset=16384 first_block=3 last_block=3"));
    assert_non_null(strstr(text, "number=4"));
    free(text);
    assert_true(sim_disk_flip(disk, "/j/segment-000000", 20)); /* header, then its copy */
    assert_true(sim_disk_flip(disk, "/j/segment-000000", 4096 + 100));
    text = inspected(disk, (struct inspect_options){0}, ERR_OK);
    assert_non_null(strstr(text, "problem="));
    free(text);
    sim_disk_free(disk);
}

static void test_nothing(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new(1, 64 * MIB);
    free(inspected(disk, (struct inspect_options){0}, ERR_NOT_FOUND));
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
