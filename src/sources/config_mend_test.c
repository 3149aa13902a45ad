#include "sources/config_mend.h"

#include "connectors/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *type, void (*mend)(const struct connector *, json_t *),
                   const char *before, const char *after)
{
    json_t *config = json_loads(before, 0, NULL);
    json_t *wanted = json_loads(after, 0, NULL);
    assert_non_null(config);
    assert_non_null(wanted);
    mend(registry_find(type), config);
    if (!json_equal(config, wanted))
        fail_msg("%s became %s", before, json_dumps(config, JSON_COMPACT));
    json_decref(config);
    json_decref(wanted);
}

static void what_is_empty_goes(void **state)
{
    (void)state;
    expect("mqtt", config_mend_empty,
           "{\"broker\":\"\",\"topics\":\"\",\"username\":\"\",\"password\":\"\",\"port\":\"1\","
           "\"shared_group\":\" \",\"other\":\"\",\"tls\":{\"ca_file\":\"\",\"x\":\"\"}}",
           "{\"broker\":\"\",\"topics\":\"\",\"port\":\"1\",\"shared_group\":\" \",\"other\":\"\","
           "\"tls\":{\"x\":\"\"}}");
    expect("http_push", config_mend, "{\"token\":\"\"}", "{\"token\":\"\"}");
    expect("mqtt", config_mend_empty, "[]", "[]");
}

static void types_become_the_schemas(void **state)
{
    (void)state;
    expect("mqtt", config_mend,
           "{\"port\":\"1883\",\"qos\":\"-1\",\"connections\":\"\",\"keep_alive_seconds\":30.9,"
           "\"receive_maximum\":\"1234567890123456\",\"session_expiry_seconds\":1e300,"
           "\"clean_start\":1,\"use_shared_subscription\":\"False\",\"client_id\":\"5\","
           "\"tls\":{\"verify\":\"true\",\"enabled\":\"yes\"},\"dedupe_key\":5}",
           "{\"port\":1883,\"qos\":\"-1\",\"keep_alive_seconds\":30,"
           "\"receive_maximum\":\"1234567890123456\",\"session_expiry_seconds\":1e300,"
           "\"clean_start\":true,\"use_shared_subscription\":false,\"client_id\":\"5\","
           "\"tls\":{\"verify\":true,\"enabled\":\"yes\"},\"dedupe_key\":5}");
}

static int set_up(void **state)
{
    (void)state;
    return registry_init(NULL) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    registry_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_empty_goes),
        cmocka_unit_test(types_become_the_schemas),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
