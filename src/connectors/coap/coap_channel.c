#include "connectors/coap/coap_channel.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "connectors/coap/coap_session_open.h"
#include "connectors/coap/coap_stream.h"

#include <stdio.h>

#define RETRY_MIN_MS    1000
#define RETRY_MAX_MS    60000
#define HANDSHAKE_MS    15000
#define READ_ROUNDS_MAX 32 /* datagrams in a row before others have their turn */
/* NSTART of RFC 7252 §4.7: with one place a resource that is silent keeps all others from being
 * asked, for a minute and a half. */
#define SESSION_CONS_MAX (COAP_ASKED_MAX + COAP_BESIDE_MAX)

/*
 * libcoap has an epoll descriptor of its own, with its socket and its timer in it; the loop watches
 * that one. Each try is a context of its own, so that nothing of a session that failed is left.
 */
struct coap_link {
    uv_poll_t poll;
    coap_context_t *context;
    coap_session_t *session;
    struct coap_stream *stream; /* of TCP, once it is connected; NULL: none */
    int socket;                 /* of UDP; -1: not known */
};

struct coap_lookup {
    uv_getaddrinfo_t request;
    struct coap_channel *channel; /* NULL: nobody waits any more */
};

static void on_timer(uv_timer_t *timer);

static void wake(struct coap_channel *channel, uint64_t wait_ms)
{
    if (!channel->is_closing)
        uv_timer_start(&channel->timer, on_timer, wait_ms, 0);
}

/* --- losing it -------------------------------------------------------------------------------- */

static void on_link_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void link_close(struct coap_channel *channel)
{
    struct coap_link *link = channel->link;
    if (!link)
        return;
    channel->dropped += coap_socket_dropped(link->socket);
    channel->link = NULL;
    channel->is_ready = false;
    channel->is_heard = false;
    channel->became_ready = false;
    channel->last_acknowledged = -1;
    channel->last.is_con = false;
    if (link->session) {
        coap_session_set_app_data(link->session, NULL);
        coap_session_release(link->session);
    }
    uv_poll_stop(&link->poll);
    uv_close((uv_handle_t *)&link->poll, on_link_closed);
    coap_free_context(link->context);
    coap_stream_close(link->stream);
}

/* Noted while libcoap is at work, and done when it has returned. The first reason stands. */
static void lose(struct coap_channel *channel, const char *what, const char *why)
{
    if (channel->was_lost)
        return;
    channel->was_lost = true;
    snprintf(channel->reason, sizeof(channel->reason), "%s %s%s%s", what, channel->config->base,
             why && *why ? ": " : "", why ? why : "");
    wake(channel, 0);
}

static void lost(struct coap_channel *channel)
{
    channel->was_lost = false;
    link_close(channel);
    wake(channel, backoff_next_ms(&channel->backoff));
    channel->ops->on_lost(channel->ctx, channel->reason);
}

void coap_channel_give_up(struct coap_channel *channel, const char *reason)
{
    lose(channel, reason, coap_channel_hint(channel));
}

/* OpenSSL drops what a wrong key has sealed, so both sides wait for each other in silence. */
const char *coap_channel_hint(const struct coap_channel *channel)
{
    if (channel->discarded > channel->discarded_before)
        return "what comes from there is malformed";
    return channel->config->scheme == COAP_SCHEME_DTLS && channel->config->psk_identity &&
                   !channel->is_ready
               ? "do psk_identity and psk_key fit?"
               : NULL;
}

/* What OpenSSL says of a handshake that is refused names an alert, not what to look at: tinydtls
 * answers an unknown identity with "internal error". */
static void lose_dtls(struct coap_channel *channel, const char *what)
{
    char why[COAP_REASON_BYTES];
    const char *says = coap_library_says();
    const char *hint = coap_channel_hint(channel);
    snprintf(why, sizeof(why), "%s%s%s", says, *says && hint ? "; " : "", hint ? hint : "");
    lose(channel, what, why);
}

/* --- libcoap's calls -------------------------------------------------------------------------- */

static void heard(struct coap_channel *channel)
{
    channel->is_heard = true;
    backoff_reset(&channel->backoff);
}

static bool token_get(const coap_pdu_t *pdu, uint8_t token[COAP_TOKEN_BYTES])
{
    coap_bin_const_t found = coap_pdu_get_token(pdu);
    if (found.length != COAP_TOKEN_BYTES)
        return false;
    memcpy(token, found.s, COAP_TOKEN_BYTES);
    return true;
}

/*
 * A NON of the server with the message id of a question that waits takes that question off
 * libcoap's list, as if it were its answer, and leaves its place among the outstanding ones taken.
 */
static void mend_mixed_up(struct coap_channel *channel, coap_session_t *session,
                          const coap_pdu_t *sent, const coap_pdu_t *received)
{
    uint8_t asked[COAP_TOKEN_BYTES], answered[COAP_TOKEN_BYTES];
    if (!sent || coap_pdu_get_type(received) != COAP_MESSAGE_NON || !token_get(sent, asked))
        return;
    if (coap_pdu_get_type(sent) == COAP_MESSAGE_CON)
        coap_session_set_nstart(session, (uint16_t)(coap_session_get_nstart(session) + 1));
    if (!token_get(received, answered) || memcmp(asked, answered, sizeof(asked)) != 0)
        channel->ops->on_repeat(channel->ctx, asked);
}

static coap_response_t on_response(coap_session_t *session, const coap_pdu_t *sent,
                                   const coap_pdu_t *received, const coap_mid_t message_id)
{
    struct coap_channel *channel = coap_session_get_app_data(session);
    if (!channel)
        return COAP_RESPONSE_OK;
    bool is_con = coap_pdu_get_type(received) == COAP_MESSAGE_CON;
    bool is_ack = coap_pdu_get_type(received) == COAP_MESSAGE_ACK;
    channel->events++;
    heard(channel);
    if (is_con)
        channel->last = channel->now;
    mend_mixed_up(channel, session, sent, received);
    switch (channel->ops->on_response(channel->ctx, received)) {
    case COAP_REJECT:
        return is_ack ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL;
    case COAP_DEFER:
        /* libcoap acknowledges what is confirmable as soon as this returns: so it no longer is. */
        if (is_con)
            coap_pdu_set_type((coap_pdu_t *)(uintptr_t)received, COAP_MESSAGE_NON);
        return COAP_RESPONSE_OK;
    case COAP_ACCEPT:
    default:
        if (is_con)
            channel->last_acknowledged = message_id;
        return COAP_RESPONSE_OK;
    }
}

static void on_nack(coap_session_t *session, const coap_pdu_t *sent,
                    const coap_nack_reason_t reason, const coap_mid_t message_id)
{
    struct coap_channel *channel = coap_session_get_app_data(session);
    uint8_t token[COAP_TOKEN_BYTES];
    (void)message_id;
    if (!channel)
        return;
    channel->events++;
    if (reason == COAP_NACK_RST) {
        heard(channel);
        if (sent && token_get(sent, token))
            channel->ops->on_rejected(channel->ctx, token);
        else
            channel->ops->on_heard(channel->ctx);
    } else if (reason == COAP_NACK_TOO_MANY_RETRIES) {
        const char *hint = coap_channel_hint(channel);
        bool has_token = sent && token_get(sent, token);
        if (!channel->ops->on_unanswered(channel->ctx, has_token ? token : NULL))
            lose(channel, "no answer from", hint ? hint : "the question was sent five times");
    } else if (reason == COAP_NACK_ICMP_ISSUE) {
        lose(channel, "nothing listens at", "the network says so");
    } else {
        lose(channel, "the session ended with", coap_library_says());
    }
}

static void on_pong(coap_session_t *session, const coap_pdu_t *received,
                    const coap_mid_t message_id)
{
    struct coap_channel *channel = coap_session_get_app_data(session);
    (void)received;
    (void)message_id;
    if (!channel)
        return;
    channel->events++;
    heard(channel);
    channel->ops->on_heard(channel->ctx);
}

/* Before libcoap reads from the connection. */
static void stream_open(struct coap_channel *channel)
{
    struct coap_link *link = channel->link;
    int epoll_fd = coap_context_get_coap_fd(link->context);
    if (link->stream)
        return;
    enum err err = coap_stream_open(channel->loop, epoll_fd, &link->stream);
    if (err == ERR_UNSUPPORTED)
        lose(channel, "no session with", "this needs /proc/self/fdinfo");
    else if (err != ERR_OK)
        lose(channel, "no session with", err_text(err));
}

/* Ended by the server, or by us because of what it sent. */
static void lose_stream(struct coap_channel *channel)
{
    const char *complaint = coap_stream_complaint(channel->link->stream);
    if (complaint)
        lose(channel, "ended the session with", complaint);
    else
        lose_dtls(channel, channel->is_ready ? "closed by" : "no session: closed by");
}

static int on_event(coap_session_t *session, const coap_event_t event)
{
    struct coap_channel *channel = coap_session_get_app_data(session);
    if (!channel)
        return 0;
    channel->events++;
    switch (event) {
    case COAP_EVENT_DTLS_CONNECTED:
    case COAP_EVENT_SESSION_CONNECTED:
        channel->became_ready = true;
        heard(channel);
        break;
    case COAP_EVENT_DTLS_ERROR:
        lose_dtls(channel, channel->is_ready ? "DTLS failed with" : "no DTLS handshake with");
        break;
    case COAP_EVENT_DTLS_CLOSED:
    case COAP_EVENT_SESSION_CLOSED:
    case COAP_EVENT_TCP_CLOSED:
        lose_stream(channel);
        break;
    case COAP_EVENT_TCP_CONNECTED:
        stream_open(channel);
        break;
    case COAP_EVENT_TCP_FAILED:
        lose(channel, "cannot connect to", coap_library_says());
        break;
    case COAP_EVENT_SESSION_FAILED:
        lose(channel, "no CoAP session with", coap_library_says());
        break;
    default:
        break;
    }
    return 0;
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Whose datagrams can be looked at before libcoap takes them; -1: none. */
static int plain_socket(const struct coap_channel *channel)
{
    return channel->config->scheme == COAP_SCHEME_UDP && channel->link ? channel->link->socket : -1;
}

/*
 * libcoap 4.3.1 drops a confirmable response that it has just had, and neither acknowledges it
 * again nor tells: when our acknowledgement was lost, the server would send in vain and strike us
 * off. Its silence gives it away: something was read, and nothing was called.
 */
static void acknowledge_again(struct coap_channel *channel, uint64_t events)
{
    bool is_it = channel->link && !coap_channel_reliable(channel) &&
                 (plain_socket(channel) < 0 ||
                  (channel->now.is_con && channel->now.message_id == channel->last_acknowledged));
    if (channel->events == events && channel->last_acknowledged >= 0 && is_it)
        coap_channel_acknowledge(channel, (uint16_t)channel->last_acknowledged);
}

/*
 * It tells it by its message id alone: what a server that was started anew says first may have the
 * id of what it said last, and would be dropped. That takes another session. (A server of DTLS that
 * was started anew has lost the session.)
 */
static void look_ahead(struct coap_channel *channel)
{
    bool is_refused;
    struct coap_datagram *now = &channel->now;
    now->is_con = false;
    if (coap_socket_peek(plain_socket(channel), now, &is_refused) && now->is_con &&
        channel->last.is_con && channel->last.message_id == now->message_id &&
        channel->last.hash != now->hash)
        lose(channel, "message ids begin anew at", "it was started anew");
    else if (is_refused)
        lose(channel, "nothing listens at", "the network says so");
}

static void settle(struct coap_channel *channel)
{
    if (channel->was_lost) {
        lost(channel);
    } else if (channel->became_ready) {
        bool is_again = channel->is_ready; /* DTLS has agreed on new keys: the session goes on */
        channel->became_ready = false;
        channel->is_ready = true;
        if (!coap_channel_reliable(channel)) /* DTLS's handshake keeps to what passes everywhere */
            coap_session_set_mtu(channel->link->session, COAP_UDP_MESSAGE_BYTES_MAX);
        if (is_again)
            return;
        uv_timer_stop(&channel->timer);
        channel->ops->on_ready(channel->ctx);
    }
}

/* Each round of libcoap reads one datagram. */
static void read_all(struct coap_channel *channel)
{
    for (int round = 0; round < READ_ROUNDS_MAX && !channel->was_lost; round++) {
        uint64_t before = channel->events;
        coap_library_forget();
        look_ahead(channel);
        if (channel->was_lost)
            return;
        if (coap_io_process(channel->link->context, COAP_IO_NO_WAIT) < 0)
            lose(channel, "no session with", "libcoap cannot read");
        channel->discarded += channel->events == before && coap_library_says()[0];
        if (!channel->said[0])
            snprintf(channel->said, sizeof(channel->said), "%s", coap_library_says());
        if (round == 0)
            acknowledge_again(channel, before);
        if (channel->events == before || channel->is_paused)
            return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct coap_link *link = poll->data;
    struct coap_channel *channel = coap_session_get_app_data(link->session);
    (void)events;
    if (!channel || channel->link != link)
        return;
    if (status < 0)
        lose(channel, "no session with", uv_strerror(status));
    read_all(channel);
    channel->ops->on_read_end(channel->ctx);
    settle(channel);
}

void coap_channel_pause(struct coap_channel *channel, bool is_paused)
{
    channel->is_paused = is_paused;
    if (channel->link && is_paused)
        uv_poll_stop(&channel->link->poll);
    else if (channel->link)
        uv_poll_start(&channel->link->poll, UV_READABLE, on_poll);
}

/* --- opening ---------------------------------------------------------------------------------- */

static enum err link_open(struct coap_channel *channel, const struct sockaddr *address,
                          struct diag *diag)
{
    struct coap_link *link = mem_zalloc(1, sizeof(*link));
    if (!link)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for the CoAP session");
    link->context = coap_session_context(diag);
    if (!link->context ||
        uv_poll_init(channel->loop, &link->poll, coap_context_get_coap_fd(link->context)) != 0) {
        coap_free_context(link->context);
        mem_free(link);
        return ERR_NO_MEMORY;
    }
    link->poll.data = link;
    link->socket = -1;
    channel->link = link;
    coap_register_response_handler(link->context, on_response);
    coap_register_nack_handler(link->context, on_nack);
    coap_register_pong_handler(link->context, on_pong);
    coap_register_event_handler(link->context, on_event);
    link->session = coap_session_open(link->context, channel->config, address, diag);
    if (!link->session)
        return ERR_NETWORK;
    if (!coap_channel_reliable(channel)) {
        link->socket = coap_socket_of(coap_context_get_coap_fd(link->context));
        coap_socket_enlarge(link->socket);
    }
    coap_session_set_app_data(link->session, channel);
    coap_session_set_nstart(link->session, SESSION_CONS_MAX);
    if (coap_session_get_state(link->session) == COAP_SESSION_STATE_CSM) /* connected at once */
        stream_open(channel);
    coap_channel_pause(channel, channel->is_paused);
    return ERR_OK;
}

static void connect_next(struct coap_channel *channel)
{
    const struct sockaddr *address =
        (const struct sockaddr *)&channel->addresses[channel->address_next++];
    struct diag diag = {0};
    channel->sessions++;
    channel->discarded_before = channel->discarded;
    channel->said[0] = '\0';
    if (link_open(channel, address, &diag) != ERR_OK || !channel->link) {
        snprintf(channel->reason, sizeof(channel->reason), "%s", diag.text);
        lost(channel);
        return;
    }
    coap_session_state_t state = coap_session_get_state(channel->link->session);
    if (channel->config->scheme == COAP_SCHEME_UDP && state == COAP_SESSION_STATE_ESTABLISHED)
        channel->became_ready = true;
    wake(channel, HANDSHAKE_MS);
    settle(channel);
}

static bool is_usable(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        return (ntohl(v4.sin_addr.s_addr) & 0xf0000000u) != 0xe0000000u &&
               v4.sin_addr.s_addr != INADDR_BROADCAST;
    }
    struct sockaddr_in6 v6;
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof(v6));
    return !IN6_IS_ADDR_MULTICAST(&v6.sin6_addr);
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct coap_lookup *lookup = request->data;
    struct coap_channel *channel = lookup->channel;
    mem_free(lookup);
    if (channel) {
        channel->lookup = NULL;
        channel->address_next = 0;
        channel->address_count = 0;
        for (const struct addrinfo *at = found; at; at = at->ai_next)
            if (channel->address_count < COAP_ADDRESSES_MAX && is_usable(at->ai_addr))
                memcpy(&channel->addresses[channel->address_count++], at->ai_addr, at->ai_addrlen);
        if (channel->address_count > 0) {
            connect_next(channel);
        } else {
            snprintf(channel->reason, sizeof(channel->reason), "cannot find the address of %s: %s",
                     channel->config->host,
                     status != 0 ? uv_strerror(status) : "none that can be used");
            lost(channel);
        }
    }
    uv_freeaddrinfo(found);
}

static void look_up(struct coap_channel *channel)
{
    char port[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct coap_lookup *lookup = mem_zalloc(1, sizeof(*lookup));
    int error = lookup ? 0 : UV_ENOMEM;
    snprintf(port, sizeof(port), "%u", channel->config->port);
    if (lookup) {
        lookup->channel = channel;
        lookup->request.data = lookup;
        error = uv_getaddrinfo(channel->loop, &lookup->request, on_lookup, channel->config->host,
                               port, &hints);
    }
    if (error == 0) {
        channel->lookup = lookup;
        return;
    }
    mem_free(lookup);
    snprintf(channel->reason, sizeof(channel->reason), "cannot look %s up: %s",
             channel->config->host, uv_strerror(error));
    lost(channel);
}

/* Of several addresses each has its try; then they are looked up anew. */
static void on_timer(uv_timer_t *timer)
{
    struct coap_channel *channel = timer->data;
    if (channel->was_lost) {
        lost(channel);
    } else if (channel->link && !channel->is_ready) {
        lose(channel, "no answer to the handshake from",
             channel->said[0] ? channel->said : coap_channel_hint(channel));
        lost(channel);
    } else if (!channel->link && !channel->lookup) {
        if (channel->address_next < channel->address_count)
            connect_next(channel);
        else
            look_up(channel);
    }
}

/* --- the owner's side ------------------------------------------------------------------------- */

void coap_channel_open(struct coap_channel *channel, uv_loop_t *loop,
                       const struct coap_config *config, uint64_t seed,
                       const struct coap_channel_ops *ops, void *ctx)
{
    *channel = (struct coap_channel){
        .loop = loop, .config = config, .ops = ops, .ctx = ctx, .last_acknowledged = -1};
    backoff_init(&channel->backoff, RETRY_MIN_MS, RETRY_MAX_MS, seed);
    uv_timer_init(loop, &channel->timer);
    channel->timer.data = channel;
    wake(channel, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct coap_channel *channel = handle->data;
    channel->ops->on_closed(channel->ctx);
}

void coap_channel_close(struct coap_channel *channel)
{
    if (channel->is_closing)
        return;
    channel->is_closing = true;
    if (channel->lookup) {
        (void)uv_cancel((uv_req_t *)&channel->lookup->request);
        channel->lookup->channel = NULL;
        channel->lookup = NULL;
    }
    link_close(channel);
    uv_close((uv_handle_t *)&channel->timer, on_timer_closed);
}

enum err coap_channel_ask(struct coap_channel *channel, const struct coap_question *question)
{
    if (!channel->is_ready || channel->was_lost)
        return ERR_CLOSED;
    coap_session_t *session = channel->link->session;
    coap_pdu_t *pdu = coap_session_question(session, channel->config, question);
    if (!pdu)
        return ERR_NO_MEMORY;
    coap_library_forget(); /* another session's words */
    return coap_send(session, pdu) == COAP_INVALID_MID ? ERR_NETWORK : ERR_OK;
}

uint64_t coap_channel_dropped(const struct coap_channel *channel)
{
    return channel->dropped + (channel->link ? coap_socket_dropped(channel->link->socket) : 0);
}

void coap_channel_probe(struct coap_channel *channel)
{
    if (!channel->is_ready || channel->was_lost)
        return;
    coap_session_t *session = channel->link->session;
    coap_pdu_t *pdu =
        coap_pdu_init(COAP_MESSAGE_CON, COAP_EMPTY_CODE, coap_new_message_id(session), 0);
    if (!pdu)
        return; /* as if it was lost on the way */
    uint16_t nstart = coap_session_get_nstart(session);
    coap_session_set_nstart(session, (uint16_t)(nstart + 1));
    coap_library_forget();
    (void)coap_send(session, pdu);
    coap_session_set_nstart(session, nstart);
}

void coap_channel_acknowledge(struct coap_channel *channel, uint16_t message_id)
{
    if (!channel->link || channel->was_lost)
        return;
    coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, message_id, 0);
    if (!pdu)
        return; /* the server sends again, and is answered then */
    channel->last_acknowledged = message_id;
    coap_library_forget();
    (void)coap_send(channel->link->session, pdu);
}
