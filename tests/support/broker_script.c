/*
 * Steps are a queue; `advance` does the first as long as it can be done, and is called again
 * whenever something happened: a line of input, a packet, a connection, a timer. A step that waits
 * (wait, sleep, a publish with a window) keeps its progress in `struct broker` and stays first.
 *
 * Waits count what came since the last wait that took it: a packet that arrives before the script
 * gets to its wait is not missed, and none is taken twice.
 */
#include "support/broker_script.h"

#include "base/alloc.h"
#include "support/broker_packet.h"
#include "support/broker_peer.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)128 << 20)

/* Stopping */

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void stop(struct broker *broker, int exit_code)
{
    if (broker->is_stopping)
        return;
    broker->is_stopping = true;
    broker->exit_code = exit_code;
    for (int i = 0; i < BROKER_PEERS_MAX; i++)
        if (broker->peers[i])
            peer_close(broker->peers[i], "closed_at_exit");
    if (broker->is_listening)
        close_handle((uv_handle_t *)&broker->listener);
    if (broker->has_pipe)
        close_handle((uv_handle_t *)&broker->input);
    close_handle((uv_handle_t *)&broker->timer);
    close_handle((uv_handle_t *)&broker->signals[0]);
    close_handle((uv_handle_t *)&broker->signals[1]);
}

void broker_fail_step(struct broker *broker, const char *text)
{
    broker_emit(broker, NULL, json_pack("{s:s,s:s}", "event", "bad_step", "text", text));
    fprintf(stderr, "scripted_broker: %s\n", text);
    stop(broker, 2);
}

static int open_listener(struct broker *broker)
{
    struct sockaddr_in address;
    int size = sizeof(address);
    (void)uv_ip4_addr("127.0.0.1", broker->port, &address);
    int err = uv_tcp_init(&broker->loop, &broker->listener);
    broker->listener.data = broker;
    if (err == 0)
        err = uv_tcp_bind(&broker->listener, (const struct sockaddr *)&address, 0);
    if (err == 0)
        err = uv_listen((uv_stream_t *)&broker->listener, 64, peer_accept);
    if (err == 0)
        err = uv_tcp_getsockname(&broker->listener, (struct sockaddr *)&address, &size);
    broker->port = ntohs(address.sin_port);
    broker->is_listening = true; /* the handle is there and has to be closed */
    return err;
}

/* Steps. Each returns whether it is done; false keeps it first in the queue. */

static struct peer *step_peer(struct broker *broker, const json_t *step)
{
    int64_t number = step_number(step, "connection", broker->peer_count);
    struct peer *peer = number > 0 && number < BROKER_PEERS_MAX ? broker->peers[number] : NULL;
    return peer && !peer->is_closing ? peer : NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct broker *broker = timer->data;
    broker->timer_is_over = true;
    broker_advance(broker);
}

static void start_timer(struct broker *broker, int64_t timeout_ms)
{
    broker->timer_is_over = false;
    (void)uv_timer_start(&broker->timer, on_timer, (uint64_t)(timeout_ms > 0 ? timeout_ms : 0), 0);
}

static bool step_sleep(struct broker *broker, const json_t *step)
{
    if (!broker->has_begun)
        start_timer(broker, step_number(step, "ms", 0));
    return broker->timer_is_over;
}

static bool wait_in_vain(struct broker *broker, const json_t *step)
{
    char *text = json_dumps(step, JSON_COMPACT);
    broker_emit(broker, NULL, json_pack("{s:s,s:s}", "event", "timeout", "text", text ? text : ""));
    fprintf(stderr, "scripted_broker: waited in vain: %s\n", text ? text : "");
    free(text);
    stop(broker, 3);
    return false;
}

static bool step_wait(struct broker *broker, const json_t *step)
{
    const char *what = step_text(step, "for", "");
    uint64_t count = (uint64_t)step_number(step, "count", 1);
    unsigned index = strcmp(what, "open") == 0    ? WAIT_OPEN
                     : strcmp(what, "close") == 0 ? WAIT_CLOSE
                                                  : packet_type_from_name(what);
    if (index == 0) {
        broker_fail_step(broker, "\"wait\" needs \"for\": a packet type, open or close");
        return false;
    }
    if (!broker->has_begun)
        start_timer(broker, step_number(step, "timeout_ms", broker->options->wait_max_ms));
    if (broker->seen[index] >= count) {
        broker->seen[index] -= count;
        return true;
    }
    return broker->timer_is_over ? wait_in_vain(broker, step) : false;
}

/* repeat messages, at most window unacknowledged. The last acknowledgements are not waited for. */
static bool step_publish(struct broker *broker, struct peer *peer, const json_t *step)
{
    uint64_t repeat = (uint64_t)step_number(step, "repeat", 1);
    uint64_t window = (uint64_t)step_number(step, "window", (int64_t)repeat);
    if (!broker->has_begun) {
        broker->sent_count = 0;
        broker->puback_base = peer->puback_count;
    }
    uint64_t pending = broker->sent_count - (peer->puback_count - broker->puback_base);
    uint64_t count = repeat - broker->sent_count;
    uint64_t room = window > pending ? window - pending : 0;
    count = count < room ? count : room;
    if (count > 0)
        peer_send_step(peer, step, broker->sent_count, count);
    broker->sent_count += count;
    return broker->sent_count == repeat;
}

static bool step_listen(struct broker *broker, const json_t *step)
{
    bool on = step_flag(step, "on", true);
    if (!on && broker->is_listening) {
        broker->is_listening = false;
        close_handle((uv_handle_t *)&broker->listener);
    } else if (on && !broker->is_listening) {
        if (uv_is_closing((uv_handle_t *)&broker->listener) && broker->listener.loop)
            (void)uv_run(&broker->loop, UV_RUN_NOWAIT);
        if (open_listener(broker) != 0)
            broker_fail_step(broker, "cannot listen again");
    }
    return true;
}

static void set_automatic(struct broker *broker, const json_t *step)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)step, name, value)
    {
        if (strcmp(name, "do") != 0)
            (void)json_object_set(broker->automatic, name, value);
    }
}

static void forget_sessions(struct broker *broker)
{
    map_fini(&broker->sessions);
    map_init(&broker->sessions);
}

/* Steps that need no connection; *ret_known tells whether it is one. */
static bool do_broker_step(struct broker *broker, const json_t *step, bool *ret_known)
{
    const char *what = step_text(step, "do", "");
    *ret_known = true;
    if (strcmp(what, "sleep") == 0)
        return step_sleep(broker, step);
    if (strcmp(what, "wait") == 0)
        return step_wait(broker, step);
    if (strcmp(what, "listen") == 0)
        return step_listen(broker, step);
    if (strcmp(what, "auto") == 0)
        set_automatic(broker, step);
    else if (strcmp(what, "forget") == 0)
        forget_sessions(broker);
    else if (strcmp(what, "mark") == 0)
        broker_emit(broker, NULL,
                    json_pack("{s:s,s:s}", "event", "mark", "name", step_text(step, "name", "")));
    else if (strcmp(what, "exit") == 0)
        stop(broker, (int)step_number(step, "code", 0));
    else
        *ret_known = false;
    return true;
}

static bool do_peer_step(struct broker *broker, struct peer *peer, const json_t *step)
{
    const char *what = step_text(step, "do", "");
    if (strcmp(what, "publish") == 0)
        return step_publish(broker, peer, step);
    if (strcmp(what, "stop_reading") == 0) {
        (void)uv_read_stop((uv_stream_t *)&peer->tcp);
    } else if (strcmp(what, "resume_reading") == 0) {
        peer_start_reading(peer);
    } else if (strcmp(what, "drop") == 0) {
        peer->close_after_writes = true; /* what was sent before still goes out */
        if (peer->writes_pending == 0)
            peer_close(peer, "dropped");
    } else if (strcmp(what, "reset") == 0) {
        peer_reset(peer);
    } else {
        json_t *copy = json_copy((json_t *)(uintptr_t)step);
        bool answers = strcmp(what, "suback") == 0 || strcmp(what, "unsuback") == 0;
        if (answers && !json_object_get(step, "packet_identifier"))
            (void)json_object_set_new(copy, "packet_identifier",
                                      json_integer(peer->subscribe_identifier));
        peer_send_new(peer, copy);
    }
    return true;
}

/* A connection's step waits until there is one. */
static bool do_step(struct broker *broker, const json_t *step)
{
    bool known;
    bool done = do_broker_step(broker, step, &known);
    if (known)
        return done;
    struct peer *peer = step_peer(broker, step);
    if (peer)
        return do_peer_step(broker, peer, step);
    int64_t number = step_number(step, "connection", 0);
    if (number > 0 && number <= broker->peer_count)
        return true; /* that one has gone: there is nobody to send to */
    if (!broker->has_begun)
        start_timer(broker, step_number(step, "timeout_ms", broker->options->wait_max_ms));
    return broker->timer_is_over ? wait_in_vain(broker, step) : false;
}

void broker_advance(struct broker *broker)
{
    while (!broker->is_stopping && json_array_size(broker->steps) > 0) {
        json_t *step = json_incref(json_array_get(broker->steps, 0));
        bool done = do_step(broker, step);
        broker->has_begun = true;
        if (done && !broker->is_stopping) {
            broker_emit(broker, NULL,
                        json_pack("{s:s,s:s}", "event", "done", "do", step_text(step, "do", "")));
            (void)json_array_remove(broker->steps, 0);
            (void)uv_timer_stop(&broker->timer);
            broker->has_begun = false;
        }
        json_decref(step);
        if (!done)
            return;
    }
    if (broker->input_ended && !broker->options->keep_running)
        stop(broker, broker->exit_code);
}

/* Input */

static void add_line(struct broker *broker, struct bytes line)
{
    json_error_t error;
    if (line.size == 0 || line.data[0] == '#')
        return;
    json_t *step = json_loadb((const char *)line.data, line.size, 0, &error);
    if (!json_is_object(step)) {
        json_decref(step);
        broker_fail_step(broker, "a line of the script is not a JSON object");
        return;
    }
    (void)json_array_append_new(broker->steps, step);
}

static void on_input_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_room)
{
    struct broker *broker = handle->data;
    if (buf_reserve(&broker->lines, suggested) != ERR_OK)
        suggested = 0;
    *ret_room = uv_buf_init((char *)broker->lines.data + broker->lines.size, (unsigned)suggested);
}

/* Takes the whole lines out of what was read. */
static void take_lines(struct broker *broker)
{
    struct buf *lines = &broker->lines;
    size_t start = 0;
    for (size_t i = 0; i < lines->size; i++) {
        if (lines->data[i] != '\n')
            continue;
        add_line(broker, bytes_from(lines->data + start, i - start));
        start = i + 1;
    }
    memmove(lines->data, lines->data + start, lines->size - start);
    lines->size -= start;
}

static void on_input(uv_stream_t *stream, ssize_t size, const uv_buf_t *room)
{
    struct broker *broker = stream->data;
    (void)room;
    if (size >= 0) {
        broker->lines.size += (size_t)size;
        take_lines(broker);
    } else {
        broker->input_ended = true;
        close_handle((uv_handle_t *)&broker->input);
    }
    broker_advance(broker);
}

/* A file is read at once, a pipe as its lines come. */
static int open_input(struct broker *broker)
{
    int fd = broker->options->steps_fd;
    if (fd >= 0 && uv_guess_handle(fd) == UV_NAMED_PIPE) {
        (void)uv_pipe_init(&broker->loop, &broker->input, 0);
        broker->input.data = broker;
        broker->has_pipe = true;
        int err = uv_pipe_open(&broker->input, fd);
        return err ? err : uv_read_start((uv_stream_t *)&broker->input, on_input_room, on_input);
    }
    uint8_t chunk[4096];
    ssize_t size;
    while (fd >= 0 && (size = read(fd, chunk, sizeof(chunk))) > 0)
        buf_append(&broker->lines, chunk, (size_t)size);
    buf_byte(&broker->lines, '\n');
    take_lines(broker);
    broker->input_ended = true;
    return broker->lines.err == ERR_OK ? 0 : UV_ENOMEM;
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    stop(signal->data, 0);
}

static int start(struct broker *broker)
{
    int err = uv_loop_init(&broker->loop);
    if (err != 0)
        return err;
    (void)uv_timer_init(&broker->loop, &broker->timer);
    broker->timer.data = broker;
    for (int i = 0; i < 2; i++) {
        (void)uv_signal_init(&broker->loop, &broker->signals[i]);
        broker->signals[i].data = broker;
        (void)uv_signal_start(&broker->signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
    }
    err = open_input(broker);
    return err == 0 ? open_listener(broker) : err;
}

enum err broker_run(const struct broker_options *options, int *ret_exit_code)
{
    struct broker *broker = mem_zalloc(1, sizeof(*broker));
    if (!broker)
        return ERR_NO_MEMORY;
    broker->options = options;
    broker->port = options->port;
    broker->start_ns = uv_hrtime();
    broker->steps = json_array();
    broker->automatic = json_object();
    map_init(&broker->sessions);
    buf_init(&broker->lines, LINE_BYTES_MAX);
    int err = start(broker);
    if (err == 0) {
        printf("port %d\n", broker->port);
        fflush(stdout);
        broker_advance(broker);
    } else {
        fprintf(stderr, "scripted_broker: %s\n", uv_strerror(err));
        stop(broker, 1);
    }
    (void)uv_run(&broker->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&broker->loop);
    *ret_exit_code = broker->exit_code;
    json_decref(broker->steps);
    json_decref(broker->automatic);
    map_fini(&broker->sessions);
    buf_fini(&broker->lines);
    mem_free(broker);
    return err == 0 ? ERR_OK : ERR_IO;
}
