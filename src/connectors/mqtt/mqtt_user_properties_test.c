#include "connectors/mqtt/mqtt_user_properties.h"

#include "base/alloc.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

struct fixture {
    struct buf raw;
    struct buf json;
    struct mqtt_user_properties user;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    buf_init(&fixture.raw, 96 * MIB);
    buf_init(&fixture.json, 8 * MQTT_USER_JSON_BYTES_MAX);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    buf_fini(&f->raw);
    buf_fini(&f->json);
    return 0;
}

static void add(struct fixture *f, const char *name, const char *value)
{
    assert_int_equal(
        mqtt_user_property_append(&f->raw, bytes_from_text(name), bytes_from_text(value)), ERR_OK);
}

static enum err properties_write(struct fixture *f)
{
    struct mqtt_properties properties = {.raw = buf_bytes(&f->raw)};
    return mqtt_user_properties_write(&f->json, &properties, &f->user);
}

/* What was written, as a JSON reader sees it. */
static json_t *written(struct fixture *f)
{
    assert_int_equal(properties_write(f), ERR_OK);
    assert_true(f->json.size <= MQTT_USER_JSON_BYTES_MAX);
    json_t *json = json_loadb((const char *)f->json.data, f->json.size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_true(json_is_object(json));
    return json;
}

static void names_that_come_again_are_arrays(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(properties_write(f), ERR_OK);
    assert_int_equal(f->json.size, 0);
    add(f, "b", "1");
    add(f, "", "");
    add(f, "b", "2");
    add(f, "ab", "x\"");
    add(f, "", "e");
    add(f, "b", "2");
    assert_int_equal(properties_write(f), ERR_OK);
    assert_string_equal(buf_cstr(&f->json),
                        "{\"b\":[\"1\",\"2\",\"2\"],\"\":[\"\",\"e\"],\"ab\":\"x\\\"\"}");
    assert_int_equal(f->user.count, 6);
    assert_int_equal(f->user.kept, 6);
}

static void hundreds_of_names_are_all_there(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3000 };
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        add(f, name, name + 1);
    }
    json_t *json = written(f);
    assert_int_equal(json_object_size(json), COUNT);
    const char *name;
    json_t *value;
    int i = 0;
    json_object_foreach(json, name, value)
    {
        assert_int_equal(strtol(name + 1, NULL, 10), i++); /* in their order */
        assert_string_equal(json_string_value(value), name + 1);
    }
    assert_int_equal(f->user.kept, COUNT);
    json_decref(json);
}

/* Just under the bound and just over it, by values, by names, by escapes and by mere numbers. */
static void what_is_over_the_bound_is_counted(void **state)
{
    struct fixture *f = *state;
    static const struct {
        char name_byte;
        char value_byte;
        uint16_t name_size;
        uint16_t value_size;
        uint32_t fit;
    } cases[] = {
        {'n', 'v', 1, 60000, 17}, {'n', '\x01', 1, 60000, 2},   {'n', '"', 1, 60000, 8},
        {'n', 'v', 0, 0, 349000}, {'n', 'v', 65535, 1, 200000}, {'\x02', 'v', 65535, 1, 100000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static char name[65535];
        static char value[65535];
        memset(name, cases[i].name_byte, sizeof(name));
        memset(value, cases[i].value_byte, sizeof(value));
        struct bytes name_bytes = {(const uint8_t *)name, cases[i].name_size};
        struct bytes value_bytes = {(const uint8_t *)value, cases[i].value_size};
        uint32_t count = cases[i].name_size == 65535 ? 200 : cases[i].fit;
        buf_clear(&f->raw);
        for (uint32_t k = 0; k < count; k++)
            assert_int_equal(mqtt_user_property_append(&f->raw, name_bytes, value_bytes), ERR_OK);
        json_decref(written(f));
        assert_int_equal(f->user.kept, count);
        assert_int_equal(f->user.count, count);
        if (cases[i].name_size == 65535)
            continue; /* a name stands once */
        for (uint32_t k = 0; k < 1000; k++)
            assert_int_equal(mqtt_user_property_append(&f->raw, name_bytes, value_bytes), ERR_OK);
        json_decref(written(f));
        assert_int_equal(f->user.count, count + 1000);
        assert_in_range(f->user.kept, 1, count);
    }
}

static void none_of_the_first_fits(void **state)
{
    struct fixture *f = *state;
    static char value[65535];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 17; i++)
        assert_int_equal(mqtt_user_property_append(&f->raw, BYTES_LITERAL("name"),
                                                   bytes_from(value, sizeof(value))),
                         ERR_OK);
    assert_int_equal(properties_write(f), ERR_OK);
    assert_int_equal(f->json.size, 0);
    assert_int_equal(f->user.kept, 0);
    assert_int_equal(f->user.count, 17);
}

static void every_failed_allocation_is_told(void **state)
{
    struct fixture *f = *state;
    add(f, "a", "1");
    add(f, "a", "2");
    for (uint64_t k = 1;; k++) {
        buf_fini(&f->json);
        mem_fail_at(k);
        enum err err = properties_write(f);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
        assert_in_range(k, 1, 20);
    }
    assert_string_equal(buf_cstr(&f->json), "{\"a\":[\"1\",\"2\"]}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_come_again_are_arrays), TEST(hundreds_of_names_are_all_there),
        TEST(what_is_over_the_bound_is_counted), TEST(none_of_the_first_fits),
        TEST(every_failed_allocation_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
