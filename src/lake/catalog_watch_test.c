#include "lake/catalog_watch.h"

#include "database/database.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants those first */
#include <cmocka.h>

struct place {
    char folder[64];
    char url[192];
    char path[128];
    char away[128];
    struct catalog *catalog;
    struct catalog_watch *watch;
};

static int set_up(void **state)
{
    static struct place place;
    place = (struct place){.folder = "/tmp/catalog_watch.XXXXXX"};
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.path, sizeof(place.path), "%s/i.db", place.folder);
    snprintf(place.away, sizeof(place.away), "%s/away.db", place.folder);
    snprintf(place.url, sizeof(place.url), "sqlite:///%s", place.path);
    assert_int_equal(catalog_open(place.url, &place.catalog, NULL), ERR_OK);
    assert_int_equal(catalog_watch_start(place.catalog, 1, &place.watch, NULL), ERR_OK);
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    catalog_watch_stop(place->watch);
    catalog_close(place->catalog);
    snprintf(command, sizeof(command), "rm -rf '%s'", place->folder);
    return system(command); /* NOLINT */
}

static void wait_for(struct place *place, enum err err)
{
    struct catalog_health health;
    do {
        usleep(1000);
        catalog_watch_get(place->watch, &health);
    } while (!health.probed || health.err != err);
    assert_true((health.sentence[0] == '\0') == (err == ERR_OK));
}

static void test_gone(void **state)
{
    struct place *place = *state;
    wait_for(place, ERR_OK);
    assert_int_equal(rename(place->path, place->away), 0);
    wait_for(place, ERR_IO);
    assert_int_equal(rename(place->away, place->path), 0);
    wait_for(place, ERR_OK);
}

static void test_locked(void **state)
{
    struct place *place = *state;
    struct database *other;
    wait_for(place, ERR_OK);
    assert_int_equal(database_open(place->url, &other, NULL), ERR_OK);
    assert_int_equal(database_exec(other, "BEGIN IMMEDIATE", NULL), ERR_OK);
    wait_for(place, ERR_BUSY);
    assert_int_equal(database_exec(other, "ROLLBACK", NULL), ERR_OK);
    database_close(other);
    wait_for(place, ERR_OK);
}

static void test_read_only(void **state)
{
    struct place *place = *state;
    if (geteuid() == 0)
        skip(); /* root may write everything */
    wait_for(place, ERR_OK);
    char command[192];
    snprintf(command, sizeof(command), "chmod 444 '%s'", place->path);
    assert_int_equal(system(command), 0); /* NOLINT */
    wait_for(place, ERR_READ_ONLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_only, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
