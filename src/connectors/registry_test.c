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
        assert_non_null(connector->class_name);
        assert_non_null(connector->class_path);
        assert_non_null(connector->display.formats[0]);
        assert_non_null(connector->ops.connect);
        assert_non_null(connector->ops.start);
        assert_non_null(connector->ops.stop);
        assert_non_null(connector->ops.disconnect);
        assert_non_null(connector->ops.health);
        json_t *schema = json_loads(connector->config_schema, JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_is_object(json_object_get(schema, "properties")));
        json_decref(schema);
    }
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
        cmocka_unit_test(others_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
