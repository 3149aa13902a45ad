#include "connectors/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void every_connector_is_found_and_whole(void **state)
{
    (void)state;
    assert_true(registry_count() > 0);
    for (size_t i = 0; i < registry_count(); i++) {
        const struct connector *connector = registry_at(i);
        assert_ptr_equal(registry_find(connector->name), connector);
        assert_int_equal(connector->abi, INGESTOR_CONNECTOR_ABI);
        assert_true(connector->state_size > 0);
        assert_true(registry_class_name(connector)[0] != 0);
        assert_true(registry_class_path(connector)[0] != 0);
        assert_non_null(connector->ops.connect);
        assert_non_null(connector->ops.start);
        assert_non_null(connector->ops.stop);
        assert_non_null(connector->ops.disconnect);
    }
}

static void assert_text(const char *text)
{
    assert_non_null(text);
    assert_true(text[0] != 0);
}

static void every_connector_can_be_shown(void **state)
{
    (void)state;
    for (size_t i = 0; i < registry_count(); i++) {
        const struct connector_display *display = &registry_at(i)->display;
        assert_text(display->name);
        assert_text(display->description);
        assert_text(display->icon);
        assert_text(display->category);
        assert_non_null(display->formats);
        assert_text(display->formats[0]);
    }
}

/* Each default is a value that its own property allows. Returns how many there are. */
static size_t check_defaults(const struct connector *connector, const json_t *schema)
{
    size_t count = 0;
    const char *name;
    json_t *property;
    json_object_foreach(json_object_get(schema, "properties"), name, property)
    {
        const json_t *value = json_object_get(property, "default");
        struct json_schema *validator;
        count += check_defaults(connector, property);
        if (!value)
            continue;
        count++;
        assert_int_equal(json_schema_compile(property, &validator, NULL), ERR_OK);
        if (json_schema_validate(validator, value, NULL, NULL) != ERR_OK)
            fail_msg("%s: the default of %s is not valid", connector->name, name);
        json_schema_free(validator);
    }
    return count;
}

static void every_schema_compiles(void **state)
{
    (void)state;
    struct diag diag = {0};
    assert_null(registry_validator(registry_at(0)));
    if (registry_init(&diag) != ERR_OK)
        fail_msg("%s", diag.text);
    for (size_t i = 0; i < registry_count(); i++) {
        const struct connector *connector = registry_at(i);
        const json_t *schema = registry_schema(connector);
        assert_non_null(registry_validator(connector));
        assert_non_null(json_object_get(json_object_get(schema, "properties"), "dedupe_key"));
        assert_true(check_defaults(connector, schema) > 0);
    }
    const json_t *schema = registry_schema(registry_at(0));
    assert_int_equal(registry_init(&diag), ERR_OK);
    assert_ptr_equal(registry_schema(registry_at(0)), schema);
    registry_fini();
    assert_null(registry_schema(registry_at(0)));
    registry_fini();
}

static void strangers_have_no_schema(void **state)
{
    (void)state;
    static const struct connector stranger = {.name = "mqtt"};
    assert_int_equal(registry_init(NULL), ERR_OK);
    assert_null(registry_schema(&stranger));
    assert_null(registry_validator(NULL));
    registry_fini();
}

/* A configuration with no option but those it needs is valid with its defaults filled in, too. */
static void defaults_make_no_config_invalid(void **state)
{
    (void)state;
    const struct connector *mqtt = registry_find("mqtt");
    json_t *config = json_pack("{s:s, s:[s]}", "broker", "localhost", "topics", "a/#");
    assert_int_equal(registry_init(NULL), ERR_OK);
    const struct json_schema *validator = registry_validator(mqtt);
    assert_int_equal(json_schema_validate(validator, config, NULL, NULL), ERR_OK);
    assert_int_equal(json_schema_defaults(validator, config), ERR_OK);
    assert_int_equal(json_integer_value(json_object_get(config, "port")), 1883);
    assert_int_equal(json_schema_validate(validator, config, NULL, NULL), ERR_OK);
    assert_int_equal(json_object_set_new(config, "columns", json_object()), 0);
    assert_int_equal(json_schema_validate(validator, config, NULL, NULL), ERR_OK);
    assert_int_equal(json_object_set_new(config, "colums", json_object()), 0);
    assert_int_equal(json_schema_validate(validator, config, NULL, NULL), ERR_INVALID);
    json_decref(config);
    registry_fini();
}

static void others_are_not_found(void **state)
{
    (void)state;
    assert_non_null(registry_find("mqtt"));
    assert_null(registry_find("MQTT"));
    assert_null(registry_find(""));
    assert_null(registry_at(registry_count()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_connector_is_found_and_whole),
        cmocka_unit_test(every_connector_can_be_shown),
        cmocka_unit_test(every_schema_compiles),
        cmocka_unit_test(strangers_have_no_schema),
        cmocka_unit_test(defaults_make_no_config_invalid),
        cmocka_unit_test(others_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
