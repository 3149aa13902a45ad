/* What stands in a dataset's row is merged with, whatever texts devices sent. */
#include "base/alloc.h"
#include "metadata/metadata_table.h"
#include "support/database_rig.h"

#include <stdio.h>
#include <string.h>

#define FIELDS  19 /* more than are inserted together, and not a multiple */
#define JOURNAL "11111111-2222-4333-8444-555555555555"

struct fixture {
    struct database *database;
    struct change change;
    uint64_t through;
};

static enum err change_apply(struct database_transaction *into, void *ctx, struct diag *diag)
{
    struct fixture *fixture = ctx;
    return metadata_table_apply(into, JOURNAL, BYTES_LITERAL("d"), &fixture->change,
                                ++fixture->through, diag);
}

/* One record more, with a field of that name and a sensor. */
static void tell(struct fixture *fixture, const char *name, struct bytes sample,
                 struct bytes sensor)
{
    struct diag diag = {0};
    struct change_field *field;
    change_init(&fixture->change);
    fixture->change.records = 1;
    assert_int_equal(change_field_get(&fixture->change, bytes_from_text(name), &field), ERR_OK);
    field->types = 1u << DATASET_STRING;
    assert_int_equal(change_sample_add(&fixture->change, field, sample), ERR_OK);
    assert_int_equal(change_sensor_add(&fixture->change, sensor), ERR_OK);
    if (database_transact(fixture->database, change_apply, fixture, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    change_fini(&fixture->change);
}

static void setup(struct fixture *fixture)
{
    struct diag diag = {0};
    *fixture = (struct fixture){.database = rig_open("sqlite:///:memory:")};
    assert_int_equal(metadata_table_prepare(fixture->database, &diag), ERR_OK);
}

/* What was written is read again, or the next change begins the lists anew. */
static void test_texts_with_nul(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture);
    tell(&fixture, "a", BYTES_LITERAL("x\0y"), BYTES_LITERAL("s\0001"));
    tell(&fixture, "b", BYTES_LITERAL("z"), BYTES_LITERAL("s2"));
    tell(&fixture, "b", BYTES_LITERAL("z"), BYTES_LITERAL("s2"));
    struct database *database = fixture.database;
    assert_int_equal(get_integer(database, "SELECT record_count FROM dataset_metadata"), 3);
    assert_int_equal(
        get_integer(database, "SELECT json_array_length(schema_fields) FROM dataset_metadata"), 2);
    assert_int_equal(
        get_integer(database, "SELECT json_array_length(unique_sensor_ids) FROM dataset_metadata"),
        2);
    assert_int_equal(get_integer(database, "SELECT unique_sensor_count FROM dataset_metadata"), 2);
    assert_int_equal(get_integer(database, "SELECT count(*) FROM schema_evolution"), 2);
    database_close(database);
}

/* Lone surrogates, NaN and integers beyond 64 bits, as json.dumps writes them. */
static void test_lists_of_the_python_service(void **state)
{
    struct fixture fixture;
    (void)state;
    setup(&fixture);
    exec_ok(fixture.database,
            "INSERT INTO dataset_metadata (ingestion_id, record_count, unique_sensor_count, "
            "unique_sensor_ids, schema_fields) VALUES ('d', 7, 2, '[\"\\ud83d\", \"s2\"]', "
            "'[{\"name\": \"a\", \"type\": \"string\", \"nullable\": false, \"sample_values\": "
            "[\"\\ud83d\", NaN, 123456789012345678901]}]')");
    tell(&fixture, "b", BYTES_LITERAL("z"), BYTES_LITERAL("s2"));
    struct database *database = fixture.database;
    assert_int_equal(get_integer(database, "SELECT record_count FROM dataset_metadata"), 8);
    assert_int_equal(
        get_integer(database, "SELECT json_array_length(schema_fields) FROM dataset_metadata"), 2);
    assert_int_equal(
        get_integer(database, "SELECT json_array_length(unique_sensor_ids) FROM dataset_metadata"),
        2);
    database_close(database);
}

/* "000…f3", the longer the later. */
static size_t sample_write(int i, char ret_text[300])
{
    size_t zeros = 13 * (size_t)i;
    memset(ret_text, '0', zeros);
    return zeros + (size_t)snprintf(ret_text + zeros, 300 - zeros, "f%d", i);
}

static void change_make(struct change *change, int fields)
{
    change_init(change);
    change->records = 1;
    change->payload_bytes = 100;
    change->first_us = change->last_us = 1000000;
    for (int i = 0; i < fields; i++) {
        struct change_field *field;
        char text[300];
        snprintf(text, sizeof(text), "f%d", i);
        assert_int_equal(change_field_get(change, bytes_from_text(text), &field), ERR_OK);
        field->types = 1u << DATASET_STRING;
        size_t size = sample_write(i, text);
        assert_int_equal(change_sample_add(change, field, bytes_from(text, size)), ERR_OK);
    }
}

static enum err on_evolution_row(void *ctx, const struct database_value *columns, size_t count)
{
    int *next = ctx;
    char text[300];
    assert_int_equal(count, 4);
    snprintf(text, sizeof(text), "f%d", *next);
    assert_true(bytes_equal_text(columns[0].bytes, text));
    assert_true(bytes_equal_text(columns[1].bytes, "string"));
    assert_true(bytes_equal_text(columns[2].bytes, "1970-01-01 00:00:01"));
    size_t size = sample_write(*next, text);
    assert_int_equal(columns[3].bytes.size, size + 4); /* ["…"] */
    assert_memory_equal(columns[3].bytes.data + 2, text, size);
    ++*next;
    return ERR_OK;
}

/* Every new field once, in its order, with its own samples; what is known is not said again. */
static void test_evolution(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag = {0};
    setup(&fixture);
    struct database *database = fixture.database;
    for (int fields = FIELDS - 1; fields <= FIELDS; fields++) {
        int seen = 0;
        change_make(&fixture.change, fields);
        assert_int_equal(database_transact(database, change_apply, &fixture, &diag), ERR_OK);
        change_fini(&fixture.change);
        assert_int_equal(
            database_query(database,
                           "SELECT field_name, field_type, first_seen, sample_values "
                           "FROM schema_evolution WHERE ingestion_id = 'd' ORDER BY id",
                           NULL, 0, on_evolution_row, &seen, NULL, &diag),
            ERR_OK);
        assert_int_equal(seen, fields);
        assert_int_equal(get_integer(database, "SELECT schema_changes FROM dataset_quality"), seen);
        assert_int_equal(
            get_integer(database, "SELECT json_array_length(schema_fields) FROM dataset_metadata"),
            seen);
        assert_int_equal(get_integer(database, "SELECT position FROM metadata_progress"),
                         fixture.through);
    }
    database_close(database);
}

/* Without memory at any place: none of it, nor of the progress; then all of it, once. */
static void test_no_memory(void **state)
{
    (void)state;
    struct fixture fixture;
    struct diag diag = {0};
    setup(&fixture);
    struct database *database = fixture.database;
    change_make(&fixture.change, FIELDS);
    for (uint64_t k = 1;; k++) {
        mem_fail_at(k);
        enum err err = database_transact(database, change_apply, &fixture, &diag);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        assert_int_equal(get_integer(database, "SELECT count(*) FROM schema_evolution"),
                         failed ? 0 : FIELDS);
        assert_int_equal(get_integer(database, "SELECT count(*) FROM dataset_metadata"), !failed);
        assert_int_equal(get_integer(database, "SELECT count(*) FROM metadata_progress"), !failed);
        if (!failed)
            break;
    }
    change_fini(&fixture.change);
    database_close(database);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_with_nul),
        cmocka_unit_test(test_lists_of_the_python_service),
        cmocka_unit_test(test_evolution),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
