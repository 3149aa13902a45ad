#include "connectors/mqtt/mqtt_config.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static enum err read_config(const char *text, struct mqtt_config *config, struct diag *diag)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    *diag = (struct diag){0};
    enum err err = mqtt_config_init(config, json, diag);
    json_decref(json);
    return err;
}

static void assert_refused(const char *text, enum err expected, const char *word)
{
    struct mqtt_config config;
    struct diag diag;
    assert_int_equal(read_config(text, &config, &diag), expected);
    if (!strstr(diag.text, word))
        fail_msg("\"%s\" lacks \"%s\"", diag.text, word);
    mqtt_config_fini(&config);
}

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct mqtt_config config;
    struct diag diag;
    unsetenv("MQTT_SHARED_GROUP");
    assert_int_equal(
        read_config("{\"broker\":\"b\",\"topics\":\"a/#\",\"from_the_seed\":1}", &config, &diag),
        ERR_OK);
    assert_int_equal(config.port, 1883);
    assert_int_equal(config.qos, 1);
    assert_int_equal(config.version, MQTT_VERSION_5);
    assert_int_equal(config.session_expiry_seconds, 3600);
    assert_int_equal(config.keep_alive_seconds, 60);
    assert_int_equal(config.receive_maximum, 65535);
    assert_int_equal(config.connections, 1);
    assert_int_equal(config.common.message_max_bytes, 16 * MIB);
    assert_false(config.clean_start);
    assert_string_equal(config.shared_group, "ingestor-group");
    assert_true(bytes_equal_text(config.filters[0], "$share/ingestor-group/a/#"));
    mqtt_config_fini(&config);

    setenv("MQTT_SHARED_GROUP", "team", 1);
    assert_int_equal(
        read_config("{\"broker\":\"[::1]\",\"topics\":[\"a\",\"$share/x/b\"]}", &config, &diag),
        ERR_OK);
    unsetenv("MQTT_SHARED_GROUP");
    assert_string_equal(config.host, "::1");
    assert_true(bytes_equal_text(config.filters[0], "$share/team/a"));
    assert_true(bytes_equal_text(config.filters[1], "$share/x/b"));
    mqtt_config_fini(&config);

    assert_int_equal(read_config("{\"broker\":\"b\",\"topics\":[\"a\"],\"use_shared_subscription\""
                                 ":false,\"protocol_version\":\"3.1.1\",\"tls\":{\"enabled\":false}"
                                 ",\"username\":null}",
                                 &config, &diag),
                     ERR_OK);
    assert_null(config.shared_group);
    assert_int_equal(config.version, MQTT_VERSION_3_1_1);
    assert_true(bytes_equal_text(config.filters[0], "a"));
    mqtt_config_fini(&config);
}

/* Of what a user writes now. */
static void assert_overlap(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    struct diag diag = {0};
    assert_int_equal(mqtt_config_check(json, &diag), ERR_INVALID);
    assert_non_null(strstr(diag.text, "overlap"));
    json_decref(json);
}

/* Of an old database's source. */
static void assert_filters(const char *text, size_t count, const char *const *filters)
{
    struct mqtt_config config;
    struct diag diag;
    assert_int_equal(read_config(text, &config, &diag), ERR_OK);
    assert_int_equal(config.topic_count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(bytes_equal_text(config.filters[i], filters[i]));
    mqtt_config_fini(&config);
}

static void overlapping_topics_are_refused_and_old_ones_left_out(void **state)
{
    (void)state;
#define TOPICS(list) "{\"broker\":\"b\",\"shared_group\":\"g\",\"topics\":[" list "]}"
    static const char *const one[] = {"$share/g/a/#"};
    static const char *const two[] = {"$share/g/c", "$share/g/+/b"};
    static const char *const both[] = {"$share/g/+/b", "$share/g/a/+"};
    static const char *const groups[] = {"$share/x/a/+", "$share/g/a/b"};
    assert_overlap(TOPICS("\"a/#\",\"a/b\""));
    assert_overlap(TOPICS("\"$share/x/a/+\",\"a/b\""));
    assert_overlap(TOPICS("\"a\",\"a\""));
    assert_filters(TOPICS("\"a/#\",\"a/b\",\"a/#\",\"$share/g/a/c\""), 1, one);
    assert_filters(TOPICS("\"a/b\",\"c\",\"d/b\",\"+/b\""), 2, two);
    assert_filters(TOPICS("\"+/b\",\"a/+\""), 2, both);
    assert_filters(TOPICS("\"$share/x/a/+\",\"a/b\""), 2, groups);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
#define WITH(members) "{\"broker\":\"b\",\"topics\":[\"a\"]," members "}"
    assert_refused("[]", ERR_INVALID, "JSON object");
    assert_refused("{\"topics\":\"a\"}", ERR_INVALID, "broker is missing");
    assert_refused("{\"broker\":\"mqtt://x\",\"topics\":\"a\"}", ERR_INVALID, "scheme");
    assert_refused("{\"broker\":7,\"topics\":\"a\"}", ERR_INVALID, "broker");
    assert_refused("{\"broker\":\"u:p@h\",\"topics\":\"a\"}", ERR_INVALID, "without '@'");
    assert_refused("{\"broker\":\"mqtt://u:p@h\",\"topics\":\"a\"}", ERR_INVALID, "without '@'");
    assert_refused("{\"broker\":\"b\"}", ERR_INVALID, "topics");
    assert_refused("{\"broker\":\"b\",\"topics\":[]}", ERR_INVALID, "topics");
    assert_refused("{\"broker\":\"b\",\"topics\":[1]}", ERR_INVALID, "topic filter");
    assert_refused("{\"broker\":\"b\",\"topics\":[\"a/#/b\"]}", ERR_INVALID, "a/#/b");
    assert_refused(WITH("\"port\":0"), ERR_INVALID, "port must be a whole number from 1 to 65535");
    assert_refused(WITH("\"port\":\"1883\""), ERR_INVALID, "\"1883\"");
    assert_refused(WITH("\"qos\":3"), ERR_INVALID, "qos");
    assert_refused(WITH("\"protocol_version\":4"), ERR_INVALID, "protocol_version");
    assert_refused(WITH("\"shared_group\":\"a/b\""), ERR_INVALID, "shared_group");
    assert_refused(WITH("\"clean_start\":1"), ERR_INVALID, "clean_start must be true or false");
    assert_refused(WITH("\"connections\":2,\"use_shared_subscription\":false"), ERR_INVALID,
                   "shared subscription");
    assert_refused(WITH("\"connections\":17"), ERR_INVALID, "connections");
    assert_refused(WITH("\"max_message_bytes\":99999999999"), ERR_INVALID, "max_message_bytes");
    assert_refused(WITH("\"dataset\":\"x\",\"dataset_levels\":1"), ERR_INVALID, "exclude");
    assert_refused(WITH("\"dataset\":\"{nope}\""), ERR_INVALID, "dataset");
    assert_refused(WITH("\"dataset\":\"{topic[}\""), ERR_INVALID, "dataset");
    assert_refused(WITH("\"dataset\":\"{topic[]}\""), ERR_INVALID, "dataset");
    assert_refused(WITH("\"dataset\":\"{topic[1000]}\""), ERR_INVALID, "dataset");
    assert_refused(WITH("\"dataset\":\"{topic[1]x}\""), ERR_INVALID, "dataset");
    assert_refused(WITH("\"format\":\"xml\""), ERR_INVALID, "format");
    assert_refused(WITH("\"protocol_version\":\"3.1.1\",\"password\":\"x\""), ERR_INVALID,
                   "username");
}

static void tls_is_read(void **state)
{
    (void)state;
    struct mqtt_config config;
    struct diag diag = {0};
    assert_int_equal(read_config(WITH("\"tls\":{\"ca_file\":\"/ca\",\"cert_file\":\"/c\","
                                      "\"key_file\":\"/k\",\"server_name\":\"n\"}"),
                                 &config, &diag),
                     ERR_OK);
    assert_true(config.tls_enabled);
    assert_true(config.tls.verify);
    assert_int_equal(config.port, 8883);
    assert_string_equal(config.tls.ca_file, "/ca");
    assert_string_equal(config.tls.cert_file, "/c");
    assert_string_equal(config.tls.key_file, "/k");
    assert_string_equal(config.tls.server_name, "n");
    mqtt_config_fini(&config);
    assert_int_equal(
        read_config(WITH("\"port\":1,\"tls\":{\"verify\":false,\"ca_file\":null}"), &config, &diag),
        ERR_OK);
    assert_int_equal(config.port, 1);
    assert_false(config.tls.verify);
    assert_null(config.tls.ca_file);
    mqtt_config_fini(&config);
    assert_int_equal(read_config(WITH("\"tls\":{\"enabled\":false}"), &config, &diag), ERR_OK);
    assert_false(config.tls_enabled);
    assert_int_equal(config.port, 1883);
    mqtt_config_fini(&config);
    assert_refused(WITH("\"tls\":7"), ERR_INVALID, "tls must be an object");
    assert_refused(WITH("\"tls\":{\"verify\":1}"), ERR_INVALID, "tls.verify must be true or false");
    assert_refused(WITH("\"tls\":{\"ca_file\":\"\"}"), ERR_INVALID, "tls.ca_file");
    assert_refused(WITH("\"tls\":{\"key_file\":\"/k\"}"), ERR_INVALID, "needs tls.cert_file");
}

static void websocket_is_read(void **state)
{
    (void)state;
    struct mqtt_config config;
    struct diag diag = {0};
    assert_int_equal(read_config(WITH("\"websocket\":\"/mqtt?token=a%20b\""), &config, &diag),
                     ERR_OK);
    assert_string_equal(config.websocket, "/mqtt?token=a%20b");
    assert_int_equal(config.port, 1883);
    mqtt_config_fini(&config);
    assert_refused(WITH("\"websocket\":\"mqtt\""), ERR_INVALID, "websocket must be a path");
    assert_refused(WITH("\"websocket\":\"/a b\""), ERR_INVALID, "websocket");
    assert_refused(WITH("\"websocket\":\"/a\\r\\nHost: x\""), ERR_INVALID, "websocket");
    assert_refused(WITH("\"websocket\":true"), ERR_INVALID, "websocket");
}

static void secrets_do_not_show(void **state)
{
    (void)state;
    struct mqtt_config config;
    struct diag diag;
    assert_int_equal(
        read_config(WITH("\"username\":\"u\",\"password\":\"sec\\u0000ret\""), &config, &diag),
        ERR_INVALID);
    assert_null(strstr(diag.text, "sec"));
    mqtt_config_fini(&config);
}

static void client_ids_are_stable_and_differ(void **state)
{
    (void)state;
    struct mqtt_config config = {0};
    char first[MQTT_CLIENT_ID_BYTES];
    char other[MQTT_CLIENT_ID_BYTES];
    assert_int_equal(mqtt_config_client_id(&config, "r1", "s1", 0, first, sizeof(first)), ERR_OK);
    assert_int_equal(
        strspn(first, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), 23);
    assert_int_equal(mqtt_config_client_id(&config, "r1", "s1", 0, other, sizeof(other)), ERR_OK);
    assert_string_equal(first, other);
    const char *names[][2] = {{"r2", "s1"}, {"r1", "s2"}, {"r1", "s1"}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            mqtt_config_client_id(&config, names[i][0], names[i][1], i == 2, other, sizeof(other)),
            ERR_OK);
        assert_string_not_equal(first, other);
    }
    config.client_id = "mine";
    assert_int_equal(mqtt_config_client_id(&config, "r", "s", 0, other, sizeof(other)), ERR_OK);
    assert_string_equal(other, "mine");
    assert_int_equal(mqtt_config_client_id(&config, "r", "s", 2, other, sizeof(other)), ERR_OK);
    assert_string_equal(other, "mine-2");
    assert_int_equal(mqtt_config_client_id(&config, "r", "s", 2, other, 3), ERR_TOO_LARGE);
}

static void the_schema_is_json_and_knows_every_option(void **state)
{
    (void)state;
    json_error_t error;
    json_t *schema = json_loads(mqtt_config_schema, JSON_REJECT_DUPLICATES, &error);
    if (!schema)
        fail_msg("%s at %d", error.text, error.position);
    const json_t *properties = json_object_get(schema, "properties");
    assert_int_equal(json_object_size(properties), 23);
    assert_true(
        json_is_true(json_object_get(json_object_get(properties, "password"), "writeOnly")));
    json_decref(schema);
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    static const char text[] = WITH("\"username\":\"u\",\"dataset\":\"{source}\"");
    for (uint64_t k = 1;; k++) {
        struct mqtt_config config;
        struct diag diag = {0};
        json_t *json = json_loads(text, 0, NULL);
        mem_fail_at(k);
        enum err err = mqtt_config_init(&config, json, &diag);
        int was_reached = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, was_reached ? ERR_NO_MEMORY : ERR_OK);
        mqtt_config_fini(&config);
        json_decref(json);
        if (!was_reached)
            break;
    }
}

static void assert_check(const char *text, const char *word)
{
    struct diag diag = {0};
    json_t *json = json_loads(text, 0, NULL);
    enum err err = mqtt_config_check(json, &diag);
    json_decref(json);
    assert_int_equal(err, word ? ERR_INVALID : ERR_OK);
    if (word && !strstr(diag.text, word))
        fail_msg("\"%s\" is not in: %s", word, diag.text);
}

static void check_knows_what_the_schema_has(void **state)
{
    (void)state;
    json_t *schema = json_loads(mqtt_config_schema, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(schema, "properties"), key, value)
    {
        struct diag diag = {0};
        json_t *json = json_object();
        json_object_set_new(json, key, json_null());
        assert_int_not_equal(mqtt_config_check(json, &diag), ERR_OK); /* broker is missing */
        assert_null(strstr(diag.text, "unknown"));
        json_decref(json);
    }
    json_decref(schema);
}

static void an_unknown_key_is_named_with_the_nearest(void **state)
{
    (void)state;
    assert_check("{\"broker\":\"b\",\"topics\":\"t\",\"qos\":1}", NULL);
    assert_check("{\"broker\":\"b\",\"topic\":\"t\"}", "\"topic\"; did you mean \"topics\"?");
    assert_check("{\"broker\":\"b\",\"topics\":\"t\",\"user-name\":\"u\"}",
                 "did you mean \"username\"?");
    assert_check("{\"broker\":\"b\",\"topics\":\"t\",\"zzzzzzzz\":1}", "unknown key \"zzzzzzzz\"");
    assert_check("{\"broker\":\"b\",\"topics\":\"t\",\"tls\":{\"cafile\":\"/k\"}}",
                 "tls: unknown key \"cafile\"");
}

static void a_dataset_of_a_template_is_cut_between_characters(void **state)
{
    (void)state;
    struct mqtt_config config;
    struct diag diag;
    assert_int_equal(read_config("{\"broker\":\"b\",\"topics\":\"t/#\",\"dataset\":\"{topic[1]}\"}",
                                 &config, &diag),
                     ERR_OK);
    for (size_t shift = 0; shift < 2; shift++) {
        struct buf topic;
        struct buf id;
        buf_init(&topic, 1000);
        buf_init(&id, 1000);
        buf_append(&topic, "t/a", 2 + shift);
        while (topic.size < 300)
            buf_text(&topic, "\xc3\xa4");
        assert_int_equal(common_options_dataset_id(&config.common, "s", buf_bytes(&topic), &id),
                         ERR_OK);
        assert_true(utf8_valid(buf_bytes(&id)));
        assert_in_range(id.size, 199, 200);
        buf_fini(&topic);
        buf_fini(&id);
    }
    mqtt_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(overlapping_topics_are_refused_and_old_ones_left_out),
        cmocka_unit_test(tls_is_read),
        cmocka_unit_test(websocket_is_read),
        cmocka_unit_test(secrets_do_not_show),
        cmocka_unit_test(client_ids_are_stable_and_differ),
        cmocka_unit_test(the_schema_is_json_and_knows_every_option),
        cmocka_unit_test(every_failed_allocation_is_told),
        cmocka_unit_test(check_knows_what_the_schema_has),
        cmocka_unit_test(an_unknown_key_is_named_with_the_nearest),
        cmocka_unit_test(a_dataset_of_a_template_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
