#include "sources/ingestion_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

static void expect(const char *name, const char *type, const char *id)
{
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(ingestion_id_make(name, type, &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), id);
    buf_fini(&out);
}

/* The examples of contract/http-api.md, and Python's answers for the odd ones. */
static void test_examples(void **state)
{
    (void)state;
    expect("Local Simulators MQTT", "mqtt", "5ec7bb57_local_simulators_mqtt_mqtt");
    expect(" A b ", "mqtt", "60bdf53c_a_b_mqtt");
    expect("\xc3\x9c"
           "bung Stra\xc3\x9f"
           "e",
           "coap", "e4702de7__bung_stra_e_coap");
    expect("name!", "rest_api", "f02e22b3_name__rest_api");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
