/* Several sessions of one source: the same packet identifiers, kept apart. */
#include "base/hash.h"
#include "journal/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define SOURCE BYTES_LITERAL("src")

static struct block *block_of(uint64_t number, uint8_t session, uint64_t hash)
{
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index;
    struct route_view route = {.source_id = SOURCE,
                               .dataset_id = BYTES_LITERAL("src_a"),
                               .source_type = BYTES_LITERAL("mqtt")};
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &route_index),
        ERR_OK);
    buf_fini(&encoded);
    struct message_view message = {
        .flags = (uint8_t)(MESSAGE_IDENTITY | session << MESSAGE_SESSION_SHIFT),
        .packet_identifier = 7,
        .identity_hash = hash};
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    block_seal(block, BLOCK_DATA, 0, 0, number, 1, 0);
    return block;
}

static void apply(struct ledger *ledger, struct block *block)
{
    struct block *read = NULL;
    struct diag diag = {0};
    /* as recovery reads it */
    assert_int_equal(block_parse(bytes_from(block->image, block_padded_bytes(block)), &read, &diag),
                     ERR_OK);
    assert_int_equal(ledger_prepare(ledger, read, &diag), ERR_OK);
    ledger_apply(ledger, read);
    block_unref(read);
    block_unref(block);
}

static void on_identity(void *ctx, uint16_t packet_identifier, uint64_t hash, uint64_t block,
                        bool qos_2)
{
    (void)block;
    (void)qos_2;
    assert_int_equal(packet_identifier, 7);
    *(uint64_t *)ctx = hash;
}

static uint64_t hash_in(const struct ledger *ledger, uint8_t session)
{
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    uint64_t hash = 0;
    ledger_identities(ledger, record_session_key(SOURCE, session, room), on_identity, &hash);
    return hash;
}

static void sessions_are_kept_apart(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    apply(&ledger, block_of(1, 0, 100));
    apply(&ledger, block_of(2, 15, 115));
    apply(&ledger, block_of(3, 2, 102));
    assert_int_equal(hash_in(&ledger, 0), 100);
    assert_int_equal(hash_in(&ledger, 2), 102);
    assert_int_equal(hash_in(&ledger, 15), 115);
    assert_int_equal(hash_in(&ledger, 1), 0);

    struct buf body;
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    buf_init(&body, 4096);
    struct block *block = NULL;
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(record_session_encode(&body, record_session_key(SOURCE, 2, room)), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_SESSION, buf_bytes(&body)), ERR_OK);
    buf_clear(&body);
    assert_int_equal(record_identities_free_encode(&body, SOURCE, 3), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_IDENTITY_FREE, buf_bytes(&body)), ERR_OK);
    buf_fini(&body);
    block_seal(block, BLOCK_DATA, 0, 0, 4, 1, 0);
    apply(&ledger, block);
    assert_int_equal(hash_in(&ledger, 0), 0);
    assert_int_equal(hash_in(&ledger, 2), 0);
    assert_int_equal(hash_in(&ledger, 15), 115);
    ledger_fini(&ledger);
}

static void keys_do_not_meet(void **state)
{
    (void)state;
    uint8_t room[RECORD_SESSION_KEY_BYTES];
    uint8_t longest[RECORD_SESSION_KEY_BYTES] = {0};
    assert_true(bytes_equal(record_session_key(SOURCE, 0, room), SOURCE));
    assert_int_equal(record_session_key(SOURCE, 1, room).size, 5);
    for (size_t size = sizeof(longest) - 3; size <= sizeof(longest); size++) {
        struct bytes key = record_session_key(bytes_from(longest, size), 1, room);
        assert_true(key.size == size || key.size == size + 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_are_kept_apart),
        cmocka_unit_test(keys_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
