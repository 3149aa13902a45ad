#pragma once
/* A host with the MQTT connector, and a broker on the same loop, of which each test plays the
 * packets (mqtt_host.h). One thread. */
#include "connectors/connector.h"
#include "support/mqtt_pipeline_session.h"

/* Not through the registry, which would bring the other connectors and with them the pipeline. */
extern const struct connector mqtt_connector;

struct fixture {
    uv_loop_t loop;
    uv_tcp_t listener;
    uint16_t port;
    uv_tcp_t socket;
    bool accepted;
    bool hung_up;
    uint32_t accept_count;
    struct buf in;
    char room[65536];
    enum mqtt_version version;

    json_t *config;
    void *state;
    const struct connector *connector;
    struct connector_host host;
    bool connected;
    bool failed;
    bool stopped;
    bool closed;
    bool start_at_once;
    /* Takes a second connection. */
    void (*second_accept)(struct fixture *f, uv_stream_t *listener);
    enum err err;
    char reason[600];
    char warning[600];
};

static inline void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct fixture *f = handle->data;
    *ret = uv_buf_init(f->room, sizeof(f->room));
}

static inline void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *data)
{
    struct fixture *f = handle->data;
    if (size > 0)
        assert_int_equal(buf_append(&f->in, data->base, (size_t)size), ERR_OK);
    else if (size < 0) {
        uv_read_stop(handle);
        f->hung_up = true;
    }
}

static inline void on_socket_closed(uv_handle_t *handle)
{
    ((struct fixture *)handle->data)->accepted = false;
}

static inline void hang_up(struct fixture *f)
{
    if (f->accepted && !uv_is_closing((uv_handle_t *)&f->socket))
        uv_close((uv_handle_t *)&f->socket, on_socket_closed);
    while (f->accepted)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static inline void on_connection(uv_stream_t *listener, int status)
{
    struct fixture *f = listener->data;
    assert_int_equal(status, 0);
    if (f->second_accept && f->accepted) {
        f->second_accept(f, listener);
        return;
    }
    assert_false(f->accepted);
    assert_int_equal(uv_tcp_init(&f->loop, &f->socket), 0);
    f->socket.data = f;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&f->socket), 0);
    f->accepted = true;
    f->hung_up = false;
    f->accept_count++;
    buf_clear(&f->in);
    uv_read_start((uv_stream_t *)&f->socket, on_alloc, on_read);
}

static inline int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    *f = (struct fixture){.version = MQTT_VERSION_5, .start_at_once = true};
    buf_init(&f->in, 64 << 20);
    if (!pipeline.emitted)
        pipeline.emitted = calloc(MESSAGES_MAX, sizeof(struct emitted));
    pipeline_clear();
    uv_loop_init(&f->loop);
    uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&f->listener, (struct sockaddr *)&address, 0);
    uv_listen((uv_stream_t *)&f->listener, 8, on_connection);
    int size = sizeof(address);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&address, &size);
    f->port = ntohs(address.sin_port);
    f->config =
        json_pack("{s:s,s:i,s:[s]}", "broker", "127.0.0.1", "port", (int)f->port, "topics", "a/#");
    f->connector = &mqtt_connector;
    f->state = calloc(1, f->connector->state_size);
    *state = f;
    return 0;
}

static inline void on_connected(void *ctx)
{
    struct fixture *f = ctx;
    f->connected = true;
    struct diag diag = {0};
    if (f->start_at_once)
        assert_int_equal(f->connector->ops.start(f->state, &diag), ERR_OK);
}

static inline void on_failed(void *ctx, enum err err, const char *reason)
{
    struct fixture *f = ctx;
    assert_false(f->failed);
    f->failed = true;
    f->err = err;
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static inline void on_warning(void *ctx, const char *text)
{
    struct fixture *f = ctx;
    snprintf(f->warning, sizeof(f->warning), "%s", text);
}

static inline void on_stopped(void *ctx)
{
    ((struct fixture *)ctx)->stopped = true;
}

static inline void on_closed(void *ctx)
{
    ((struct fixture *)ctx)->closed = true;
}

static inline void set(struct fixture *f, const char *name, json_t *value)
{
    json_object_set_new(f->config, name, value);
}

static inline enum err client_connect(struct fixture *f, struct diag *diag)
{
    memset(f->state, 0, f->connector->state_size);
    f->connected = f->failed = f->stopped = f->closed = f->hung_up = false;
    buf_clear(&f->in);
    f->host = (struct connector_host){.loop = &f->loop,
                                      .config = f->config,
                                      .source_id = "source",
                                      .source_name = "Source",
                                      .replica_id = "replica",
                                      .ctx = f,
                                      .on_connected = on_connected,
                                      .on_failed = on_failed,
                                      .on_warning = on_warning,
                                      .on_stopped = on_stopped,
                                      .on_closed = on_closed};
    return f->connector->ops.connect(f->state, &f->host, diag);
}

static inline void client_open(struct fixture *f)
{
    struct diag diag = {0};
    assert_int_equal(client_connect(f, &diag), ERR_OK);
}

#define UNTIL(f, condition)                                                                        \
    while (!(condition))                                                                           \
    uv_run(&(f)->loop, UV_RUN_ONCE)

/* As the host ends it: stop, disconnect, closed. */
static inline void client_close(struct fixture *f)
{
    f->connector->ops.stop(f->state);
    f->connector->ops.disconnect(f->state);
    for (uint32_t i = 0; i < pipeline.source_count; i++) {
        struct ingest_source *source = pipeline.sources[i];
        if (source->sequence > 0)
            source->ops->on_durable(source->ctx, source->sequence, ++pipeline.block);
    }
    while (!f->closed) {
        uv_run(&f->loop, UV_RUN_ONCE);
        if (f->hung_up)
            hang_up(f);
    }
    hang_up(f);
}
