#include "support/broker_packet.h"

#include "codec/mqtt_encode.h"

#include <inttypes.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX ((size_t)64 << 20)

int64_t step_number(const json_t *step, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(step, name);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

const char *step_text(const json_t *step, const char *name, const char *otherwise)
{
    const json_t *value = json_object_get(step, name);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

bool step_flag(const json_t *step, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(step, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

uint8_t packet_type_from_name(const char *name)
{
    for (uint8_t type = MQTT_CONNECT; type <= MQTT_AUTH; type++)
        if (strcmp(mqtt_type_name(type), name) == 0)
            return type;
    return 0;
}

/* Events: packets to JSON. */

static json_t *json_from_bytes(struct bytes bytes)
{
    json_t *text = json_stringn((const char *)bytes.data, bytes.size);
    if (text)
        return text;
    char *hex = malloc(bytes.size * 2 + 5); /* not UTF-8 */
    if (!hex)
        return NULL;
    snprintf(hex, 5, "hex:");
    for (size_t i = 0; i < bytes.size; i++)
        snprintf(hex + 4 + 2 * i, 3, "%02x", bytes.data[i]);
    text = json_string(hex);
    free(hex);
    return text;
}

static json_t *json_from_u8(uint8_t value)
{
    return json_integer(value);
}

static json_t *json_from_u16(uint16_t value)
{
    return json_integer(value);
}

static json_t *json_from_u32(uint32_t value)
{
    return json_integer(value);
}

static void add(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value);
}

static void describe_properties(json_t *event, const char *name,
                                const struct mqtt_properties *properties)
{
    struct bytes key;
    struct bytes value;
    json_t *object = json_object();
    json_t *user = json_array();
    /* clang-format off */
#define X(upper, identifier, type, field)                                                          \
    if (mqtt_has(properties, MQTT_PROPERTY_##upper))                                               \
        add(object, #field, _Generic(properties->field, uint8_t: json_from_u8,                     \
            uint16_t: json_from_u16, uint32_t: json_from_u32, struct bytes: json_from_bytes)       \
            (properties->field));
    /* clang-format on */
    MQTT_PROPERTY_MAP(X)
#undef X
    for (size_t offset = 0; mqtt_user_property_next(properties, &offset, &key, &value);)
        (void)json_array_append_new(
            user, json_pack("[o,o]", json_from_bytes(key), json_from_bytes(value)));
    if (json_array_size(user) > 0)
        add(object, "user", json_incref(user));
    if (json_object_size(object) > 0)
        add(event, name, json_incref(object));
    json_decref(user);
    json_decref(object);
}

static void describe_connect(json_t *event, const struct mqtt_connect *connect)
{
    add(event, "version", json_integer(connect->version));
    add(event, "clean_start", json_boolean(connect->clean_start));
    add(event, "keep_alive_seconds", json_integer(connect->keep_alive_seconds));
    add(event, "client_id", json_from_bytes(connect->client_id));
    if (connect->has_username)
        add(event, "username", json_from_bytes(connect->username));
    if (connect->has_password)
        add(event, "password", json_from_bytes(connect->password));
    if (connect->has_will)
        add(event, "will_topic", json_from_bytes(connect->will_topic));
    describe_properties(event, "properties", &connect->properties);
}

static void describe_subscribe(json_t *event, uint8_t type, const struct mqtt_subscribe *subscribe)
{
    struct mqtt_filter filter;
    json_t *filters = json_array();
    for (size_t offset = 0; mqtt_filter_next(subscribe, type == MQTT_SUBSCRIBE, &offset, &filter);)
        (void)json_array_append_new(
            filters, json_pack("{s:o,s:i,s:i,s:b}", "filter", json_from_bytes(filter.filter), "qos",
                               filter.qos, "retain_handling", filter.retain_handling, "no_local",
                               filter.no_local));
    add(event, "packet_identifier", json_integer(subscribe->packet_identifier));
    add(event, "filters", filters);
    describe_properties(event, "properties", &subscribe->properties);
}

static void describe_publish(json_t *event, const struct mqtt_publish *publish)
{
    add(event, "topic", json_from_bytes(publish->topic));
    add(event, "payload", json_from_bytes(publish->payload));
    add(event, "qos", json_integer(publish->qos));
    add(event, "dup", json_boolean(publish->dup));
    add(event, "retain", json_boolean(publish->retain));
    add(event, "packet_identifier", json_integer(publish->packet_identifier));
    describe_properties(event, "properties", &publish->properties);
}

static void describe_ack(json_t *event, uint8_t type, const struct mqtt_ack *ack)
{
    if (type != MQTT_DISCONNECT && type != MQTT_AUTH)
        add(event, "packet_identifier", json_integer(ack->packet_identifier));
    add(event, "reason", json_integer(ack->reason));
    describe_properties(event, "properties", &ack->properties);
}

void packet_describe(json_t *event, enum mqtt_version version, const struct mqtt_frame *frame,
                     struct bytes body)
{
    union {
        struct mqtt_connect connect;
        struct mqtt_publish publish;
        struct mqtt_subscribe subscribe;
        struct mqtt_ack ack;
    } packet;
    struct mqtt_fault fault = {0};
    enum err err = ERR_OK;
    add(event, "type", json_string(mqtt_type_name(frame->type)));
    switch (frame->type) {
    case MQTT_CONNECT:
        if ((err = mqtt_decode_connect(frame, body, &packet.connect, &fault)) == ERR_OK)
            describe_connect(event, &packet.connect);
        break;
    case MQTT_PUBLISH:
        err = mqtt_decode_publish(version, frame, body, &packet.publish, &fault);
        if (err == ERR_OK)
            describe_publish(event, &packet.publish);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        err = mqtt_decode_subscribe(version, frame, body, &packet.subscribe, &fault);
        if (err == ERR_OK)
            describe_subscribe(event, frame->type, &packet.subscribe);
        break;
    case MQTT_PINGREQ:
        err = mqtt_decode_ping(version, frame, &fault);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        err = mqtt_decode_ack(version, frame, body, &packet.ack, &fault);
        if (err == ERR_OK)
            describe_ack(event, frame->type, &packet.ack);
        break;
    default:
        fault = (struct mqtt_fault){MQTT_REASON_PROTOCOL_ERROR, "a client may not send this"};
        err = ERR_PROTOCOL;
    }
    if (err == ERR_OK)
        return;
    add(event, "fault", json_string(fault.text));
    add(event, "reason", json_integer(fault.reason));
}

/* Steps: JSON to packets. */

static struct bytes bytes_from_json(const json_t *value)
{
    return bytes_from(json_string_value(value), json_string_length(value));
}

static struct bytes take_text(const json_t *value)
{
    return json_is_string(value) ? bytes_from_json(value) : (struct bytes){0};
}

static uint8_t take_u8(const json_t *value)
{
    return (uint8_t)(json_is_boolean(value) ? json_is_true(value) : json_integer_value(value));
}

static uint16_t take_u16(const json_t *value)
{
    return (uint16_t)json_integer_value(value);
}

static uint32_t take_u32(const json_t *value)
{
    return (uint32_t)json_integer_value(value);
}

enum err packet_properties(const json_t *object, struct buf *user,
                           struct mqtt_properties *ret_properties)
{
    size_t index;
    const json_t *pair;
    const json_t *value;
    *ret_properties = (struct mqtt_properties){0};
    /* clang-format off */
#define X(upper, identifier, type, field)                                                          \
    if ((value = json_object_get(object, #field)) != NULL) {                                       \
        mqtt_set(ret_properties, MQTT_PROPERTY_##upper);                                           \
        ret_properties->field = _Generic(ret_properties->field, uint8_t: take_u8,                  \
            uint16_t: take_u16, uint32_t: take_u32, struct bytes: take_text)(value);               \
    }
    /* clang-format on */
    MQTT_PROPERTY_MAP(X)
#undef X
    json_array_foreach(json_object_get(object, "user"), index, pair)
    {
        (void)mqtt_user_property_append(user, take_text(json_array_get(pair, 0)),
                                        take_text(json_array_get(pair, 1)));
    }
    ret_properties->raw = buf_bytes(user);
    return user->err;
}

/* text with each {i} replaced. */
static void put_template(struct buf *out, struct bytes text, uint64_t index)
{
    size_t start = 0;
    for (size_t i = 0; i + 3 <= text.size; i++) {
        if (memcmp(text.data + i, "{i}", 3) != 0)
            continue;
        buf_append(out, text.data + start, i - start);
        buf_printf(out, "%" PRIu64, index);
        start = i + 3;
        i += 2;
    }
    buf_append(out, text.data + start, text.size - start);
}

static enum err put_hex(struct buf *out, const char *hex)
{
    for (size_t i = 0; hex[i] != '\0'; i += 2) {
        char pair[3] = {hex[i], hex[i + 1], 0};
        char *end;
        if (pair[0] == ' ') {
            i--;
            continue;
        }
        unsigned long byte = strtoul(pair, &end, 16);
        if (*end != '\0' || pair[1] == '\0')
            return ERR_INVALID;
        buf_byte(out, (uint8_t)byte);
    }
    return out->err;
}

static enum err put_payload(struct buf *out, const json_t *step, uint64_t index)
{
    const char *hex = step_text(step, "payload_hex", NULL);
    if (hex)
        return put_hex(out, hex);
    put_template(out, take_text(json_object_get(step, "payload")), index);
    int64_t size = step_number(step, "payload_size", 0);
    while (out->err == ERR_OK && size > 0 && out->size < (size_t)size)
        buf_byte(out, 'x');
    return out->err;
}

static enum err encode_publish(struct buf *out, enum mqtt_version version, const json_t *step,
                               uint64_t index)
{
    struct buf topic;
    struct buf payload;
    struct buf user;
    struct mqtt_publish publish = {.qos = (uint8_t)step_number(step, "qos", 0),
                                   .dup = step_flag(step, "dup", false),
                                   .retain = step_flag(step, "retain", false)};
    buf_init(&topic, TEXT_BYTES_MAX);
    buf_init(&payload, TEXT_BYTES_MAX);
    buf_init(&user, TEXT_BYTES_MAX);
    uint64_t identifier = (uint64_t)step_number(step, "packet_identifier", 1) - 1 + index;
    publish.packet_identifier = (uint16_t)(identifier % 65535 + 1);
    if (step_number(step, "packet_identifier", 1) == 0)
        publish.packet_identifier = 0;
    put_template(&topic, take_text(json_object_get(step, "topic")), index);
    enum err err = put_payload(&payload, step, index);
    if (err == ERR_OK)
        err = packet_properties(json_object_get(step, "properties"), &user, &publish.properties);
    publish.topic = buf_bytes(&topic);
    publish.payload = buf_bytes(&payload);
    if (err == ERR_OK)
        err = mqtt_encode_publish(out, version, &publish);
    buf_fini(&topic);
    buf_fini(&payload);
    buf_fini(&user);
    return err;
}

static enum err encode_ack(struct buf *out, enum mqtt_version version, uint8_t type,
                           const json_t *step)
{
    struct buf user;
    struct mqtt_ack ack = {.packet_identifier = (uint16_t)step_number(step, "packet_identifier", 1),
                           .reason = (uint8_t)step_number(step, "reason", 0)};
    buf_init(&user, TEXT_BYTES_MAX);
    enum err err = packet_properties(json_object_get(step, "properties"), &user, &ack.properties);
    if (err == ERR_OK)
        err = mqtt_encode_ack(out, version, (enum mqtt_type)type, &ack);
    buf_fini(&user);
    return err;
}

static enum err encode_connack(struct buf *out, enum mqtt_version version, const json_t *step)
{
    struct buf user;
    struct mqtt_connack connack = {.session_present = step_flag(step, "session_present", false),
                                   .answered_3_1_1 = step_flag(step, "answered_3_1_1", false),
                                   .reason = (uint8_t)step_number(step, "reason", 0)};
    buf_init(&user, TEXT_BYTES_MAX);
    enum err err =
        packet_properties(json_object_get(step, "properties"), &user, &connack.properties);
    if (err == ERR_OK)
        err = mqtt_encode_connack(out, version, &connack);
    buf_fini(&user);
    return err;
}

static enum err encode_suback(struct buf *out, enum mqtt_version version, enum mqtt_type type,
                              const json_t *step)
{
    uint8_t codes[256];
    struct buf user;
    const json_t *list = json_object_get(step, "codes");
    size_t count = json_array_size(list);
    count = count < sizeof(codes) ? count : sizeof(codes);
    for (size_t i = 0; i < count; i++)
        codes[i] = (uint8_t)json_integer_value(json_array_get(list, i));
    struct mqtt_subscribe suback = {.packet_identifier =
                                        (uint16_t)step_number(step, "packet_identifier", 1),
                                    .entries = bytes_from(codes, count)};
    buf_init(&user, TEXT_BYTES_MAX);
    enum err err =
        packet_properties(json_object_get(step, "properties"), &user, &suback.properties);
    if (err == ERR_OK)
        err = mqtt_encode_suback(out, version, type, &suback);
    buf_fini(&user);
    return err;
}

static enum err encode_garbage(struct buf *out, const json_t *step)
{
    int64_t count = step_number(step, "bytes", 100);
    uint64_t state = (uint64_t)step_number(step, "seed", 1) * 2654435769u + 1;
    for (int64_t i = 0; i < count && out->err == ERR_OK; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        buf_byte(out, (uint8_t)(state >> 56));
    }
    return out->err;
}

static enum err encode_whole(struct buf *out, enum mqtt_version version, const json_t *step,
                             uint64_t index, struct diag *diag)
{
    const char *what = step_text(step, "do", "");
    if (strcmp(what, "publish") == 0)
        return encode_publish(out, version, step, index);
    if (strcmp(what, "connack") == 0)
        return encode_connack(out, version, step);
    if (strcmp(what, "suback") == 0)
        return encode_suback(out, version, MQTT_SUBACK, step);
    if (strcmp(what, "unsuback") == 0)
        return encode_suback(out, version, MQTT_UNSUBACK, step);
    if (strcmp(what, "disconnect") == 0)
        return encode_ack(out, version, MQTT_DISCONNECT, step);
    if (strcmp(what, "auth") == 0)
        return encode_ack(out, version, MQTT_AUTH, step);
    if (strcmp(what, "pingresp") == 0)
        return mqtt_encode_ping(out, MQTT_PINGRESP);
    if (strcmp(what, "raw") == 0)
        return put_hex(out, step_text(step, "hex", ""));
    if (strcmp(what, "garbage") == 0)
        return encode_garbage(out, step);
    uint8_t type = packet_type_from_name(step_text(step, "type", ""));
    if (strcmp(what, "ack") == 0 && type >= MQTT_PUBACK && type <= MQTT_PUBCOMP)
        return encode_ack(out, version, type, step);
    return diag_set(diag, ERR_INVALID, "no step \"%s\" (type \"%s\")", what,
                    step_text(step, "type", ""));
}

enum err packet_encode(struct buf *out, enum mqtt_version version, const json_t *step,
                       uint64_t index, struct diag *diag)
{
    size_t start = out->size;
    enum err err = encode_whole(out, version, step, index, diag);
    if (err != ERR_OK)
        return diag_set(diag, err, "a step's packet cannot be made: %s", err_text(err));
    int64_t cut = step_number(step, "cut", 0);
    size_t size = out->size - start;
    if (cut > 0 && (size_t)cut < size)
        out->size = start + (size_t)cut;
    if (cut < 0 && (size_t)-cut <= size)
        out->size -= (size_t)-cut;
    return ERR_OK;
}
