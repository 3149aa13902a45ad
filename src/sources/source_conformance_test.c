/*
 * What every connector must do, whatever its protocol (connectors/connector.h): the suite finds
 * them in the registry, makes a configuration of the examples in their schemas, and runs them as
 * the service does. Nobody answers at the addresses that they are given, unless they listen
 * themselves.
 */
#include "sources/source.h"

#include "base/log.h"
#include "connectors/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
/* want cmocka before */
#include "support/conformance_config.h"
#include "support/conformance_rig.h"

#define MARKER "s3cr3t-m4rk3r"

/* --- the description -------------------------------------------------------------------------- */

static bool is_secret_name(const char *name)
{
    static const char *const words[] = {"password", "secret", "token", "psk_key", "api_key"};
    static const char *const harmless[] = {"_url", "_header", "_file", "_path"};
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (strlen(name) > strlen(harmless[i]) &&
            strcmp(name + strlen(name) - strlen(harmless[i]), harmless[i]) == 0)
            return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

static void check_properties(const struct connector *connector, const json_t *schema)
{
    const char *name;
    const json_t *property;
    json_object_foreach(json_object_get((json_t *)(uintptr_t)schema, "properties"), name, property)
    {
        if (is_secret_name(name) && !json_is_true(json_object_get(property, "writeOnly")))
            fail_msg("%s: %s looks like a secret and is not writeOnly", connector->name, name);
        check_properties(connector, property);
    }
}

static void it_can_be_shown(const struct connector *connector)
{
    const json_t *schema = registry_schema(connector);
    size_t size = strlen(connector->name);
    assert_true(size > 0 && size <= 50);
    assert_int_equal(strspn(connector->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), size);
    assert_true(connector->state_size <= 4 * MIB);
    assert_string_equal(json_string_value(json_object_get(schema, "type")), "object");
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    assert_non_null(json_string_value(json_object_get(schema, "title")));
    const char *name;
    const json_t *property;
    json_object_foreach((json_t *)(uintptr_t)properties_of(connector), name,
                        property) if (json_is_object(property) &&
                                      !json_is_string(json_object_get(property, "title")))
        fail_msg("%s: the form has no title for %s", connector->name, name);
    check_properties(connector, schema);
}

static void its_examples_are_valid(const struct connector *connector)
{
    json_t *config = plain_config(connector);
    assert_valid(connector, config);
    assert_int_equal(json_schema_defaults(registry_validator(connector), config), ERR_OK);
    assert_valid(connector, config);
    json_decref(config);
}

static void it_takes_the_options_of_every_source(const struct connector *connector)
{
    json_t *config = plain_config(connector);
    json_t *options =
        json_pack("{s:s, s:s, s:s, s:{s:s}, s:{s:s, s:i}, s:i, s:s}", "timestamp_field", "t",
                  "sensor_id_field", "device", "dataset", "{source}_all", "columns", "serial",
                  "STRING", "dedupe_key", "field", "id", "window_seconds", 60, "max_message_bytes",
                  1000, "format", "auto");
    assert_non_null(options);
    json_object_update_new(config, options);
    assert_valid(connector, config);
    json_decref(config);
}

/* The trial of a configuration is one too. */
static void its_trial_is_valid(const struct connector *connector)
{
    json_t *config = plain_config(connector);
    if (connector->ops.trial) {
        assert_int_equal(connector->ops.trial(config), ERR_OK);
        assert_valid(connector, config);
    }
    json_decref(config);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void assert_refused(const struct connector *connector, const json_t *config,
                           const char *name)
{
    struct told told;
    struct diag diag = {0};
    char path[120];
    snprintf(path, sizeof(path), "/%s", name);
    if (validate(connector, config, &told) != ERR_INVALID)
        fail_msg("%s: a bad %s is taken", connector->name, name);
    if (strncmp(told.path, path, strlen(path)) != 0 || told.keyword[0] == '\0' ||
        !strstr(told.message, name))
        fail_msg("%s: of a bad %s it says \"%s\" (%s at %s)", connector->name, name, told.message,
                 told.keyword, told.path);
    /* A file's config comes to the connector itself: refused or not, it must bear it. */
    (void)!secrets_check(connector, config, &diag);
    const json_t *property = json_object_get(properties_of(connector), name);
    if (json_is_true(json_object_get(property, "writeOnly")) &&
        (strstr(told.message, MARKER) || strstr(diag.text, MARKER)))
        fail_msg("%s: the refusal of %s shows its value", connector->name, name);
}

static bool is_valid_by(const json_t *property, const json_t *value)
{
    struct json_schema *schema;
    assert_int_equal(json_schema_compile(property, &schema, NULL), ERR_OK);
    enum err err = json_schema_validate(schema, value, NULL, NULL);
    json_schema_free(schema);
    return err == ERR_OK;
}

static void a_bad_value_is_named(const struct connector *connector)
{
    json_t *bad = json_pack("[b, f, {s:s}, [s], s, I]", 1, -1.5, MARKER, MARKER, MARKER, "",
                            (json_int_t)INT64_MAX);
    const char *name;
    const json_t *property;
    json_object_foreach((json_t *)(uintptr_t)properties_of(connector), name, property)
    {
        size_t index;
        json_t *value;
        size_t refused = 0;
        json_array_foreach(bad, index, value)
        {
            if (is_valid_by(property, value))
                continue;
            json_t *config = plain_config(connector);
            json_object_set(config, name, value);
            assert_refused(connector, config, name);
            json_decref(config);
            refused++;
        }
        /* "body" of a request may be anything: nothing is asked of it */
        if (refused == 0 && json_object_get(property, "type"))
            fail_msg("%s: %s takes whatever it is given", connector->name, name);
    }
    json_decref(bad);
}

static void a_stranger_and_a_gap_are_named(const struct connector *connector)
{
    json_t *config = plain_config(connector);
    json_object_set_new(config, "conformance_test", json_true());
    assert_refused(connector, config, "conformance_test");
    json_decref(config);
    size_t index;
    const json_t *required;
    json_array_foreach(json_object_get(registry_schema(connector), "required"), index, required)
    {
        config = plain_config(connector);
        json_object_del(config, json_string_value(required));
        assert_refused(connector, config, json_string_value(required));
        json_decref(config);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static void it_starts_stops_and_starts_again(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    for (int i = 0; i < 5; i++) {
        source_start(source);
        wait_settled(source);
        json_t *health = source_health(source);
        assert_true(json_is_object(health));
        json_decref(health);
        stop(source);
    }
    source_free(source);
    service_end(&service);
    json_decref(config);
}

static void it_stops_while_it_connects(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    for (useconds_t i = 0; i < 60; i++) {
        source_start(source);
        usleep(i / 2 * 20);
        stop(source);
    }
    source_free(source);
    service_end(&service);
    json_decref(config);
}

/* Two instances share nothing: each has its own id and state, here even the same settings. */
static void two_run_at_once(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *one = source_of(&service, config);
    struct source *other = source_of(&service, config);
    source_start(one);
    source_start(other);
    wait_settled(one);
    wait_settled(other);
    stop(one);
    source_start(one);
    wait_settled(one);
    stop(other);
    stop(one);
    source_free(other);
    source_free(one);
    service_end(&service);
    json_decref(config);
}

static void it_stops_under_pressure(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    must_pause = true;
    source_start(source);
    wait_settled(source);
    stop(source);
    source_start(source);
    wait_settled(source);
    must_pause = false;
    stop(source);
    source_free(source);
    service_end(&service);
    json_decref(config);
}

static void it_can_be_forgotten(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    for (int i = 0; i < 3; i++) {
        struct source *source = source_of(&service, config);
        source_start(source);
        if (i > 0)
            wait_settled(source);
        source_forget(source);
        wait_stopped(source);
        source_free(source);
    }
    service_end(&service);
    json_decref(config);
}

static void memory_may_end_anywhere(const struct connector *connector)
{
    struct service service;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    bool ended = false;
    for (uint64_t k = 1; !ended && k < 400; k++) {
        mem_fail_at(k);
        source_start(source);
        wait_settled(source);
        stop(source);
        ended = !mem_failed();
        mem_fail_at(0);
    }
    source_free(source);
    service_end(&service);
    json_decref(config);
}

/* --- secrets ---------------------------------------------------------------------------------- */

/* Fills in every secret, and the objects around them. */
static bool secrets_put(json_t *config, const json_t *properties)
{
    bool any = false;
    const char *name;
    const json_t *property;
    json_object_foreach((json_t *)(uintptr_t)properties, name, property)
    {
        const json_t *inner = json_object_get(property, "properties");
        if (json_is_true(json_object_get(property, "writeOnly"))) {
            json_object_set_new(config, name, json_string(MARKER));
            any = true;
        } else if (inner) {
            json_t *object = json_object();
            size_t index;
            const json_t *required;
            json_array_foreach(json_object_get(property, "required"), index, required)
                json_object_set_new(object, json_string_value(required), json_string("x"));
            bool found = secrets_put(object, inner);
            any = any || found;
            if (found)
                json_object_set(config, name, object);
            json_decref(object);
        }
    }
    return any;
}

static void assert_no_marker(const struct connector *connector, const json_t *json,
                             const char *where)
{
    char *text = json_dumps(json, JSON_ENCODE_ANY);
    assert_non_null(text);
    if (strstr(text, MARKER))
        fail_msg("%s: a secret stands in %s: %s", connector->name, where, text);
    free(text);
}

static void secrets_stay_inside(const struct connector *connector)
{
    struct service service;
    json_t *masked;
    json_t *config = plain_config(connector);
    bool any = secrets_put(config, properties_of(connector));
    assert_int_equal(json_schema_mask(registry_validator(connector), config, &masked), ERR_OK);
    assert_no_marker(connector, masked, "what the API answers");
    char *text = json_dumps(masked, 0);
    assert_int_equal(strstr(text, "********") != NULL, any);
    free(text);
    json_decref(masked);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    source_start(source);
    struct source_status status = wait_settled(source);
    json_t *health = source_health(source);
    assert_no_marker(connector, health, "its health");
    json_decref(health);
    if (strstr(status.last_error, MARKER) || strstr(status.warning, MARKER))
        fail_msg("%s: its error shows a secret", connector->name);
    stop(source);
    source_free(source);
    service_end(&service);
    json_decref(config);
}

/* --- pushes ----------------------------------------------------------------------------------- */

#define PUSHES 20
static _Atomic unsigned answered;
static _Atomic unsigned odd; /* answers with no status of HTTP */

static void on_push_done(struct connector_push *push)
{
    odd += push->status < 200 || push->status > 599;
    answered++;
}

/* Each once, also those that the stop overtakes. */
static void every_push_is_answered(const struct connector *connector)
{
    static struct connector_push pushes[PUSHES];
    struct service service;
    if (!connector->ops.push)
        return;
    json_t *config = plain_config(connector);
    service_begin(&service, connector);
    struct source *source = source_of(&service, config);
    source_start(source);
    wait_settled(source);
    answered = odd = 0;
    for (unsigned i = 0; i < PUSHES; i++) {
        pushes[i] =
            (struct connector_push){.body = i % 2 ? BYTES_LITERAL("{\"v\":1}") : BYTES_LITERAL("]"),
                                    .content_type = "application/json",
                                    .remote = "127.0.0.1",
                                    .arrival_us = clock_realtime_us(&clock_system),
                                    .done = on_push_done};
        source_push(source, &pushes[i]);
    }
    stop(source);
    source_free(source);
    service_end(&service);
    assert_int_equal(answered, PUSHES);
    assert_int_equal(odd, 0);
    json_decref(config);
}

/* --- all of it for each ----------------------------------------------------------------------- */

#define EACH(rule)                                                                                 \
    static void test_##rule(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        assert_true(registry_count() > 0);                                                         \
        for (size_t i = 0; i < registry_count(); i++)                                              \
            rule(registry_at(i));                                                                  \
    }

EACH(it_can_be_shown)
EACH(its_examples_are_valid)
EACH(it_takes_the_options_of_every_source)
EACH(its_trial_is_valid)
EACH(a_bad_value_is_named)
EACH(a_stranger_and_a_gap_are_named)
EACH(it_starts_stops_and_starts_again)
EACH(it_stops_while_it_connects)
EACH(two_run_at_once)
EACH(it_stops_under_pressure)
EACH(it_can_be_forgotten)
EACH(memory_may_end_anywhere)
EACH(secrets_stay_inside)
EACH(every_push_is_answered)

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
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
        cmocka_unit_test(test_it_can_be_shown),
        cmocka_unit_test(test_its_examples_are_valid),
        cmocka_unit_test(test_it_takes_the_options_of_every_source),
        cmocka_unit_test(test_its_trial_is_valid),
        cmocka_unit_test(test_a_bad_value_is_named),
        cmocka_unit_test(test_a_stranger_and_a_gap_are_named),
        cmocka_unit_test(test_it_starts_stops_and_starts_again),
        cmocka_unit_test(test_it_stops_while_it_connects),
        cmocka_unit_test(test_two_run_at_once),
        cmocka_unit_test(test_it_stops_under_pressure),
        cmocka_unit_test(test_it_can_be_forgotten),
        cmocka_unit_test(test_memory_may_end_anywhere),
        cmocka_unit_test(test_secrets_stay_inside),
        cmocka_unit_test(test_every_push_is_answered),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
