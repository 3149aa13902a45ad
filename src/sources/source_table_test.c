#include "sources/source_table.h"

#include "connectors/registry.h"
#include "lake/catalog.h"
#include "support/source_table_rig.h"

#include <pthread.h>

static void test_insert_and_get(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    struct source_row row =
        new_row("Übung", "id_1", "{\"b\":[1,2.5],\"a\":{\"k\":\"ü\\u0000\"},\"on\":true}");
    (void)snprintf(row.status, sizeof(row.status), "active");
    row.last_connection_us = EARLY_US + 5;
    row.last_error = mem_strdup("it's \"gone\"");
    struct diag diag = {0};
    check(source_table_insert(database, &row, &diag), &diag);
    assert_true(row.created_at_us > EARLY_US);
    assert_int_equal(row.created_at_us, row.updated_at_us);

    struct source_row back = get_ok(row.id);
    assert_int_equal(back.id, row.id);
    assert_string_equal(back.name, "Übung");
    assert_string_equal(back.type_name, "mqtt");
    assert_string_equal(back.type_display_name, "MQTT Broker");
    assert_string_equal(back.ingestion_id, "id_1");
    assert_string_equal(back.created_by, "api");
    assert_string_equal(back.last_error, "it's \"gone\"");
    assert_string_equal(back.status, "active");
    assert_true(back.enabled);
    assert_int_equal(back.last_connection_us, EARLY_US + 5);
    assert_int_equal(back.created_at_us, row.created_at_us);
    assert_int_equal(back.updated_at_us, row.updated_at_us);
    assert_true(json_equal(back.config, row.config));
    source_row_fini(&back);
    source_row_fini(&row);
    /* As Python would have written them. */
    assert_string_equal(query_text("SELECT config FROM data_sources"),
                        "{\"b\": [1, 2.5], \"a\": {\"k\": \"\\u00fc\\u0000\"}, \"on\": true}");
    assert_string_equal(query_text("SELECT last_connection FROM data_sources"),
                        "2020-09-13 12:26:40.000005");
    if (!on_postgres) /* which leaves out zeros at the end */
        assert_int_equal(strlen(query_text("SELECT created_at FROM data_sources")), 26);
    assert_string_equal(query_text("SELECT enabled FROM data_sources"), "1");
    struct source_row none;
    diag = (struct diag){0};
    assert_int_equal(source_table_get(database, 4711, &none, &diag), ERR_NOT_FOUND);
    assert_string_equal(diag.text, "Data source 4711 not found");
}

static void test_conflict(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    (void)insert_ok("a", "same");
    uint64_t before = version();
    struct source_row row = new_row("b", "same", "{}");
    struct diag diag = {0};
    assert_int_equal(source_table_insert(database, &row, &diag), ERR_CONFLICT);
    assert_string_equal(diag.text, "the ingestion id same is taken");
    assert_int_equal(version(), before);
    mem_free(row.type_name);
    row.type_name = mem_strdup("telepathy");
    diag = (struct diag){0};
    assert_int_equal(source_table_insert(database, &row, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "telepathy"));
    source_row_fini(&row);
    assert_names("a");
}

static void test_update(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t id = insert_ok("a", "x");
    struct source_row row = get_ok(id);
    /* A clock that was ahead when the row was last changed does not bring it back. */
    exec_ok("UPDATE data_sources SET updated_at = '2999-12-31 23:59:59.999998'");
    mem_free(row.name);
    row.name = mem_strdup("b");
    row.enabled = false;
    assert_int_equal(json_object_set_new(row.config, "more", json_integer(1)), 0);
    struct diag diag = {0};
    check(source_table_update(database, &row, &diag), &diag);
    struct source_row back = get_ok(id);
    assert_string_equal(back.name, "b");
    assert_false(back.enabled);
    assert_true(json_equal(back.config, row.config));
    assert_int_equal(back.updated_at_us, row.updated_at_us);
    assert_int_equal(back.updated_at_us % US_PER_S, 999999);
    assert_true(back.updated_at_us > back.created_at_us);
    source_row_fini(&back);
    row.id++;
    assert_int_equal(source_table_update(database, &row, NULL), ERR_NOT_FOUND);
    source_row_fini(&row);
}

static void test_status(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t id = insert_ok("a", "x");
    struct source_row before = get_ok(id);
    uint64_t version_before = version();
    assert_int_equal(source_table_set_status(database, id, "active", EARLY_US, NULL, NULL), ERR_OK);
    assert_int_equal(source_table_set_status(database, id, "error", 0, "broken", NULL), ERR_OK);
    struct source_row row = get_ok(id);
    assert_string_equal(row.status, "error");
    assert_string_equal(row.last_error, "broken");
    assert_int_equal(row.last_connection_us, EARLY_US);
    assert_int_equal(row.updated_at_us, before.updated_at_us);
    assert_int_equal(version(), version_before);
    source_row_fini(&row);
    source_row_fini(&before);
    assert_int_equal(source_table_set_status(database, id, "stopped", 0, NULL, NULL), ERR_OK);
    row = get_ok(id);
    assert_null(row.last_error);
    source_row_fini(&row);
    assert_int_equal(source_table_set_status(database, id + 1, "error", 0, "x", NULL),
                     ERR_NOT_FOUND);
}

static void test_version(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    struct database *other = open_ok();
    struct source_version seen;
    uint64_t versions[5] = {version()};
    int64_t a = insert_ok("a", "a");
    versions[1] = version();
    (void)insert_ok("b", "b");
    versions[2] = version();
    struct source_row row = get_ok(a);
    assert_int_equal(source_table_update(other, &row, NULL), ERR_OK);
    source_row_fini(&row);
    versions[3] = version();
    assert_int_equal(source_table_delete(other, a, NULL), ERR_OK);
    versions[4] = version();
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_int_not_equal(versions[i], versions[j]);
    assert_int_equal(source_table_version(other, &seen, NULL), ERR_OK);
    assert_int_equal(seen.hash, versions[4]);
    exec_ok("UPDATE data_sources SET updated_at = '2999-01-01 00:00:00.000000'"); /* a person */
    assert_int_not_equal(version(), versions[4]);
    database_close(other);
}

static void test_delete(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t a = insert_ok("a", "a");
    int64_t b = insert_ok("b", "b");
    const struct source_metrics_row rows[] = {
        {.data_source_id = a, .messages_received = 1, .recorded_at_us = EARLY_US},
        {.data_source_id = b, .messages_received = 2, .recorded_at_us = EARLY_US}};
    assert_int_equal(source_table_add_metrics(database, rows, 2, 0, NULL), ERR_OK);
    assert_int_equal(source_table_delete(database, a, NULL), ERR_OK);
    assert_names("b");
    assert_string_equal(query_text("SELECT sum(messages_received) FROM data_source_metrics"), "2");
    struct diag diag = {0};
    assert_int_equal(source_table_delete(database, a, &diag), ERR_NOT_FOUND);
    assert_non_null(strstr(diag.text, "not found"));
}

static void test_metrics(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    enum { COUNT = 25 };
    struct source_metrics_row rows[COUNT];
    json_t *found = NULL;
    prepare_ok();
    int64_t id = insert_ok("a", "a");
    for (int i = 0; i < COUNT; i++)
        rows[i] = (struct source_metrics_row){.data_source_id = id,
                                              .messages_received = i,
                                              .messages_processed = INT64_MAX,
                                              .last_processed_us = i ? EARLY_US : 0,
                                              .processing_latency_ms = 0.5,
                                              .error_count = -1,
                                              .recorded_at_us = EARLY_US + i * US_PER_S};
    rows[3].data_source_id = id + 1; /* gone in the meantime */
    assert_int_equal(source_table_add_metrics(database, rows, COUNT, 0, NULL), ERR_OK);
    assert_int_equal(source_table_metrics(database, id, EARLY_US, 1000, &found, NULL), ERR_OK);
    assert_int_equal(json_array_size(found), COUNT - 1);
    json_t *row = json_array_get(found, 0);
    assert_int_equal(json_integer_value(json_object_get(row, "messages_received")), COUNT - 1);
    assert_int_equal(json_integer_value(json_object_get(row, "messages_processed")), INT32_MAX);
    assert_int_equal(json_integer_value(json_object_get(row, "error_count")), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "data_source_id")), id);
    assert_true(json_is_integer(json_object_get(row, "id")));
    assert_true(json_real_value(json_object_get(row, "processing_latency_ms")) == 0.5);
    assert_string_equal(json_string_value(json_object_get(row, "recorded_at")),
                        "2020-09-13T12:27:04+00:00");
    row = json_array_get(found, COUNT - 2);
    assert_true(json_is_null(json_object_get(row, "last_processed")));
    json_decref(found);
    assert_int_equal(source_table_metrics(database, id, EARLY_US + 20 * US_PER_S, 3, &found, NULL),
                     ERR_OK);
    assert_int_equal(json_array_size(found), 3);
    json_decref(found);
    assert_int_equal(source_table_add_metrics(database, NULL, 0, EARLY_US + 20 * US_PER_S, NULL),
                     ERR_OK);
    assert_string_equal(query_text("SELECT count(*) FROM data_source_metrics"), "5");
}

static void test_types(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    json_t *types = NULL;
    prepare_ok();
    prepare_ok(); /* and again: nothing changes */
    assert_int_equal(source_table_types(database, &types, NULL), ERR_OK);
    assert_int_equal(json_array_size(types), registry_count());
    json_t *type = NULL;
    for (size_t i = 0; i < json_array_size(types); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(types, i), "name")), "mqtt") ==
            0)
            type = json_array_get(types, i);
    assert_non_null(type);
    assert_string_equal(json_string_value(json_object_get(type, "connector_class")),
                        "src.connectors.mqtt_connector.MQTTConnector");
    assert_true(json_is_object(json_object_get(type, "config_schema")));
    assert_true(json_is_true(json_object_get(type, "enabled")));
    assert_int_equal(strlen(json_string_value(json_object_get(type, "created_at"))), 19);
    json_decref(types);
    /* A row of an older build is brought up to date, but what people set stays. */
    exec_ok("UPDATE data_source_types SET display_name = 'old', config_schema = '{\"a\": 1}', "
            "created_at = '2020-01-01 00:00:00' WHERE name = 'mqtt'");
    prepare_ok();
    assert_string_equal(query_text("SELECT display_name FROM data_source_types "
                                   "WHERE name = 'mqtt'"),
                        "MQTT Broker");
    assert_non_null(strstr(query_text("SELECT config_schema FROM data_source_types "
                                      "WHERE name = 'mqtt'"),
                           "\"properties\": {"));
    assert_memory_equal(query_text("SELECT created_at FROM data_source_types "
                                   "WHERE name = 'mqtt'"),
                        "2020-01-01 00:00:00", 19);
}

static void test_once(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    bool first = false;
    prepare_ok();
    struct database *other = open_ok();
    assert_int_equal(source_table_once(database, "default_source", &first, NULL), ERR_OK);
    assert_true(first);
    assert_int_equal(source_table_once(other, "default_source", &first, NULL), ERR_OK);
    assert_false(first);
    assert_int_equal(source_table_once(other, "another", &first, NULL), ERR_OK);
    assert_true(first);
    prepare_ok();
    database_close(other);
}

static void test_lock(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    assert_int_equal(source_table_lock(database, 1, NULL), ERR_OK);
    assert_int_equal(source_table_lock(database, 1, NULL), ERR_OK);
    struct database *other = open_ok();
    assert_int_equal(source_table_lock(other, 1, NULL), on_postgres ? ERR_BUSY : ERR_OK);
    source_table_unlock(database, 1);
    source_table_unlock(database, 1);
    assert_int_equal(source_table_lock(other, 1, NULL), ERR_OK);
    database_close(other);
}

static void test_locked_and_read_only(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t id = insert_ok("a", "a");
    struct database *other = open_ok();
    struct source_row row = get_ok(id);
    assert_int_equal(database_exec(database, "PRAGMA busy_timeout = 0", NULL), ERR_OK);
    assert_int_equal(database_exec(other, "BEGIN IMMEDIATE", NULL), ERR_OK);
    assert_int_equal(source_table_update(database, &row, NULL), ERR_BUSY);
    assert_int_equal(source_table_set_status(database, id, "error", 0, NULL, NULL), ERR_BUSY);
    assert_int_equal(source_table_delete(database, id, NULL), ERR_BUSY);
    assert_int_equal(source_table_prepare(database, NULL), ERR_BUSY);
    assert_names("a"); /* readers do not wait for writers */
    assert_int_equal(database_exec(other, "ROLLBACK", NULL), ERR_OK);
    assert_int_equal(database_exec(database, "PRAGMA query_only = 1", NULL), ERR_OK);
    struct diag diag = {0};
    assert_int_equal(source_table_update(database, &row, &diag), ERR_READ_ONLY);
    assert_int_equal(source_table_delete(database, id, NULL), ERR_READ_ONLY);
    assert_names("a");
    source_row_fini(&row);
    database_close(other);
}

/* Each operation by itself, as often as it takes until no allocation fails. They leave what they
 * found. */
struct memory_case {
    struct source_row *row;
    int64_t id;
};

static enum err try_prepare(struct memory_case *with)
{
    (void)with;
    return source_table_prepare(database, NULL);
}

static enum err try_types(struct memory_case *with)
{
    json_t *json = NULL;
    (void)with;
    enum err err = source_table_types(database, &json, NULL);
    json_decref(json);
    return err;
}

static enum err try_insert(struct memory_case *with)
{
    return source_table_insert(database, with->row, NULL);
}

static enum err try_update(struct memory_case *with)
{
    with->row->id = with->id;
    return source_table_update(database, with->row, NULL);
}

static enum err try_get(struct memory_case *with)
{
    struct source_row back = {0};
    enum err err = source_table_get(database, with->id, &back, NULL);
    source_row_fini(&back);
    return err;
}

static enum err keep_none(void *ctx, struct source_row *take_row)
{
    (void)ctx;
    source_row_fini(take_row);
    return ERR_OK;
}

static enum err try_each(struct memory_case *with)
{
    (void)with;
    return source_table_each(database, keep_none, NULL, NULL);
}

static enum err try_metrics(struct memory_case *with)
{
    json_t *json = NULL;
    const struct source_metrics_row row = {.data_source_id = with->id, .recorded_at_us = EARLY_US};
    enum err err = source_table_add_metrics(database, &row, 1, 0, NULL);
    if (!err)
        err = source_table_metrics(database, with->id, 0, 5, &json, NULL);
    json_decref(json);
    return err;
}

static enum err try_delete(struct memory_case *with)
{
    enum err err = source_table_delete(database, with->id + 1, NULL);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static void fail_each(enum err (*try)(struct memory_case *), struct memory_case *with,
                      bool with_jansson)
{
    if (with_jansson)
        json_set_alloc_funcs(mem_alloc, mem_free);
    /* Thousands of allocations, all of a kind, for the schemas of the types. */
    bool is_long = with_jansson && (try == try_prepare || try == try_types);
    for (uint64_t k = 1;; k += is_long ? 1 + k / 8 : 1) {
        mem_fail_at(k);
        enum err err = try(with);
        int failed = mem_failed();
        mem_fail_at(0);
        exec_ok("DELETE FROM data_sources WHERE ingestion_id = 'row'");
        /* jansson's lexer overlooks some failures of its own. */
        if (!with_jansson || !failed)
            assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
    json_set_alloc_funcs(malloc, free);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    static enum err (*const tries[])(struct memory_case *) = {
        try_prepare, try_types, try_insert, try_update, try_get, try_each, try_metrics, try_delete,
    };
    prepare_ok();
    struct source_row row = new_row("row", "row", "{\"a\": [1, \"text\", {\"b\": 2.5}]}");
    struct memory_case with = {&row, insert_ok("stays", "stays")};
    for (size_t i = 0; i < 2 * sizeof(tries) / sizeof(tries[0]); i++)
        fail_each(tries[i / 2], &with, i % 2 == 1);
    source_row_fini(&row);
    assert_names("row"); /* updated */
}

enum { RACERS = 4, RACES = 10 };

/* Everybody prepares the same fresh database and then inserts the same ids. */
static void *race(void *ctx)
{
    int *won = ctx;
    struct database *mine = NULL;
    if (database_open(url, &mine, NULL) || source_table_prepare(mine, NULL)) {
        *won = -1000;
        database_close(mine);
        return NULL;
    }
    for (int i = 0; i < RACES; i++) {
        char id[24];
        (void)snprintf(id, sizeof(id), "race_%d", i);
        struct source_row row = new_row(id, id, "{}");
        enum err err = source_table_insert(mine, &row, NULL);
        *won += err == ERR_OK ? 1 : err == ERR_CONFLICT ? 0 : -1000;
        source_row_fini(&row);
    }
    database_close(mine);
    return NULL;
}

static void test_race(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    pthread_t threads[RACERS];
    int won[RACERS] = {0};
    int sum = 0;
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &won[i]), 0);
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        sum += won[i];
    }
    assert_int_equal(sum, RACES);
    assert_string_equal(query_text("SELECT count(*) FROM data_sources"), "10");
}

static enum err until_there(int64_t id, struct source_row *row)
{
    for (;;) {
        enum err err = source_table_get(database, id, row, NULL);
        if (err != ERR_IO)
            return err;
    }
}

/* Away: every call says ERR_IO and leaves nothing half done. Back: everything goes on. */
static void test_server_goes_and_comes(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    json_t *json = NULL;
    bool first;
    struct source_version seen;
    prepare_ok();
    int64_t id = insert_ok("a", "a");
    struct source_row row = get_ok(id);
    struct source_row other = new_row("b", "b", "{}");
    const struct source_metrics_row metrics = {.data_source_id = id, .recorded_at_us = EARLY_US};
    postgres_server_crash(&server);
    assert_int_equal(source_table_prepare(database, NULL), ERR_IO);
    assert_int_equal(source_table_types(database, &json, NULL), ERR_IO);
    assert_int_equal(source_table_insert(database, &other, NULL), ERR_IO);
    assert_int_equal(source_table_update(database, &row, NULL), ERR_IO);
    assert_int_equal(source_table_set_status(database, id, "error", 0, NULL, NULL), ERR_IO);
    assert_int_equal(source_table_delete(database, id, NULL), ERR_IO);
    assert_int_equal(source_table_add_metrics(database, &metrics, 1, 0, NULL), ERR_IO);
    assert_int_equal(source_table_metrics(database, id, 0, 1, &json, NULL), ERR_IO);
    assert_int_equal(source_table_once(database, "x", &first, NULL), ERR_IO);
    assert_int_equal(source_table_version(database, &seen, NULL), ERR_IO);
    assert_int_equal(source_table_lock(database, id, NULL), ERR_IO);
    source_row_fini(&row);
    postgres_server_start_again(&server);
    assert_int_equal(until_there(id, &row), ERR_OK);
    source_row_fini(&row);
    assert_names("a");
    assert_int_equal(source_table_insert(database, &other, NULL), ERR_OK);
    assert_names("a b");
    source_row_fini(&other);
}

/* A server that takes no writes, as a standby. */
static void test_standby(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    prepare_ok();
    int64_t id = insert_ok("a", "a");
    exec_ok("SET default_transaction_read_only = on");
    assert_int_equal(source_table_delete(database, id, NULL), ERR_READ_ONLY);
    assert_int_equal(source_table_set_status(database, id, "error", 0, NULL, NULL), ERR_READ_ONLY);
    assert_names("a");
}

static enum err on_column(void *ctx, const struct catalog_column *column)
{
    *(int *)ctx += column->field_id;
    return ERR_OK;
}

static void test_catalog(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    struct catalog *catalog = NULL;
    int sum = 0;
    const struct catalog_column columns[2] = {
        {BYTES_LITERAL("/a"), BYTES_LITERAL("a"), BYTES_LITERAL("DOUBLE"), 1},
        {BYTES_LITERAL("/b"), BYTES_LITERAL("b"), BYTES_LITERAL("STRING"), 2}};
    struct catalog_column clash = columns[0];
    clash.column_type = BYTES_LITERAL("STRING");
    assert_int_equal(catalog_open(url, &catalog, NULL), ERR_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(catalog->ops->pin(catalog, BYTES_LITERAL("d"), columns, 2, NULL), ERR_OK);
    assert_int_equal(catalog->ops->pin(catalog, BYTES_LITERAL("d"), &clash, 1, NULL), ERR_CONFLICT);
    clash.field_path = BYTES_LITERAL("/c"); /* the name is taken */
    clash.field_id = 3;
    assert_int_equal(catalog->ops->pin(catalog, BYTES_LITERAL("d"), &clash, 1, NULL), ERR_CONFLICT);
    assert_int_equal(catalog->ops->load(catalog, BYTES_LITERAL("d"), on_column, &sum, NULL),
                     ERR_OK);
    assert_int_equal(sum, 3);
    catalog_close(catalog);
}

int main(void)
{
    const struct CMUnitTest sqlite_tests[] = {
        TABLE_TEST(test_insert_and_get), TABLE_TEST(test_conflict),
        TABLE_TEST(test_update),         TABLE_TEST(test_status),
        TABLE_TEST(test_version),        TABLE_TEST(test_delete),
        TABLE_TEST(test_metrics),        TABLE_TEST(test_types),
        TABLE_TEST(test_once),           TABLE_TEST(test_lock),
        TABLE_TEST(test_race),           TABLE_TEST(test_locked_and_read_only),
        TABLE_TEST(test_out_of_memory),
    };
    const struct CMUnitTest postgres_tests[] = {
        TABLE_TEST(test_insert_and_get), TABLE_TEST(test_conflict),
        TABLE_TEST(test_update),         TABLE_TEST(test_status),
        TABLE_TEST(test_version),        TABLE_TEST(test_delete),
        TABLE_TEST(test_metrics),        TABLE_TEST(test_types),
        TABLE_TEST(test_once),           TABLE_TEST(test_lock),
        TABLE_TEST(test_race),           TABLE_TEST(test_server_goes_and_comes),
        TABLE_TEST(test_out_of_memory),  TABLE_TEST(test_catalog),
        TABLE_TEST(test_standby),
    };
    int failed = cmocka_run_group_tests(sqlite_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(postgres_tests, start_postgres, stop_postgres);
}
