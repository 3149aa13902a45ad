/* What stands in a dataset's row is merged with, whatever texts devices sent. */
#include "metadata/metadata_table.h"
#include "support/database_rig.h"

#include <stdio.h>
#include <string.h>

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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_with_nul),
        cmocka_unit_test(test_lists_of_the_python_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
