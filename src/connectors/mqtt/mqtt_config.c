#include "connectors/mqtt/mqtt_config.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "codec/mqtt_text.h"
#include "connectors/config_reader.h"

#include <stdio.h>
#include <stdlib.h>

struct reader {
    struct mqtt_config *config;
    struct config_reader members;
    bool is_strict; /* what a user writes now */
};

static void refuse(struct reader *reader, enum err err, const char *sentence)
{
    config_refuse(&reader->members, err, sentence);
}

static void refuse_member(struct reader *reader, const char *name, const char *allowed)
{
    config_refuse_member(&reader->members, name, allowed);
}

static const json_t *member(const struct reader *reader, const char *name)
{
    return config_member(&reader->members, name);
}

static const char *text_keep(struct reader *reader, const char *text, size_t size)
{
    return config_keep(&reader->members, text, size);
}

static const char *read_text(struct reader *reader, const char *name, size_t size_max)
{
    return config_text(&reader->members, name, size_max);
}

static uint64_t read_number(struct reader *reader, const char *name, uint64_t min, uint64_t max,
                            uint64_t otherwise)
{
    return config_number(&reader->members, name, min, max, otherwise);
}

static bool read_flag(struct reader *reader, const char *name, bool otherwise)
{
    return config_flag(&reader->members, name, otherwise);
}

static void read_broker(struct reader *reader)
{
    struct mqtt_config *config = reader->config;
    config->port = (uint16_t)read_number(reader, "port", 1, 65535,
                                         config->tls_enabled ? MQTT_PORT_TLS : MQTT_PORT);
    if (!member(reader, "broker"))
        refuse(reader, ERR_INVALID, "broker is missing: the host name or address of the broker");
    config->broker = config->host = read_text(reader, "broker", 255);
    if (!config->broker)
        return;
    if (strchr(config->broker, '@')) {
        refuse(reader, ERR_INVALID,
               "broker must be a host name or address, without '@': user name and password have "
               "options of their own");
        return;
    }
    if (strstr(config->broker, "://"))
        refuse_member(reader, "broker", "a host name or address without scheme (see port)");
    size_t size = strlen(config->broker);
    if (config->broker[0] == '[' && config->broker[size - 1] == ']')
        config->host = text_keep(reader, config->broker + 1, size - 2);
}

static void read_version(struct reader *reader)
{
    const json_t *value = member(reader, "protocol_version");
    const char *text = json_string_value(value);
    double number = json_number_value(value);
    reader->config->version = MQTT_VERSION_5;
    if (!value || (text && strcmp(text, "5") == 0) || (json_is_number(value) && number == 5))
        return;
    reader->config->version = MQTT_VERSION_3_1_1;
    bool is_old = (text && strcmp(text, "3.1.1") == 0) || (number > 3.05 && number < 3.15);
    if (!is_old)
        refuse_member(reader, "protocol_version", "5 or \"3.1.1\"");
}

static void read_group(struct reader *reader)
{
    struct mqtt_config *config = reader->config;
    config->use_shared_subscription = read_flag(reader, "use_shared_subscription", true);
    const char *group = read_text(reader, "shared_group", 1000);
    const char *from_environment = getenv("MQTT_SHARED_GROUP");
    if (!config->use_shared_subscription)
        return;
    if (!group && from_environment && from_environment[0])
        group = text_keep(reader, from_environment, strlen(from_environment));
    if (!group)
        group = MQTT_SHARED_GROUP_DEFAULT;
    if (strpbrk(group, "/+#") || !mqtt_text_valid(bytes_from_text(group)))
        refuse(reader, ERR_INVALID, "shared_group must be a text without / + #");
    config->shared_group = group;
}

/* Before or after the first $share/…/, whichever there is. */
static struct bytes filter_plain(struct bytes filter)
{
    struct bytes group;
    struct bytes plain;
    return mqtt_filter_shared(filter, &group, &plain) ? plain : filter;
}

static struct bytes filter_make(struct reader *reader, struct bytes topic)
{
    const char *group = reader->config->shared_group;
    if (!group || (topic.size >= 7 && memcmp(topic.data, "$share/", 7) == 0))
        return topic;
    size_t size = 7 + strlen(group) + 1 + topic.size;
    char *text = arena_alloc(&reader->config->arena, size + 1);
    if (!text || size > LIMIT_TOPIC_BYTES) {
        refuse(reader, text ? ERR_INVALID : ERR_NO_MEMORY,
               text ? "a topic is too long to be shared" : "out of memory");
        return (struct bytes){0};
    }
    int length = snprintf(text, size + 1, "$share/%s/", group);
    memcpy(text + length, topic.data, topic.size);
    return bytes_from(text, size);
}

static void refuse_overlap(struct reader *reader, struct bytes topic, struct bytes filter)
{
    const struct mqtt_config *config = reader->config;
    char sentence[400];
    for (size_t i = 0; i < config->topic_count && *reader->members.err == ERR_OK; i++) {
        if (!mqtt_filters_overlap(filter_plain(config->filters[i]), filter_plain(filter)))
            continue;
        snprintf(sentence, sizeof(sentence),
                 "topics: \"%.100s\" and \"%.100s\" overlap: the broker would deliver what "
                 "matches both twice; keep one, or make two sources",
                 (const char *)config->topics[i].data, (const char *)topic.data);
        refuse(reader, ERR_INVALID, sentence);
    }
}

/* Whether both are of one group, or of none, and the first takes all that the second does. */
static bool filter_covers(struct bytes wide, struct bytes narrow)
{
    struct bytes groups[2] = {0};
    struct bytes plain[2] = {wide, narrow};
    (void)mqtt_filter_shared(wide, &groups[0], &plain[0]);
    (void)mqtt_filter_shared(narrow, &groups[1], &plain[1]);
    return bytes_equal(groups[0], groups[1]) && mqtt_filter_covers(plain[0], plain[1]);
}

/* An old database's source may have filters that overlap: those that others cover are left out,
 * so that the broker does not deliver twice. */
static bool topic_adds(struct mqtt_config *config, struct bytes filter)
{
    size_t kept = 0;
    for (size_t i = 0; i < config->topic_count; i++)
        if (filter_covers(config->filters[i], filter))
            return false;
    for (size_t i = 0; i < config->topic_count; i++) {
        if (filter_covers(filter, config->filters[i]))
            continue;
        config->topics[kept] = config->topics[i];
        config->filters[kept++] = config->filters[i];
    }
    config->topic_count = kept;
    return true;
}

static void read_topic(struct reader *reader, const json_t *value)
{
    struct mqtt_config *config = reader->config;
    struct bytes topic = bytes_from(json_string_value(value), json_string_length(value));
    char sentence[400];
    if (!json_is_string(value) || !mqtt_filter_valid(topic)) {
        snprintf(sentence, sizeof(sentence),
                 "topics: \"%.200s\" is no topic filter: + and # must stand alone between slashes, "
                 "# last",
                 json_is_string(value) ? (const char *)topic.data : "?");
        refuse(reader, ERR_INVALID, sentence);
        return;
    }
    topic.data = (const uint8_t *)text_keep(reader, (const char *)topic.data, topic.size);
    if (!topic.data)
        return;
    struct bytes filter = filter_make(reader, topic);
    if (reader->is_strict)
        refuse_overlap(reader, topic, filter);
    else if (!topic_adds(config, filter))
        return;
    config->topics[config->topic_count] = topic;
    config->filters[config->topic_count++] = filter;
}

static void read_topics(struct reader *reader)
{
    struct mqtt_config *config = reader->config;
    const json_t *value = member(reader, "topics");
    size_t count = json_is_array(value) ? json_array_size(value) : json_is_string(value) ? 1 : 0;
    if (count == 0 || count > MQTT_TOPICS_MAX) {
        refuse(reader, ERR_INVALID, "topics must be a topic filter or an array of 1 to 1000");
        return;
    }
    config->topics = arena_zalloc(&config->arena, count * sizeof(struct bytes));
    config->filters = arena_zalloc(&config->arena, count * sizeof(struct bytes));
    if (!config->topics || !config->filters) {
        refuse(reader, ERR_NO_MEMORY, "out of memory while reading the configuration");
        return;
    }
    for (size_t i = 0; i < count && *reader->members.err == ERR_OK; i++)
        read_topic(reader, json_is_array(value) ? json_array_get(value, i) : value);
}

static void read_session(struct reader *reader)
{
    struct mqtt_config *config = reader->config;
    config->username = read_text(reader, "username", 65535);
    config->password = config_secret(&reader->members, "password", 65535);
    config->qos = (uint8_t)read_number(reader, "qos", 0, 2, 1);
    config->client_id = read_text(reader, "client_id", 1000);
    config->clean_start = read_flag(reader, "clean_start", false);
    config->session_expiry_seconds = (uint32_t)read_number(reader, "session_expiry_seconds", 0,
                                                           UINT32_MAX, MQTT_SESSION_EXPIRY_S);
    config->keep_alive_seconds =
        (uint16_t)read_number(reader, "keep_alive_seconds", 0, 65535, MQTT_KEEP_ALIVE_S);
    config->receive_maximum =
        (uint16_t)read_number(reader, "receive_maximum", 1, 65535, MQTT_RECEIVE_MAXIMUM);
    config->connections = (uint32_t)read_number(reader, "connections", 1, MQTT_CONNECTIONS_MAX, 1);
    if (config->password && !config->username && config->version == MQTT_VERSION_3_1_1)
        refuse(reader, ERR_INVALID, "password without username: MQTT 3.1.1 has no such thing");
}

static void check_shared(struct reader *reader)
{
    struct mqtt_config *config = reader->config;
    struct bytes group;
    struct bytes plain;
    for (size_t i = 0; i < config->topic_count && config->connections > 1; i++)
        if (!mqtt_filter_shared(config->filters[i], &group, &plain))
            refuse(reader, ERR_INVALID,
                   "connections over 1 needs a shared subscription, else each connection gets "
                   "every message: set use_shared_subscription to true");
}

/* The properties of mqtt_config_schema; a test compares them. */
static const char *const members[] = {"broker",
                                      "port",
                                      "tls",
                                      "websocket",
                                      "topics",
                                      "username",
                                      "password",
                                      "use_shared_subscription",
                                      "shared_group",
                                      "qos",
                                      "protocol_version",
                                      "client_id",
                                      "clean_start",
                                      "session_expiry_seconds",
                                      "keep_alive_seconds",
                                      "receive_maximum",
                                      "connections",
                                      "max_message_bytes",
                                      "format",
                                      "timestamp_field",
                                      "sensor_id_field",
                                      "dataset_levels",
                                      "dataset",
                                      "columns",
                                      "dedupe_key"};

static enum err check_key(const char *key, struct diag *diag)
{
    struct nearest nearest = {0};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(key, members[i]) == 0)
            return ERR_OK;
        nearest_offer(&nearest, key, members[i]);
    }
    if (nearest.word)
        return diag_set(diag, ERR_INVALID, "unknown key \"%.100s\"; did you mean \"%s\"?", key,
                        nearest.word);
    return diag_set(diag, ERR_INVALID,
                    "unknown key \"%.100s\": no setting of an MQTT source is called so", key);
}

static enum err read_all(struct mqtt_config *config, const json_t *json, bool is_strict,
                         struct diag *diag)
{
    *config = (struct mqtt_config){0};
    arena_init(&config->arena, MQTT_CONFIG_BYTES_MAX);
    enum err err = ERR_OK;
    struct reader reader = {
        .config = config,
        .is_strict = is_strict,
        .members = {.arena = &config->arena, .json = json, .diag = diag, .err = &err, .within = ""},
    };
    if (!json_is_object(json))
        return diag_set(diag, ERR_INVALID, "the configuration must be a JSON object");
    mqtt_config_read_transport(config, &reader.members);
    read_broker(&reader);
    read_version(&reader);
    read_group(&reader);
    read_topics(&reader);
    read_session(&reader);
    common_options_read(&config->common, &reader.members);
    check_shared(&reader);
    return err;
}

enum err mqtt_config_check(const json_t *json, struct diag *diag)
{
    struct mqtt_config config = {0};
    const char *key;
    json_t *value;
    enum err err = ERR_OK;
    json_object_foreach((json_t *)(uintptr_t)json, key, value) if (err == ERR_OK) err =
        check_key(key, diag);
    if (err == ERR_OK)
        err = mqtt_config_check_tls(json_object_get(json, "tls"), diag);
    if (err != ERR_OK)
        return err;
    err = read_all(&config, json, true, diag);
    mqtt_config_fini(&config);
    return err;
}

enum err mqtt_config_init(struct mqtt_config *config, const json_t *json, struct diag *diag)
{
    return read_all(config, json, false, diag);
}

void mqtt_config_fini(struct mqtt_config *config)
{
    arena_fini(&config->arena);
    *config = (struct mqtt_config){0};
}

/* Eleven digits of base 62 hold 64 bits. */
static void base62(uint64_t value, char ret_digits[11])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int i = 10; i >= 0; i--, value /= 62)
        ret_digits[i] = digits[value % 62];
}

enum err mqtt_config_client_id(const struct mqtt_config *config, const char *replica_id,
                               const char *source_id, uint32_t connection_index, char *ret_text,
                               size_t size_max)
{
    int length;
    if (config->client_id && connection_index == 0) {
        length = snprintf(ret_text, size_max, "%s", config->client_id);
    } else if (config->client_id) {
        length = snprintf(ret_text, size_max, "%s-%u", config->client_id, connection_index);
    } else {
        char name[512];
        char digits[23] = {0};
        int size = snprintf(name, sizeof(name), "%.64s/%.400s/%u", replica_id, source_id,
                            connection_index);
        struct bytes bytes = bytes_from(name, (size_t)size);
        base62(hash_bytes(bytes), digits);
        base62(hash_bytes_seeded(bytes, 1), digits + 11);
        length = snprintf(ret_text, size_max, "i%s", digits);
    }
    return length >= 0 && (size_t)length < size_max ? ERR_OK : ERR_TOO_LARGE;
}

/* "$share/group/a/b" is "a/b" for a trial. */
static json_t *topic_unshared(const json_t *topic)
{
    struct bytes filter = bytes_from(json_string_value(topic), json_string_length(topic));
    struct bytes group;
    struct bytes plain = filter;
    if (!json_is_string(topic))
        return json_deep_copy(topic);
    if (!mqtt_filter_shared(filter, &group, &plain))
        plain = filter;
    return json_stringn((const char *)plain.data, plain.size);
}

static json_t *topics_unshared(const json_t *topics)
{
    if (!json_is_array(topics))
        return topic_unshared(topics);
    json_t *plain = json_array();
    size_t index;
    const json_t *topic;
    json_array_foreach(topics, index, topic)
    {
        json_array_append_new(plain, topic_unshared(topic));
    }
    return plain;
}

enum err mqtt_config_trial(json_t *json)
{
    json_t *topics = topics_unshared(json_object_get(json, "topics"));
    bool failed = json_object_set_new(json, "topics", topics) != 0;
    failed |= json_object_set_new(json, "use_shared_subscription", json_false()) != 0;
    failed |= json_object_set_new(json, "clean_start", json_true()) != 0;
    failed |= json_object_set_new(json, "session_expiry_seconds", json_integer(0)) != 0;
    failed |= json_object_set_new(json, "connections", json_integer(1)) != 0;
    (void)json_object_del(json, "client_id");
    return failed ? ERR_NO_MEMORY : ERR_OK;
}
