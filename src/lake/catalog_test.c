#include "lake/catalog.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char url[96];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/catalog_test.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(url, sizeof(url), "sqlite:///%s/ingestor.db", folder);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command); /* NOLINT */
}

static struct catalog_column column(const char *path, const char *name, const char *type, int id)
{
    return (struct catalog_column){bytes_from_text(path), bytes_from_text(name),
                                   bytes_from_text(type), id};
}

static enum err on_column(void *ctx, const struct catalog_column *found)
{
    return buf_printf(ctx, "%.*s %.*s %.*s %d;", (int)found->field_path.size,
                      (const char *)found->field_path.data, (int)found->column_name.size,
                      (const char *)found->column_name.data, (int)found->column_type.size,
                      (const char *)found->column_type.data, found->field_id);
}

static enum err load(struct catalog *catalog, const char *dataset, struct buf *text)
{
    buf_clear(text);
    return catalog->ops->load(catalog, bytes_from_text(dataset), on_column, text, NULL);
}

static void check(struct catalog *catalog, const char *dataset, const char *expected)
{
    struct buf text;
    buf_init(&text, 10000);
    assert_int_equal(load(catalog, dataset, &text), ERR_OK);
    assert_string_equal(buf_cstr(&text), expected);
    buf_fini(&text);
}

static void test_pin_and_load(void **state)
{
    (void)state;
    struct catalog *catalog, *replica;
    struct diag diag = {0};
    struct bytes id = BYTES_LITERAL("city_a");
    assert_int_equal(catalog_open(url, &catalog, &diag), ERR_OK);
    assert_int_equal(catalog_open(url, &replica, &diag), ERR_OK);
    check(catalog, "city_a", "");
    const struct catalog_column first[] = {column("/b", "b", "STRING", 2),
                                           column("/a/x~1y", "a.x_y", "DOUBLE", 1)};
    assert_int_equal(catalog->ops->pin(catalog, id, first, 2, &diag), ERR_OK);
    check(replica, "city_a", "/a/x~1y a.x_y DOUBLE 1;/b b STRING 2;");
    check(replica, "city_b", "");
    /* the same again, and one more */
    const struct catalog_column more[] = {first[0], column("/c", "c", "BOOLEAN", 3)};
    assert_int_equal(replica->ops->pin(replica, id, more, 2, &diag), ERR_OK);
    /* who comes late with other ideas gets nothing in */
    const struct catalog_column clashes[][2] = {
        {column("/n", "n", "DOUBLE", 9), column("/c", "c", "STRING", 3)}, /* type */
        {column("/n", "n", "DOUBLE", 9), column("/d", "c", "DOUBLE", 4)}, /* name */
        {column("/n", "n", "DOUBLE", 9), column("/d", "d", "DOUBLE", 3)}, /* field_id */
    };
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(catalog->ops->pin(catalog, id, clashes[i], 2, NULL), ERR_CONFLICT);
    check(catalog, "city_a", "/a/x~1y a.x_y DOUBLE 1;/b b STRING 2;/c c BOOLEAN 3;");
    assert_int_equal(catalog->ops->pin(catalog, id, NULL, 0, NULL), ERR_OK);
    catalog_close(catalog);
    catalog_close(replica);
}

static void test_pin_many(void **state)
{
    (void)state;
    struct catalog *catalog;
    assert_int_equal(catalog_open(url, &catalog, NULL), ERR_OK);
    const struct catalog_column columns[] = {column("/a", "a", "DOUBLE", 1),
                                             column("/b", "b", "STRING", 2)};
    const struct catalog_column other = column("/a", "a", "STRING", 1);
    const struct catalog_pin pins[] = {{BYTES_LITERAL("many_a"), columns, 2},
                                       {BYTES_LITERAL("many_b"), columns, 1},
                                       {BYTES_LITERAL("many_c"), columns, 2}};
    assert_int_equal(catalog->ops->pin_many(catalog, pins, 2, NULL), ERR_OK);
    assert_int_equal(catalog->ops->pin_many(catalog, pins, 2, NULL), ERR_OK); /* once more */
    check(catalog, "many_a", "/a a DOUBLE 1;/b b STRING 2;");
    check(catalog, "many_b", "/a a DOUBLE 1;");
    /* one that is pinned otherwise keeps all from being pinned, and by themselves the others are */
    assert_int_equal(catalog->ops->pin(catalog, BYTES_LITERAL("many_d"), &other, 1, NULL), ERR_OK);
    const struct catalog_pin clash[] = {pins[2], {BYTES_LITERAL("many_d"), columns, 2}};
    assert_int_equal(catalog->ops->pin_many(catalog, clash, 2, NULL), ERR_CONFLICT);
    check(catalog, "many_c", "");
    check(catalog, "many_d", "/a a STRING 1;");
    assert_int_equal(catalog->ops->pin_many(catalog, pins, 3, NULL), ERR_OK);
    check(catalog, "many_c", "/a a DOUBLE 1;/b b STRING 2;");
    catalog_close(catalog);
}

static void test_database_away(void **state)
{
    (void)state;
    char path[128], away_url[160];
    struct catalog *catalog;
    struct catalog_column a = column("/a", "a", "DOUBLE", 1);
    (void)snprintf(path, sizeof(path), "%s/away.db", folder);
    (void)snprintf(away_url, sizeof(away_url), "sqlite:///%s", path);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder stands in the way */
    assert_int_equal(catalog_open(away_url, &catalog, NULL), ERR_OK);
    struct diag diag = {0};
    enum err err = catalog->ops->pin(catalog, BYTES_LITERAL("d"), &a, 1, &diag);
    assert_int_equal(err_class(err), ERR_CLASS_RETRY);
    assert_non_null(strstr(diag.text, "away.db"));
    assert_int_equal(rmdir(path), 0);
    /* not asked again at once: who asks hears what was said before */
    diag = (struct diag){0};
    assert_int_equal(catalog->ops->load(catalog, BYTES_LITERAL("e"), NULL, NULL, &diag), err);
    assert_non_null(strstr(diag.text, "away.db"));
    while ((err = catalog->ops->pin(catalog, BYTES_LITERAL("d"), &a, 1, NULL)) != ERR_OK) {
        assert_int_equal(err_class(err), ERR_CLASS_RETRY);
        usleep(10000);
    }
    check(catalog, "d", "/a a DOUBLE 1;");
    catalog_close(catalog);
    assert_int_equal(catalog_open("mysql://h/d", &catalog, NULL), ERR_UNSUPPORTED);
}

struct racer {
    struct thread thread;
    int number;
    int pinned;
};

/* Each thread has a catalog of its own, as replicas do, and pins what it can under the next id. */
static void race(void *ctx)
{
    struct racer *racer = ctx;
    struct catalog *catalog;
    if (catalog_open(url, &catalog, NULL))
        return;
    for (int id = 1; id <= 20; id++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "/r%d", racer->number);
        struct catalog_column mine = column(name, name + 1, "DOUBLE", id);
        enum err err;
        do {
            err = catalog->ops->pin(catalog, BYTES_LITERAL("race"), &mine, 1, NULL);
        } while (err == ERR_BUSY);
        racer->pinned += err == ERR_OK;
    }
    catalog_close(catalog);
}

static void test_replicas_race(void **state)
{
    (void)state;
    struct racer racers[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(thread_start(&racers[i].thread, "race", race, &racers[i]), ERR_OK);
    for (int i = 0; i < 3; i++)
        thread_join(&racers[i].thread);
    for (int i = 0; i < 3; i++)
        assert_int_equal(racers[i].pinned, 1);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct catalog_column a = column("/a", "a", "DOUBLE", 1);
    for (uint64_t k = 1;; k++) {
        struct catalog *catalog = NULL;
        mem_fail_at(k);
        enum err err = catalog_open(url, &catalog, NULL);
        if (!err)
            err = catalog->ops->pin(catalog, BYTES_LITERAL("oom"), &a, 1, NULL);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        catalog_close(catalog);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin_and_load),  cmocka_unit_test(test_pin_many),
        cmocka_unit_test(test_database_away), cmocka_unit_test(test_replicas_race),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
