#include "app/config.h"
#include "app/config_print.h"
#include "app/config_table.h"
#include "base/alloc.h"
#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A file system that holds one file, ./ingestor.yaml. */
static const char *file_text;

static enum err fake_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                          struct diag *diag)
{
    (void)ctx, (void)flags;
    *ret_file = NULL;
    if (!file_text || !strstr(path, "ingestor.yaml"))
        return diag_set(diag, ERR_NOT_FOUND, "%s: not found", path);
    return ERR_OK;
}

static enum err fake_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                          size_t size, size_t *ret_size, struct diag *diag)
{
    (void)ctx, (void)file, (void)offset, (void)diag;
    *ret_size = strlen(file_text) < size ? strlen(file_text) : size;
    memcpy(buffer, file_text, *ret_size);
    return ERR_OK;
}

static const struct fs_ops fake_ops = {.open = fake_open, .read = fake_read};
static const struct fs fake_fs = {.ops = &fake_ops};

struct world {
    const char *yaml;
    const char *environment[8];
    struct config_option options[8];
    const char *path;
};

static enum err load(const struct world *world, struct config **ret_config, struct buf *problems)
{
    struct config_input input = {
        .fs = &fake_fs,
        .path = world->path,
        .environment = world->environment,
        .options = world->options,
        .machine_memory_bytes = 8 * GIB,
    };
    while (world->options[input.option_count].name)
        input.option_count++;
    file_text = world->yaml;
    return config_load(&input, ret_config, problems);
}

static struct config *good(const struct world *world)
{
    struct config *config;
    struct buf problems;
    buf_init(&problems, 65536);
    enum err err = load(world, &config, &problems);
    if (err)
        fail_msg("%s: %s", err_text(err), buf_cstr(&problems));
    assert_int_equal(problems.size, 0);
    buf_fini(&problems);
    return config;
}

static void bad(const struct world *world, const char *sentence)
{
    struct config *config;
    struct buf problems;
    buf_init(&problems, 65536);
    assert_int_equal(load(world, &config, &problems), ERR_INVALID);
    assert_null(config);
    if (!strstr(buf_cstr(&problems), sentence))
        fail_msg("\"%s\" lacks \"%s\"", buf_cstr(&problems), sentence);
    buf_fini(&problems);
}

static void bad_environment(const char *entry, const char *sentence)
{
    struct world world = {.environment = {entry}};
    bad(&world, sentence);
}

static void bad_yaml(const char *yaml, const char *sentence)
{
    struct world world = {.yaml = yaml};
    bad(&world, sentence);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = good(&(struct world){0});
    assert_string_equal(config->host, "127.0.0.1");
    assert_int_equal(config->port, 8001);
    assert_true(config->auto_register);
    assert_string_equal(config->mqtt_broker, "localhost");
    assert_int_equal(config->mqtt_topics.count, 1);
    assert_string_equal(config->mqtt_topics.items[0], "smartcity/sensors/#");
    assert_int_equal(config->store_kind, CONFIG_STORE_FOLDER);
    assert_string_equal(config->store_folder, "./data/lake");
    assert_null(config->store_endpoint);
    assert_string_equal(config->database_path, "./ingestor.db");
    assert_int_equal(config->flush_interval_seconds, 10);
    assert_int_equal(config->flush_max_bytes, 64 * MIB);
    assert_int_equal(config->partition_by, PARTITION_BY_EVENT);
    assert_int_equal(config->parquet_codec, PARQUET_ZSTD);
    assert_int_equal(config->journal_max_bytes, 10 * GIB);
    assert_int_equal(config->journal_sync, JOURNAL_SYNC_ALWAYS);
    assert_int_equal(config->memory_limit_bytes, 4 * GIB);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_string_equal(config->pod, "unknown");
    assert_string_equal(config->pod_namespace, "default");
    assert_int_equal(json_array_size(config->sources), 0);
    assert_null(config->path);
    config_free(config);
}

static void test_precedence(void **state)
{
    (void)state;
    struct world world = {
        .yaml = "mqtt_port: 1\nport: 2\nbuffer_max_rows: 3\n",
        .environment = {"MQTT_PORT=11", "PORT=12"},
        .options = {{"mqtt-port", "21"}},
    };
    struct config *config = good(&world);
    assert_int_equal(config->mqtt_port, 21);
    assert_int_equal(config->port, 12);
    assert_int_equal(config->buffer_max_rows, 3);
    assert_int_equal(config->origins[config_table_find("MQTT_PORT")], CONFIG_FROM_COMMAND_LINE);
    assert_int_equal(config->origins[config_table_find("PORT")], CONFIG_FROM_ENVIRONMENT);
    assert_int_equal(config->origins[config_table_find("BUFFER_MAX_ROWS")], CONFIG_FROM_FILE);
    assert_int_equal(config->lines[config_table_find("BUFFER_MAX_ROWS")], 3);
    assert_int_equal(config->origins[config_table_find("HOST")], CONFIG_FROM_DEFAULT);
    config_free(config);
}

static void test_file(void **state)
{
    (void)state;
    struct config *config = good(&(struct world){
        .yaml = "# all kinds\nauto_register: false\nmqtt_topic:\n  - a/b\n  - c/#\n"
                "flush_max_bytes: 1 MiB\njournal_max_bytes: 268435456\nlog_level: debug\n"
                "cors_origins: https://a.example, https://b.example\njournal_sync: interval:50\n"});
    assert_false(config->auto_register);
    assert_int_equal(config->mqtt_topics.count, 2);
    assert_string_equal(config->mqtt_topics.items[1], "c/#");
    assert_int_equal(config->flush_max_bytes, MIB);
    assert_int_equal(config->journal_max_bytes, 256 * MIB);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(config->cors_origins.items[1], "https://b.example");
    assert_int_equal(config->journal_sync, JOURNAL_SYNC_INTERVAL);
    assert_int_equal(config->journal_sync_interval_ms, 50);
    assert_string_equal(config->path, "./ingestor.yaml");
    config_free(config);
    config_free(good(&(struct world){.yaml = "---\n# only this\n"}));
    config_free(good(&(struct world){.yaml = "sources:\n"}));
    struct world missing = {.path = "/none.yaml", .yaml = "port: 1"};
    bad(&missing, "/none.yaml");
}

static void test_bad_file(void **state)
{
    (void)state;
    bad_yaml("mqtt_brocker: x\n",
             "line 1: unknown key \"mqtt_brocker\"; did you mean \"mqtt_broker\"?");
    bad_yaml("MQTT-PORT: 1\n", "did you mean \"mqtt_port\"?");
    bad_yaml("Mqtt_Port: 1\n", "did you mean \"mqtt_port\"?");
    bad_yaml("MQTT_PORT: 1\nmqtt_port: 1\n", "line 2: mqtt_port is there twice, once as MQTT_PORT");
    bad_yaml("port: 1\nPORT: 1\n", "line 2: PORT is there twice, once as port");
    bad_yaml("PORT: abc\n",
             "PORT: \"abc\" (./ingestor.yaml line 1) is not a whole number from 0 to 65535");
    bad_yaml("'': 1\n", "unknown key \"\"");
    bad_yaml("zzzz: 1\n", "unknown key \"zzzz\"");
    bad_yaml("\nport: abc\n",
             "port: \"abc\" (./ingestor.yaml line 2) is not a whole number from 0 to 65535");
    bad_yaml("port: 1.5\n", "port: \"1.5\" (./ingestor.yaml line 1) is not a whole number");
    bad_yaml("port: [1]\n", "\"a list\"");
    bad_yaml("port: {a: 1}\n", "\"a mapping\"");
    bad_yaml("port: true\n", "\"true\"");
    bad_yaml("port:\n", "\"nothing\"");
    bad_yaml("port: 70000\n", "\"70000\"");
    bad_yaml("port: -1\n", "\"-1\"");
    bad_yaml("port: 0080x\n", "\"0080x\"");
    bad_yaml("minio_secret_key: 12345678\n", "write it in quotes");
    bad_yaml("mqtt_topic: [1]\n", "not a text");
    bad_yaml("mqtt_topic: []\n", "1 to 256 items");
    bad_yaml("auto_register: maybe\n", "true or false");
    bad_yaml("log_level: LOUD\n", "one of DEBUG, INFO, WARNING, ERROR");
    bad_yaml("port: 1\nport: 2\n", "line 2: the key \"port\" is there twice");
    bad_yaml("- port\n", "is not a mapping");
    bad_yaml("port: [\n", "./ingestor.yaml: line");
}

static void test_bad_values(void **state)
{
    (void)state;
    bad_environment("PORT=65536", "PORT: \"65536\" (the environment) is not a whole number from 0 "
                                  "to 65535");
    bad_environment("MQTT_PORT=0", "from 1 to 65535");
    bad_environment("MQTT_PORT= 1", "MQTT_PORT");
    bad_environment("MQTT_PORT=1e3", "MQTT_PORT");
    bad_environment("MQTT_PORT=99999999999999999999999", "MQTT_PORT");
    bad_environment("FLUSH_MAX_BYTES=1", "size from 64KiB to 1GiB");
    bad_environment("FLUSH_MAX_BYTES=64XB", "size from");
    bad_environment("JOURNAL_MAX_BYTES=99999999999GiB", "size from");
    bad_environment("AUTO_REGISTER=maybe", "true or false");
    bad_environment("PARTITION_BY=colour", "one of event, arrival");
    bad_environment("PARQUET_COMPRESSION=lz4", "zstd");
    bad_environment("JOURNAL_SYNC=interval:", "interval:<1 to 60000 ms>");
    bad_environment("JOURNAL_SYNC=interval:0", "always");
    bad_environment("JOURNAL_SYNC=interval:60001", "always");
    bad_environment("JOURNAL_SYNC=sometimes", "off");
    bad_environment("MQTT_TOPIC=a/#/b", "# must be the whole last level");
    bad_environment("MQTT_TOPIC=a#", "#");
    bad_environment("MQTT_TOPIC=a/b+", "+ must be");
    bad_environment("MQTT_TOPIC=a,,b", "empty item");
    bad_environment("MQTT_SHARED_GROUP=a/b", "group name");
    bad_environment("MQTT_BROKER=mqtt://x", "not a host name");
    bad_environment("HOST=a b", "not a host name");
    bad_environment("POD_NAME=a\nb", "control character");
    bad_environment("INGESTOR_DATABASE_URL=postgresql://u:geheim@h:db/db", "of the form");
    bad_environment("INGESTOR_DATABASE_URL=mysql://u:geheim@h/db", "not supported, only");
    bad_environment("INGESTOR_DATABASE_URL=sqlite://x", "sqlite:///relative/path");
    bad_environment("INGESTOR_DATABASE_URL=sqlite:///:memory:", "sqlite:///relative/path");
    bad(&(struct world){.options = {{"mqtt-prot", "1"}}}, "did you mean \"mqtt-port\"?");
}

static void test_several_problems(void **state)
{
    (void)state;
    struct world world = {.yaml = "port: x\nlog_level: y\n", .environment = {"MQTT_PORT=z"}};
    bad(&world, "port: \"x\"");
    bad(&world, "log_level: \"y\"");
    bad(&world, "MQTT_PORT: \"z\"");
}

static void test_secrets_stay_secret(void **state)
{
    (void)state;
    char entry[5000] = "MINIO_SECRET_KEY=geheim";
    memset(entry + 23, 'x', 4900);
    struct world world = {.environment = {entry}};
    bad(&world, "MINIO_SECRET_KEY: \"********\"");
    world = (struct world){
        .environment = {"MINIO_SECRET_KEY=geheim", "MINIO_ENDPOINT=h:1",
                        "INGESTOR_DATABASE_URL=postgresql://u:geheim@h/db"},
        .yaml = "sources:\n- {name: a, type_name: mqtt, config: {broker: h, topics: t, "
                "password: geheim, tls: {enabled: false}, client_id: "
                "'${env:SECRET}'}}\n"
                "- {name: b, type_name: mqtt, config: {broker: h, topics: t, "
                "password: '${file:/run/x}'}}\n"};
    struct config *config = good(&world);
    assert_string_equal(config->minio_secret_key, "geheim");
    for (int json = 0; json <= 1; json++) {
        struct buf out;
        buf_init(&out, MIB);
        assert_int_equal(json ? config_print_json(config, &out) : config_print_table(config, &out),
                         ERR_OK);
        const char *text = buf_cstr(&out);
        assert_null(strstr(text, "geheim"));
        assert_non_null(strstr(text, "********"));
        assert_non_null(strstr(text, "${file:/run/x}"));
        assert_non_null(strstr(text, "postgresql://u:********@h/db"));
        assert_non_null(strstr(text, "environment"));
        buf_fini(&out);
    }
    config_free(config);
}

static void expect_store(const char *const *environment, const char *bucket, const char *endpoint,
                         const char *folder)
{
    struct world world = {0};
    for (int i = 0; environment[i]; i++)
        world.environment[i] = environment[i];
    struct config *config = good(&world);
    assert_int_equal(config->store_kind, folder ? CONFIG_STORE_FOLDER : CONFIG_STORE_S3);
    if (folder) {
        assert_string_equal(config->store_folder, folder);
        assert_null(config->store_bucket);
    } else {
        assert_string_equal(config->store_bucket, bucket);
        assert_string_equal(config->store_endpoint, endpoint);
    }
    config_free(config);
}

#define ENVIRONMENT(...)                                                                           \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void test_store(void **state)
{
    (void)state;
    expect_store(ENVIRONMENT("MINIO_ENDPOINT=minio:9000"), "lake", "http://minio:9000", NULL);
    expect_store(ENVIRONMENT("MINIO_ENDPOINT=http://minio:9000/"), "lake", "http://minio:9000",
                 NULL);
    expect_store(ENVIRONMENT("MINIO_ENDPOINT=https://s", "MINIO_BUCKET=other"), "other",
                 "https://s", NULL);
    expect_store(ENVIRONMENT("MINIO_ENDPOINT=[::1]:9000", "OBJECT_STORE_URL=s3://b-1/"), "b-1",
                 "http://[::1]:9000", NULL);
    expect_store(ENVIRONMENT("OBJECT_STORE_URL=s3://buck", "MINIO_ACCESS_KEY=a",
                             "MINIO_SECRET_KEY=b", "AWS_REGION=eu-west-1"),
                 "buck", "https://s3.eu-west-1.amazonaws.com", NULL);
    expect_store(ENVIRONMENT("OBJECT_STORE_URL=file:///srv/lake", "MINIO_ENDPOINT=h"), NULL, NULL,
                 "/srv/lake");
    expect_store(ENVIRONMENT("OBJECT_STORE_URL=", "MINIO_ENDPOINT="), NULL, NULL, "./data/lake");
}

static void test_bad_store(void **state)
{
    (void)state;
    bad_environment("OBJECT_STORE_URL=gs://x", "neither s3://bucket nor file://dir");
    bad_environment("OBJECT_STORE_URL=/data/lake", "neither s3://bucket nor file://dir");
    bad_environment("OBJECT_STORE_URL=file://", "names no folder");
    bad_environment("OBJECT_STORE_URL=s3://", "bucket");
    bad_environment("OBJECT_STORE_URL=s3://bucket/prefix", "not supported");
    bad_environment("OBJECT_STORE_URL=s3://bucket", "is Amazon S3");
    bad_environment("MINIO_ENDPOINT=ftp://h", "http://host:port");
    bad_environment("MINIO_ENDPOINT=http://", "http://host:port");
    bad_environment("MINIO_ENDPOINT=http://u:p@h", "MINIO_ENDPOINT");
    bad_environment("MINIO_ENDPOINT=http://h/path", "without a path");
    bad_environment("MINIO_ENDPOINT=h:0", "(port 1 to 65535)");
    bad_environment("MINIO_ENDPOINT=h:99999", "port");
    bad_environment("MINIO_ENDPOINT=[::1", "MINIO_ENDPOINT");
    bad_environment("MINIO_BUCKET=a", "bucket name");
    bad(&(struct world){.environment = {"OBJECT_STORE_URL=s3://one1", "MINIO_BUCKET=two2",
                                        "MINIO_ENDPOINT=h"}},
        "different buckets");
}

static void test_sources(void **state)
{
    (void)state;
    struct config *config = good(&(struct world){
        .yaml = "sources:\n"
                "  - name: roof\n    type_name: mqtt\n"
                "    config: {broker: b, topics: [a/#], qos: 1}\n"
                "  - {name: cellar, type_name: mqtt, config: {broker: b, topics: a}, "
                "enabled: false, created_by: me}\n"});
    assert_int_equal(json_array_size(config->sources), 2);
    const json_t *first = json_array_get(config->sources, 0);
    assert_true(json_is_true(json_object_get(first, "enabled")));
    assert_string_equal(json_string_value(json_object_get(first, "created_by")), "config");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "config"), "qos")),
                     1);
    assert_true(json_is_false(json_object_get(json_array_get(config->sources, 1), "enabled")));
    config_free(config);
}

static void test_bad_sources(void **state)
{
    (void)state;
    bad_yaml("sources: 5\n", "sources is not a list");
    bad_yaml("sources: [5]\n", "sources[0] is not a mapping");
    bad_yaml("sources: [{}]\n", "sources[0].name is missing");
    bad_yaml("sources: [{name: a, type_name: kafka, config: {}}]\n",
             "\"kafka\" is no type of source; there are \"coap\", \"http_push\", \"mqtt\"");
    bad_yaml("sources: [{name: a, type_name: rest_api, config: {}}]\n",
             "sources[0].config: url is missing");
    bad_yaml("sources: [{name: a, type_name: mqtt}]\n", "config is missing");
    bad_yaml("sources: [{name: a, type_name: mqtt, config: []}]\n", "config is not a mapping");
    bad_yaml("sources: [{name: a, type_name: mqtt, config: {broker: b}}]\n", "topics");
    bad_yaml("sources: [{name: a, type_name: mqtt, config: {broker: b, topics: a, qos: 7}}]\n",
             "sources[0].config: qos must be a whole number from 0 to 2, not 7");
    bad_yaml("sources: [{name: 5, type_name: mqtt, config: {}}]\n", "name is not a text");
    bad_yaml("sources: [{name: a, type_name: mqtt, config: {}, enabled: 1}]\n", "enabled is not");
    bad_yaml("sources: [{name: a, typename: mqtt, config: {}}]\n",
             "unknown key \"typename\"; did you mean \"type_name\"?");
    bad_yaml("sources:\n- &x {name: a, type_name: mqtt, config: {}}\n- *x\n",
             "sources[1] has the name and type of another one");
}

static void test_pod(void **state)
{
    (void)state;
    struct config *config = good(&(struct world){.environment = {"HOSTNAME=h", "POD_NAME="}});
    assert_string_equal(config->pod, "h");
    config_free(config);
    config = good(&(struct world){.environment = {"HOSTNAME=h", "POD_NAME=p", "POD_NAMESPACE=n"}});
    assert_string_equal(config->pod, "p");
    assert_string_equal(config->pod_namespace, "n");
    config_free(config);
}

/* Every default is a value that the table itself allows, and prints as it was written. */
static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_table_count; i++) {
        const struct config_variable *variable = &config_table[i];
        char option[CONFIG_NAME_BYTES_MAX];
        config_table_option(variable, option);
        assert_int_equal(config_table_find(option), i);
        assert_true(strlen(variable->name) < CONFIG_NAME_BYTES_MAX);
        assert_non_null(variable->help);
        if (*variable->fallback == '\0')
            continue;
        struct config config = {0};
        struct buf out;
        buf_init(&out, 8192);
        assert_int_equal(config_table_set(variable, &config, variable->fallback, NULL), ERR_OK);
        config_table_get(variable, &config, &out);
        assert_string_equal(buf_cstr(&out), variable->fallback);
        buf_fini(&out);
        config_table_free(&config);
    }
    assert_true(config_table_find("nothing") == SIZE_MAX);
}

/* docs/configuration.md holds the table as the program knows it. */
static void test_documentation(void **state)
{
    (void)state;
    const char *folder = getenv("INGESTOR_SOURCE_DIR");
    if (!folder)
        skip();
    char path[4096];
    snprintf(path, sizeof(path), "%s/docs/configuration.md", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 256 * KIB);
    assert_true(fread(text, 1, 256 * KIB - 1, file) > 0);
    fclose(file);
    struct buf table;
    buf_init(&table, 256 * KIB);
    assert_int_equal(config_print_markdown(&table), ERR_OK);
    if (!strstr(text, buf_cstr(&table)))
        fail_msg("docs/configuration.md does not hold this table:\n%s", buf_cstr(&table));
    buf_fini(&table);
    free(text);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct world world = {
        .yaml = "mqtt_topic: [a, b]\nsources:\n- {name: a, type_name: mqtt, "
                "config: {broker: b, topics: a}}\n",
        .environment = {"MINIO_ENDPOINT=h:1", "LOG_LEVEL=ERROR"},
        .options = {{"port", "1"}},
    };
    json_set_alloc_funcs(mem_alloc, mem_free);
    for (uint64_t k = 1;; k++) {
        struct config *config;
        struct buf problems;
        struct buf out;
        buf_init(&problems, 65536);
        buf_init(&out, MIB);
        mem_fail_at(k);
        enum err err = load(&world, &config, &problems);
        enum err print = ERR_OK;
        if (config && (print = config_print_table(config, &out)) == ERR_OK)
            print = config_print_json(config, &out);
        int failed = mem_failed();
        mem_fail_at(0);
        config_free(config);
        buf_fini(&problems);
        buf_fini(&out);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            assert_int_equal(print, ERR_OK);
            break;
        }
        assert_true(err != ERR_OK || print != ERR_OK);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_file),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_several_problems),
        cmocka_unit_test(test_secrets_stay_secret),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_bad_store),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_bad_sources),
        cmocka_unit_test(test_pod),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_documentation),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
