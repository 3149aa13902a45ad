#pragma once
/* What the tests of the data-source tables share: a fresh database for each test, SQLite's or a
 * PostgreSQL server's, and short words for what must succeed. Include it once in a test program. */
#include "base/alloc.h"
#include "base/limits.h"
#include "sources/source_table.h"
#include "support/postgres_server.h"
#include "support/temp_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EARLY_US 1600000000000000LL /* 2020-09-13 12:26:40 */

static char folder[128];
static char url[256];
static struct database *database;

static struct postgres_server server;
static const char *no_server; /* why there is none */
static bool on_postgres;

static inline struct database *open_ok(void)
{
    struct database *opened = NULL;
    struct diag diag = {0};
    if (database_open(url, &opened, &diag))
        fail_msg("%s", diag.text);
    return opened;
}

/* Groups: SQLite first, then the same with PostgreSQL. */
static inline int start_postgres(void **state)
{
    (void)state;
    on_postgres = true;
    (void)postgres_server_start(&server, &no_server);
    return 0;
}

static inline int stop_postgres(void **state)
{
    (void)state;
    postgres_server_stop(&server);
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    if (on_postgres && no_server)
        return 0;
    if (on_postgres) {
        (void)postgres_server_ask(&server,
                                  "DROP TABLE IF EXISTS data_source_metrics, data_sources, "
                                  "data_source_types, dataset_columns, "
                                  "ingestor_migrations");
        (void)snprintf(url, sizeof(url), "%s", server.url);
    } else {
        temp_folder_make(folder, sizeof(folder));
        (void)snprintf(url, sizeof(url), "sqlite:///%s/table.db", folder);
    }
    database = open_ok();
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    database_close(database);
    database = NULL;
    if (!on_postgres)
        temp_folder_remove(folder);
    return 0;
}

#define TABLE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* First in every test. */
#define NEEDS_DATABASE()                                                                           \
    do {                                                                                           \
        if (on_postgres && no_server) {                                                            \
            print_message("skipped: %s\n", no_server);                                             \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static inline void check(enum err err, const struct diag *diag)
{
    if (err)
        fail_msg("%s: %s", err_name(err), diag->text);
}

static inline void exec_ok(const char *sql)
{
    struct diag diag = {0};
    check(database_exec(database, sql, &diag), &diag);
}

static inline void prepare_ok(void)
{
    struct diag diag = {0};
    check(source_table_prepare(database, &diag), &diag);
}

static inline enum err on_text(void *ctx, const struct database_value *columns, size_t count)
{
    char *text = ctx;
    assert_int_equal(count, 1);
    if (columns[0].kind == DATABASE_INTEGER)
        (void)snprintf(text, 4096, "%lld", (long long)columns[0].integer);
    else
        (void)snprintf(text, 4096, "%.*s", (int)columns[0].bytes.size,
                       columns[0].bytes.data ? (const char *)columns[0].bytes.data : "");
    return ERR_OK;
}

static inline const char *query_text(const char *sql)
{
    static char text[4096];
    struct diag diag = {0};
    text[0] = 0;
    check(database_query(database, sql, NULL, 0, on_text, text, NULL, &diag), &diag);
    return text;
}

static inline uint64_t version(void)
{
    struct source_version found;
    struct diag diag = {0};
    check(source_table_version(database, &found, &diag), &diag);
    return found.hash;
}

static inline struct source_row new_row(const char *name, const char *ingestion_id,
                                        const char *config)
{
    struct source_row row = {.enabled = true};
    row.name = mem_strdup(name);
    row.type_name = mem_strdup("mqtt");
    row.ingestion_id = mem_strdup(ingestion_id);
    row.created_by = mem_strdup("api");
    row.config = json_loads(config, JSON_ALLOW_NUL, NULL);
    assert_true(row.name && row.type_name && row.ingestion_id && row.created_by && row.config);
    return row;
}

static inline int64_t insert_ok(const char *name, const char *ingestion_id)
{
    struct source_row row = new_row(name, ingestion_id, "{\"broker_host\":\"h\"}");
    struct diag diag = {0};
    check(source_table_insert(database, &row, &diag), &diag);
    int64_t id = row.id;
    assert_true(id > 0);
    source_row_fini(&row);
    return id;
}

static inline struct source_row get_ok(int64_t id)
{
    struct source_row row;
    struct diag diag = {0};
    check(source_table_get(database, id, &row, &diag), &diag);
    return row;
}

struct listing {
    char text[1024];
    size_t count;
};

static inline enum err on_row(void *ctx, struct source_row *take_row)
{
    struct listing *listing = ctx;
    size_t used = strlen(listing->text);
    (void)snprintf(listing->text + used, sizeof(listing->text) - used, "%s%s", used ? " " : "",
                   take_row->name);
    listing->count++;
    source_row_fini(take_row);
    return ERR_OK;
}

static inline void assert_names(const char *expected)
{
    struct listing listing = {0};
    struct diag diag = {0};
    check(source_table_each(database, on_row, &listing, &diag), &diag);
    assert_string_equal(listing.text, expected);
}
