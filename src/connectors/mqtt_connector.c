#include "base/alloc.h"
#include "connectors/connector.h"
#include "connectors/mqtt/mqtt_connection.h"
#include "connectors/mqtt/mqtt_handshake.h"

#include <stdlib.h>

/*
 * The MQTT connector: the glue between the host and one or more connections of a source. All of
 * them must be ready before the source is connected, the first that fails ends it, and it is closed
 * when the last one is.
 *
 * A source that had more connections before has sessions left at the broker, which get their share
 * of the messages and keep them from the others: once it is started, each is connected once more,
 * to take what is queued there and to end it (mqtt_forget.h).
 */

struct leftover {
    struct mqtt *mqtt;
    struct mqtt_connection connection;
    bool open;
};

struct mqtt {
    struct connector_host host;
    struct mqtt_config config;
    struct tls_context *tls; /* NULL: none */
    struct mqtt_connection *connections;
    uint32_t connection_count; /* opened */
    struct leftover *leftovers;
    uint32_t leftover_count;
    uint32_t ready_count;
    uint32_t idle_count;
    uint32_t open_count; /* connections and leftovers */
    bool failed;
    bool stopped;
    bool closing;
    uv_timer_t closer; /* on_closed when nothing was opened at all */
};

static void on_ready(void *ctx)
{
    struct mqtt *mqtt = ctx;
    if (++mqtt->ready_count == mqtt->config.connections && !mqtt->failed && !mqtt->closing)
        mqtt->host.on_connected(mqtt->host.ctx);
}

static void on_failed(void *ctx, enum err err, const char *reason)
{
    struct mqtt *mqtt = ctx;
    if (mqtt->failed || mqtt->closing)
        return;
    mqtt->failed = true;
    mqtt->host.on_failed(mqtt->host.ctx, err, reason);
}

static void on_warning(void *ctx, const char *text)
{
    struct mqtt *mqtt = ctx;
    mqtt->host.on_warning(mqtt->host.ctx, text);
}

static void on_idle(void *ctx)
{
    struct mqtt *mqtt = ctx;
    if (++mqtt->idle_count == mqtt->connection_count)
        mqtt->host.on_stopped(mqtt->host.ctx);
}

static void release(struct mqtt *mqtt)
{
    mem_free(mqtt->connections);
    mem_free(mqtt->leftovers);
    mqtt->connections = NULL;
    mqtt->leftovers = NULL;
    mqtt->connection_count = 0;
    tls_context_free(mqtt->tls);
    mqtt->tls = NULL;
    mqtt_config_fini(&mqtt->config);
}

static void all_closed(struct mqtt *mqtt)
{
    struct connector_host host = mqtt->host;
    release(mqtt);
    host.on_closed(host.ctx); /* the state may be gone after this */
}

static void on_closed(void *ctx)
{
    struct mqtt *mqtt = ctx;
    if (--mqtt->open_count == 0 && mqtt->closing)
        all_closed(mqtt);
}

static const struct mqtt_connection_ops connection_ops = {on_ready, on_failed, on_warning, on_idle,
                                                          on_closed};

static enum err connections_open(struct mqtt *mqtt, struct diag *diag)
{
    mqtt->connections = mem_zalloc(mqtt->config.connections, sizeof(*mqtt->connections));
    if (!mqtt->connections)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for the MQTT connection");
    for (uint32_t i = 0; i < mqtt->config.connections; i++) {
        enum err err = mqtt_connection_open(&mqtt->connections[i], &mqtt->config, mqtt->tls,
                                            &mqtt->host, i, &connection_ops, mqtt, diag);
        if (err != ERR_OK)
            return err;
        mqtt->connection_count++;
        mqtt->open_count++;
    }
    return ERR_OK;
}

/* --- leftovers ---------------------------------------------------------------------------------
 */

/* Neither a failure nor a warning of these is the source's. */
static void on_leftover_failed(void *ctx, enum err err, const char *reason)
{
    (void)ctx;
    (void)err;
    (void)reason;
}

static void on_leftover(void *ctx)
{
    (void)ctx;
}

static void on_leftover_warning(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

static void on_leftover_idle(void *ctx)
{
    struct leftover *leftover = ctx;
    mqtt_connection_close(&leftover->connection);
}

static void on_leftover_closed(void *ctx)
{
    struct leftover *leftover = ctx;
    leftover->open = false;
    on_closed(leftover->mqtt);
}

static const struct mqtt_connection_ops leftover_ops = {
    on_leftover, on_leftover_failed, on_leftover_warning, on_leftover_idle, on_leftover_closed};

static void leftover_open(struct mqtt *mqtt, uint32_t index)
{
    struct diag unused = {0};
    if (!mqtt->leftovers)
        mqtt->leftovers =
            mem_zalloc(MQTT_CONNECTIONS_MAX - mqtt->config.connections, sizeof(*mqtt->leftovers));
    if (!mqtt->leftovers)
        return; /* at the next connect */
    struct leftover *leftover = &mqtt->leftovers[mqtt->leftover_count];
    leftover->mqtt = mqtt;
    if (mqtt_connection_open(&leftover->connection, &mqtt->config, mqtt->tls, &mqtt->host, index,
                             &leftover_ops, leftover, &unused) != ERR_OK)
        return;
    leftover->open = true;
    mqtt->leftover_count++;
    mqtt->open_count++;
    mqtt_connection_forget(&leftover->connection, MQTT_LEFTOVER_TIMEOUT_MS, true);
}

static void leftovers_forget(struct mqtt *mqtt)
{
    for (uint32_t i = mqtt->config.connections; i < MQTT_CONNECTIONS_MAX; i++)
        if (mqtt_handshake_knows(&mqtt->connections[0], i))
            leftover_open(mqtt, i);
}

/* --- the contract ------------------------------------------------------------------------------
 */

static enum err mqtt_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    struct mqtt *mqtt = state;
    *mqtt = (struct mqtt){.host = *host};
    uv_timer_init(host->loop, &mqtt->closer);
    mqtt->closer.data = mqtt;
    enum err err = mqtt_config_init(&mqtt->config, host->config, diag);
    if (err == ERR_OK && mqtt->config.tls_enabled)
        err = tls_context_new(&mqtt->config.tls, &mqtt->tls, diag);
    if (err == ERR_OK)
        err = connections_open(mqtt, diag);
    mqtt->failed = err != ERR_OK;
    return err;
}

static enum err mqtt_start(void *state, struct diag *diag)
{
    struct mqtt *mqtt = state;
    if (mqtt->ready_count < mqtt->config.connections || mqtt->failed)
        return diag_set(diag, ERR_CLOSED, "the MQTT connection is not open");
    for (uint32_t i = 0; i < mqtt->connection_count; i++)
        mqtt_connection_start(&mqtt->connections[i]);
    leftovers_forget(mqtt);
    return ERR_OK;
}

static void mqtt_stop(void *state)
{
    struct mqtt *mqtt = state;
    if (mqtt->stopped)
        return;
    mqtt->stopped = true;
    if (mqtt->connection_count == 0)
        mqtt->host.on_stopped(mqtt->host.ctx);
    for (uint32_t i = 0, count = mqtt->connection_count; i < count; i++)
        mqtt_connection_stop(&mqtt->connections[i]);
}

static void mqtt_forget(void *state)
{
    struct mqtt *mqtt = state;
    if (mqtt->stopped)
        return;
    mqtt->stopped = true;
    if (mqtt->connection_count == 0)
        mqtt->host.on_stopped(mqtt->host.ctx);
    for (uint32_t i = 0, count = mqtt->connection_count; i < count; i++)
        mqtt_connection_forget(&mqtt->connections[i], MQTT_FORGET_TIMEOUT_MS, false);
}

static void on_closer_closed(uv_handle_t *handle)
{
    struct mqtt *mqtt = handle->data;
    if (mqtt->open_count == 0) {
        all_closed(mqtt);
        return;
    }
    for (uint32_t i = 0; i < mqtt->leftover_count; i++)
        if (mqtt->leftovers[i].open)
            mqtt_connection_close(&mqtt->leftovers[i].connection);
    for (uint32_t i = 0; i < mqtt->connection_count; i++)
        mqtt_connection_close(&mqtt->connections[i]);
}

static void mqtt_disconnect(void *state)
{
    struct mqtt *mqtt = state;
    if (mqtt->closing)
        return;
    mqtt->closing = true;
    uv_close((uv_handle_t *)&mqtt->closer, on_closer_closed);
}

static json_t *topics_json(const struct mqtt_config *config)
{
    json_t *topics = json_array();
    for (size_t i = 0; i < config->topic_count; i++)
        json_array_append_new(
            topics, json_stringn((const char *)config->topics[i].data, config->topics[i].size));
    return topics;
}

static void health_set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value ? value : json_null());
}

/* As the metrics name this replica (contract/http-api.md "Metrics"). */
static const char *pod_name(void)
{
    const char *name = getenv("POD_NAME");
    if (!name || !name[0])
        name = getenv("HOSTNAME");
    return name && name[0] ? name : "unknown";
}

static void health_counts(const struct mqtt *mqtt, json_t *object)
{
    uint64_t unacknowledged = 0, messages = 0, repeated = 0, oversize = 0, bytes = 0;
    bool paused = false;
    for (uint32_t i = 0; i < mqtt->connection_count; i++) {
        const struct mqtt_connection *connection = &mqtt->connections[i];
        unacknowledged += mqtt_session_unacknowledged(&connection->session);
        messages += connection->messages;
        repeated += connection->repeated;
        oversize += connection->oversize;
        bytes += connection->stream.bytes_read;
        paused = paused || connection->paused;
    }
    health_set(object, "unacknowledged", json_integer((json_int_t)unacknowledged));
    health_set(object, "connection_messages", json_integer((json_int_t)messages));
    health_set(object, "connection_repeated", json_integer((json_int_t)repeated));
    health_set(object, "connection_oversize", json_integer((json_int_t)oversize));
    health_set(object, "connection_bytes", json_integer((json_int_t)bytes));
    health_set(object, "paused", json_boolean(paused));
}

static void mqtt_health(void *state, json_t *object)
{
    const struct mqtt *mqtt = state;
    const struct mqtt_config *config = &mqtt->config;
    if (!config->broker)
        return;
    const json_t *topics = json_object_get(mqtt->host.config, "topics");
    health_set(object, "broker", json_string(config->broker));
    health_set(object, "port", json_integer(config->port));
    health_set(object, "topics",
               json_is_string(topics) ? json_string(json_string_value(topics))
                                      : topics_json(config));
    health_set(object, "use_shared_subscription", json_boolean(config->use_shared_subscription));
    health_set(object, "shared_group",
               config->shared_group ? json_string(config->shared_group) : json_null());
    health_set(object, "pod_name", json_string(pod_name()));
    health_set(object, "tls", json_boolean(config->tls_enabled));
    health_set(object, "websocket", config->websocket ? json_string(config->websocket) : NULL);
    if (mqtt->connection_count == 0)
        return;
    const struct mqtt_connection *first = &mqtt->connections[0];
    health_set(object, "protocol_version",
               json_string(first->version == MQTT_VERSION_5 ? "5" : "3.1.1"));
    health_set(object, "client_id", first->client_id ? json_string(first->client_id) : NULL);
    health_set(object, "session_present", json_boolean(first->session_present));
    health_set(object, "connections", json_integer(mqtt->connection_count));
    health_counts(mqtt, object);
}

static const char *const formats[] = {"JSON",        "CBOR",       "SenML", "CSV",
                                      "MessagePack", "Plain Text", NULL};

const struct connector mqtt_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "mqtt",
    .class_name = "MQTTConnector",
    .class_path = "src.connectors.mqtt_connector.MQTTConnector",
    .display = {.name = "MQTT Broker",
                .description = "Subscribe to topics of an MQTT broker",
                .icon = "📡",
                .category = "IoT",
                .formats = formats,
                .real_time = true},
    .config_schema = mqtt_config_schema,
    .state_size = sizeof(struct mqtt),
    .ops = {.connect = mqtt_connect,
            .start = mqtt_start,
            .stop = mqtt_stop,
            .disconnect = mqtt_disconnect,
            .health = mqtt_health,
            .check = mqtt_config_check,
            .forget = mqtt_forget,
            .trial = mqtt_config_trial},
};
