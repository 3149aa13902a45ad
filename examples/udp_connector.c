/* The example of docs/connectors.md: every datagram that comes in on a UDP port is a message. */
#include "connectors/common_source.h"
#include "os/clock.h"

struct udp {
    struct connector_host host;
    struct common_source common;
    uv_udp_t socket;
    char datagram[65536]; /* none is longer */
};

static void on_buffer(uv_handle_t *socket, size_t suggested_bytes, uv_buf_t *buffer)
{
    struct udp *udp = socket->data;
    (void)suggested_bytes;
    *buffer = uv_buf_init(udp->datagram, sizeof(udp->datagram));
}

static void on_datagram(uv_udp_t *socket, ssize_t size, const uv_buf_t *buffer,
                        const struct sockaddr *sender, unsigned flags)
{
    struct udp *udp = socket->data;
    (void)flags;
    if (sender && common_source_emit(&udp->common, bytes_from(buffer->base, (size_t)size),
                                     clock_realtime_us(&clock_system)) != ERR_OK)
        udp->host.on_warning(udp->host.ctx, "datagrams were lost: out of memory");
}

/* While the pipeline is full, datagrams wait in the socket as far as it has room. */
static void on_pause(void *state)
{
    uv_udp_recv_stop(&((struct udp *)state)->socket);
}

static void on_resume(void *state)
{
    uv_udp_recv_start(&((struct udp *)state)->socket, on_buffer, on_datagram);
}

static enum err udp_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    struct udp *udp = state;
    struct sockaddr_in address;
    int port = (int)json_integer_value(json_object_get(host->config, "port"));
    udp->host = *host;
    udp->socket.data = udp;
    uv_udp_init(host->loop, &udp->socket); /* from here on, disconnect closes it */
    enum err err = common_source_open(&udp->common, host, "udp", on_pause, on_resume, udp, diag);
    (void)uv_ip4_addr("127.0.0.1", port, &address); /* cannot fail: it is one */
    int status = uv_udp_bind(&udp->socket, (const struct sockaddr *)&address, 0);
    if (err == ERR_OK && status < 0)
        err = diag_set(diag, ERR_NETWORK, "UDP port %d: %s", port, uv_strerror(status));
    if (err == ERR_OK)
        host->on_connected(host->ctx);
    return err;
}

static enum err udp_start(void *state, struct diag *diag)
{
    (void)diag;
    on_resume(state);
    return ERR_OK;
}

static void udp_stop(void *state)
{
    struct udp *udp = state;
    on_pause(udp);
    udp->host.on_stopped(udp->host.ctx);
}

static void on_closed(uv_handle_t *socket)
{
    struct udp *udp = socket->data;
    udp->host.on_closed(udp->host.ctx);
}

static void udp_disconnect(void *state)
{
    struct udp *udp = state;
    common_source_close(&udp->common);
    uv_close((uv_handle_t *)&udp->socket, on_closed);
}

const struct connector udp_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "udp",
    .display = {"UDP", "Take what devices send to a UDP port", "📨", "IoT",
                (const char *const[]){"JSON", "Plain Text", NULL}, true},
    .config_schema =
        "{\"type\":\"object\",\"title\":\"UDP\",\"additionalProperties\":false,"
        "\"required\":[\"port\"],\"properties\":{\"port\":{\"type\":\"integer\",\"minimum\":1,"
        "\"maximum\":65535,\"title\":\"Port\",\"examples\":[5514]}}}",
    .state_size = sizeof(struct udp),
    .ops = {.connect = udp_connect,
            .start = udp_start,
            .stop = udp_stop,
            .disconnect = udp_disconnect},
};
