/* The desk of dead letters from inside: turns, and the marks that say what was sent again. Sending
 * itself, over kills, is tests/integration/test_dead_letters.py. */
#include "sources/letters_parts.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "pipeline/ingest_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEY   "bronze/_dead_letters/date=2026-01-01/hour=00/part-a.parquet"
#define OTHER "bronze/_dead_letters/date=2026-01-01/hour=00/part-b.parquet"

struct fixture {
    struct loop loop;
    struct account_book *book;
    struct ingest_loop *ingest;
    struct letters *letters;
    _Atomic uint64_t in_flight;
    const char *recovered; /* what the journal has of KEY's mark, or NULL */
    size_t recovered_bytes;
    uint64_t recovered_total;
};

/* A journal that keeps nothing: what is put is read back from the source itself. */
static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    (void)ctx;
    (void)flags;
    (void)group;
    take_shipment->block->number = 1;
    take_shipment->letter.run(&take_shipment->letter);
    return ERR_OK;
}

static bool sink_idle(void *ctx)
{
    (void)ctx;
    return true;
}

static bool sink_must_pause(void *ctx, const struct account *account)
{
    (void)ctx;
    (void)account;
    return false;
}

static bool sink_any_must_pause(void *ctx)
{
    (void)ctx;
    return false;
}

static enum err sink_state_get(void *ctx, struct bytes source_id, struct bytes key,
                               struct buf *ret_value)
{
    const struct fixture *fixture = ctx;
    uint8_t total[8];
    assert_true(bytes_equal_text(source_id, LETTERS_SOURCE_ID));
    if (bytes_equal_text(key, "part-a.parquet") && fixture->recovered)
        return buf_append(ret_value, fixture->recovered, fixture->recovered_bytes);
    if (!bytes_equal_text(key, "total") || fixture->recovered_total == 0)
        return ERR_NOT_FOUND;
    store_u64(total, fixture->recovered_total);
    return buf_append(ret_value, total, sizeof(total));
}

static void sink_identities(void *ctx, struct bytes source_id,
                            void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                                uint64_t hash, uint64_t block, bool qos_2),
                            void *identity_ctx)
{
    (void)ctx;
    (void)source_id;
    (void)on_identity;
    (void)identity_ctx;
}

static int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    const struct ingest_sink sink = {
        sink_submit,    sink_idle,       sink_must_pause, sink_any_must_pause,
        sink_state_get, sink_identities, fixture};
    const struct ingest_rule rule = {PARTITION_BY_ARRIVAL, 7};
    assert_int_equal(loop_start(&fixture->loop, "test"), ERR_OK);
    assert_int_equal(account_book_new(&fixture->book), ERR_OK);
    assert_int_equal(ingest_loop_new(&fixture->loop, &sink, &rule, fixture->book,
                                     &fixture->in_flight, &fixture->ingest),
                     ERR_OK);
    const struct letters_options options = {
        .loop = &fixture->loop, .ingest = fixture->ingest, .clock = &clock_system};
    assert_int_equal(letters_new(&options, &fixture->letters), ERR_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    letters_stop(fixture->letters);
    ingest_loop_close(fixture->ingest);
    loop_stop(&fixture->loop);
    ingest_loop_free(fixture->ingest);
    account_book_free(fixture->book);
    letters_free(fixture->letters);
    mem_free(fixture);
    return 0;
}

static void test_bits(void **state)
{
    (void)state;
    static const uint32_t rows[] = {0, 7, 8, 63, 1000, LETTER_FILE_ROWS_MAX - 1};
    const size_t count = sizeof(rows) / sizeof(rows[0]);
    struct letters_mark mark;
    letters_mark_init(&mark);
    assert_false(letters_mark_has(&mark, 0));
    for (size_t i = 0; i < count; i++) {
        assert_false(letters_mark_has(&mark, rows[i]));
        assert_int_equal(letters_mark_add(&mark, rows[i]), ERR_OK);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(letters_mark_has(&mark, rows[k]), k <= i);
    }
    assert_false(letters_mark_has(&mark, 1));
    assert_false(letters_mark_has(&mark, UINT32_MAX));
    assert_int_not_equal(letters_mark_add(&mark, UINT32_MAX), ERR_OK); /* no file has as many */
    letters_mark_fini(&mark);
}

struct put {
    struct fixture *fixture;
    const char *key;
    uint32_t row;
};

static void put_on_loop(void *ctx)
{
    const struct put *put = ctx;
    struct letters_mark mark;
    letters_mark_init(&mark);
    assert_int_equal(letters_mark_get(put->fixture->letters, put->key, &mark), ERR_OK);
    assert_int_equal(letters_mark_add(&mark, put->row), ERR_OK);
    assert_int_equal(letters_mark_put(put->fixture->letters, put->key, &mark), ERR_OK);
    letters_mark_fini(&mark);
}

static bool has(struct fixture *fixture, const char *key, uint32_t row)
{
    struct letters_mark mark;
    letters_mark_init(&mark);
    assert_int_equal(letters_mark_load(fixture->letters, key, &mark), ERR_OK);
    bool found = letters_mark_has(&mark, row);
    letters_mark_fini(&mark);
    return found;
}

static void test_marks(void **state)
{
    struct fixture *fixture = *state;
    assert_false(has(fixture, KEY, 3));
    loop_call(&fixture->loop, put_on_loop, &(struct put){fixture, KEY, 3});
    loop_call(&fixture->loop, put_on_loop, &(struct put){fixture, KEY, 90});
    loop_call(&fixture->loop, put_on_loop, &(struct put){fixture, OTHER, 4});
    assert_true(has(fixture, KEY, 3) && has(fixture, KEY, 90) && has(fixture, OTHER, 4));
    assert_false(has(fixture, KEY, 4) || has(fixture, OTHER, 3));
    /* the folder is no part of the mark: the name says which file it is */
    assert_true(has(fixture, "elsewhere/part-a.parquet", 3));
}

static void test_recovered_marks(void **state)
{
    struct fixture *fixture = *state;
    struct letters_mark mark;
    letters_mark_init(&mark);
    fixture->recovered = "B\x05";
    fixture->recovered_bytes = 2;
    assert_true(has(fixture, KEY, 0) && has(fixture, KEY, 2));
    assert_false(has(fixture, KEY, 1) || has(fixture, KEY, 8));
    fixture->recovered_bytes = 0; /* of a version that is not ours: nothing is sent, nothing lost */
    assert_int_equal(letters_mark_load(fixture->letters, KEY, &mark), ERR_VERSION);
    fixture->recovered = "C\x05";
    fixture->recovered_bytes = 2;
    assert_int_equal(letters_mark_load(fixture->letters, KEY, &mark), ERR_VERSION);
    fixture->recovered = NULL;
    fixture->recovered_total = LETTERS_MARKS_MAX;
    assert_int_equal(letters_mark_load(fixture->letters, KEY, &mark), ERR_OK);
    fixture->recovered_total = LETTERS_MARKS_MAX + 1;
    assert_int_equal(letters_mark_load(fixture->letters, KEY, &mark), ERR_TOO_MANY);
    letters_mark_fini(&mark);
}

static void test_turns(void **state)
{
    struct fixture *fixture = *state;
    struct diag diag = {0};
    int64_t later_ns = letters_deadline_ns(fixture->letters);
    assert_int_equal(letters_begin(fixture->letters, later_ns, &diag), ERR_OK);
    assert_int_equal(letters_begin(fixture->letters, 0, &diag), ERR_BUSY); /* its time is over */
    assert_non_null(strstr(diag.text, "another request"));
    letters_end(fixture->letters);
    assert_int_equal(letters_begin(fixture->letters, 0, &diag), ERR_OK); /* nobody to wait for */
    letters_end(fixture->letters);
    assert_false(letters_is_stopping(fixture->letters));
    letters_stop(fixture->letters);
    assert_true(letters_is_stopping(fixture->letters));
    assert_int_equal(letters_begin(fixture->letters, later_ns, &diag), ERR_STOPPED);
}

static void open_ports(void *ctx)
{
    struct fixture *fixture = ctx;
    struct letters_port *first;
    struct letters_port *port;
    assert_int_equal(letters_port_get(fixture->letters, "mqtt", &first), ERR_OK);
    assert_int_equal(letters_port_get(fixture->letters, "mqtt", &port), ERR_OK);
    assert_ptr_equal(port, first);
    for (size_t i = 1; i < LETTERS_PORTS_MAX; i++) {
        char type[8] = {'t', (char)('a' + i % 26), (char)('a' + i / 26)};
        assert_int_equal(letters_port_get(fixture->letters, type, &port), ERR_OK);
        assert_ptr_not_equal(port, first);
    }
    assert_int_equal(letters_port_get(fixture->letters, "one more", &port), ERR_TOO_MANY);
}

static void test_ports(void **state)
{
    struct fixture *fixture = *state;
    loop_call(&fixture->loop, open_ports, fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recovered_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ports, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
