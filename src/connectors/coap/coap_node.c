#include "connectors/coap/coap_node.h"

#include "base/hash.h"
#include "connectors/coap/coap_nodes.h"
#include "os/clock.h"

#include <stdio.h>

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

/* --- health ----------------------------------------------------------------------------------- */

static void error_set(struct coap_node *node, const char *text)
{
    struct coap_nodes *nodes = node->nodes;
    bool failed = node->error[0] != '\0', fails = text[0] != '\0';
    if (strncmp(node->error, text, sizeof(node->error) - 1) == 0)
        return;
    snprintf(node->error, sizeof(node->error), "%s", text);
    nodes->failing = nodes->failing + fails - failed;
    nodes->on_changed(nodes->ctx);
}

static void observed_set(struct coap_node *node, bool is_observed)
{
    node->nodes->observed = node->nodes->observed + is_observed - node->is_observed;
    node->is_observed = is_observed;
    node->is_polled_instead = false;
}

/* Of values that come faster than they are decoded, those of the last moments count. */
static bool is_of_last_value(const struct coap_node *node, const struct ingest_rejection *rejection)
{
    int64_t decoded_us = clock_realtime_us(&clock_system) - COAP_DECODED_MS * US_PER_MS;
    int64_t last_us = node->emitted_us;
    if (last_us > decoded_us)
        last_us = node->emitted_before_us < decoded_us ? node->emitted_before_us : decoded_us;
    return node->emitted_us != 0 && rejection->arrival_us >= last_us;
}

bool coap_node_wrong(const struct coap_node *node, char text[COAP_WRONG_BYTES])
{
    struct ingest_rejection rejection;
    struct bytes topic = bytes_from(node->path, strcspn(node->path, "?"));
    snprintf(text, COAP_WRONG_BYTES, "%s", node->error);
    if (text[0])
        return true;
    if (!ingest_rejection(node->nodes->emit->source, topic, &rejection) || !rejection.reason ||
        !is_of_last_value(node, &rejection))
        return false;
    bool is_its = !node->nodes->has_queries || rejection.arrival_us == node->emitted_us;
    snprintf(text, COAP_WRONG_BYTES,
             "%s became a dead letter (%s: %s), one of %llu since the service began",
             is_its ? "its last value" : "a value of this path, of this or another query,",
             rejection.reason, rejection.detail, (unsigned long long)rejection.messages);
    return true;
}

/* --- rest and questions ----------------------------------------------------------------------- */

static bool is_polled(const struct coap_node *node)
{
    return node->is_discovery || node->nodes->config->is_poll;
}

static void on_timer(uv_timer_t *timer);

static void rest_for(struct coap_node *node, int64_t wait_ms)
{
    if (node->nodes->is_running)
        uv_timer_start(&node->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

/* The slots of a poll keep their cadence, however long an answer takes. */
static int64_t slot_wait_ms(struct coap_node *node)
{
    int64_t interval_ns = node->nodes->config->interval_seconds * NS_PER_S;
    int64_t now = now_ns();
    if (node->is_discovery)
        return COAP_DISCOVER_MS;
    if (node->slot_ns == 0)
        node->slot_ns = now;
    while (node->slot_ns <= now)
        node->slot_ns += interval_ns * (1 + (now - node->slot_ns) / interval_ns);
    return (node->slot_ns - now) / NS_PER_MS + 1;
}

void coap_node_begin(struct coap_node *node)
{
    coap_nodes_queue(node, is_polled(node) ? COAP_WANT_GET : COAP_WANT_REGISTER);
}

static void ask_over(struct coap_node *node)
{
    if (node->step != COAP_ASKED)
        return;
    node->step = COAP_AT_REST;
    if (node->is_beside)
        node->nodes->beside--;
    else
        node->nodes->asked--;
    uv_timer_stop(&node->timer);
}

/* Others have its place. */
static void step_aside(struct coap_node *node)
{
    struct coap_nodes *nodes = node->nodes;
    if (node->is_beside || nodes->beside >= COAP_BESIDE_MAX)
        return;
    node->is_beside = true;
    nodes->beside++;
    nodes->asked--;
}

static void waiting_set(struct coap_node *node, size_t bytes)
{
    node->nodes->waiting_bytes = node->nodes->waiting_bytes + bytes - node->waiting_bytes;
    node->waiting_bytes = bytes;
}

static void body_drop(struct coap_node *node)
{
    waiting_set(node, 0);
    coap_body_drop(&node->body);
    node->holds = false;
    node->is_overtaken = false;
}

/*
 * A registration after silence has a new token where messages can overtake each other: the server
 * may have been started anew and count its notifications from the beginning. What still comes under
 * the old token is rejected, and the server forgets it.
 */
static enum err question_send(struct coap_node *node)
{
    struct coap_nodes *nodes = node->nodes;
    struct coap_question question = {
        .path = node->path, .observe = -1, .confirmable = nodes->config->confirmable};
    if (node->want == COAP_WANT_REGISTER) {
        if (!node->has_observe_token || !coap_channel_reliable(nodes->channel)) {
            coap_nodes_token(node, true, node->observe_token);
            node->has_observe_token = true;
            node->fresh = (struct coap_fresh){0};
        }
        question.token = node->observe_token;
        question.observe = COAP_OBSERVE_ESTABLISH;
    } else {
        coap_nodes_token(node, false, node->fetch_token);
        question.token = node->fetch_token;
        question.has_block = node->want == COAP_WANT_BLOCK;
        question.block = coap_block_value(node->body.next, node->body.szx);
    }
    return coap_channel_ask(nodes->channel, &question);
}

static void rest(struct coap_node *node);

/* A block for which it was queued, of a body that was dropped meanwhile: a newer value came whole,
 * or it has failed. */
static bool is_needless(const struct coap_node *node)
{
    return node->want == COAP_WANT_BLOCK && node->body.bytes.size == 0;
}

/* Takes one of the places of those asked, if it has none. */
void coap_node_ask(struct coap_node *node)
{
    if (is_needless(node) && node->is_observed) {
        rest(node);
        return;
    }
    if (is_needless(node))
        node->want = is_polled(node) ? COAP_WANT_GET : COAP_WANT_REGISTER;
    if (node->step != COAP_ASKED && node->is_beside)
        node->nodes->beside++;
    else if (node->step != COAP_ASKED)
        node->nodes->asked++;
    waiting_set(node, 0);
    node->step = COAP_ASKED;
    node->asked_ns = now_ns();
    node->lateness = 0;
    uv_timer_start(&node->timer, on_timer, COAP_SLOW_MS, 0);
    if (question_send(node) != ERR_OK)
        coap_node_fail(node, "the question cannot be sent");
}

/* --- what goes wrong -------------------------------------------------------------------------- */

void coap_node_fail(struct coap_node *node, const char *reason)
{
    node->nodes->errors++;
    ask_over(node);
    body_drop(node);
    observed_set(node, false);
    node->has_observe_token = false;
    error_set(node, reason);
    rest_for(node, is_polled(node) && !node->is_discovery ? slot_wait_ms(node)
                                                          : backoff_next_ms(&node->backoff));
}

void coap_node_cancel(struct coap_node *node)
{
    if (node->is_observed &&
        coap_channel_ask(node->nodes->channel, &(struct coap_question){
                                                   .token = node->observe_token,
                                                   .path = node->path,
                                                   .observe = COAP_OBSERVE_CANCEL,
                                               }) != ERR_OK)
        return; /* it will find out by itself: what it sends is rejected, or not answered */
}

void coap_node_end(struct coap_node *node)
{
    coap_node_cancel(node);
    ask_over(node);
    uv_timer_stop(&node->timer);
    body_drop(node);
    observed_set(node, false);
    node->has_observe_token = false;
    error_set(node, "");
}

void coap_node_lost(struct coap_node *node, const char *reason)
{
    if (node->step == COAP_ASKED && node->lateness > 0)
        node->is_unanswered = true;
    node->step = COAP_AT_REST;
    uv_timer_stop(&node->timer);
    body_drop(node);
    observed_set(node, false);
    node->has_observe_token = false;
    error_set(node, reason);
}

static void well(struct coap_node *node)
{
    backoff_reset(&node->backoff);
    node->restarts = 0;
    node->is_unanswered = false;
    error_set(node, "");
}

static bool is_silent(const struct coap_nodes *nodes, int64_t for_ms)
{
    return now_ns() - nodes->heard_ns > for_ms * NS_PER_MS;
}

/* A server that was started anew has forgotten a session of DTLS, and does not say so. */
static bool is_forgetful(const struct coap_nodes *nodes)
{
    return nodes->config->scheme == COAP_SCHEME_DTLS;
}

static void late_set(struct coap_node *node, const char *what)
{
    struct coap_nodes *nodes = node->nodes;
    const char *hint = coap_channel_hint(nodes->channel);
    char text[COAP_ERROR_BYTES];
    snprintf(text, sizeof(text), "%s%s%s", what, hint ? ": " : "", hint ? hint : "");
    error_set(node, text);
    if (is_silent(nodes, COAP_SLOW_MS - COAP_EARLY_MS))
        nodes->unanswered_ns = now_ns();
    nodes->on_changed(nodes->ctx);
}

static void unanswered(struct coap_node *node)
{
    node->is_unanswered = true;
    coap_node_fail(node, "no answer");
    late_set(node, "no answer");
}

bool coap_node_unanswered(struct coap_node *node)
{
    if (node->nodes->heard_ns <= node->asked_ns)
        return false;
    unanswered(node);
    return true;
}

/*
 * Nobody has answered: first health says so; where the session may mean nothing to the server any
 * more, or nothing else came either, it is asked for a sign of life, and without one there is
 * another session; then it is over.
 */
static void on_late(struct coap_node *node)
{
    enum { ON_TIME, TOLD, PROBED };
    struct coap_nodes *nodes = node->nodes;
    bool again = nodes->config->confirmable || coap_channel_reliable(nodes->channel);
    if (nodes->channel->is_paused) {
        uv_timer_start(&node->timer, on_timer, COAP_SLOW_MS, 0);
    } else if (again && node->lateness == ON_TIME) {
        node->lateness = TOLD;
        late_set(node, "no answer for 10 s; it is waited for");
        if (is_forgetful(nodes) ||
            (nodes->heard_ns <= node->asked_ns && !coap_channel_reliable(nodes->channel)))
            coap_channel_probe(nodes->channel);
        uv_timer_start(&node->timer, on_timer, COAP_PROBE_MS, 0);
        step_aside(node);
        coap_nodes_pump(nodes);
    } else if (again && node->lateness == TOLD) {
        node->lateness = PROBED;
        if (is_forgetful(nodes) && is_silent(nodes, COAP_SLOW_MS + COAP_PROBE_MS / 2))
            coap_channel_give_up(nodes->channel, "no sign of life from");
        else
            uv_timer_start(&node->timer, on_timer, COAP_PATIENCE_MS - COAP_PROBE_MS, 0);
    } else {
        unanswered(node);
        if (is_silent(nodes, COAP_SLOW_MS + COAP_PATIENCE_MS))
            coap_channel_give_up(nodes->channel, "no answer from");
        coap_nodes_pump(nodes);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct coap_node *node = timer->data;
    if (node->step == COAP_ASKED)
        on_late(node);
    else if (node->step == COAP_AT_REST)
        coap_node_begin(node);
}

/* --- storing ---------------------------------------------------------------------------------- */

/* After a good answer. */
static void rest(struct coap_node *node)
{
    const struct coap_nodes *nodes = node->nodes;
    if (is_polled(node))
        rest_for(node, slot_wait_ms(node));
    else if (node->is_observed)
        rest_for(node, coap_fresh_wait_ms(node->max_age_seconds, nodes->config->refresh_seconds,
                                          nodes->random));
    else
        rest_for(node, nodes->config->interval_seconds * MS_PER_S);
}

/* The question was answered well; what else there is comes by itself, or after a while. */
static void settle(struct coap_node *node)
{
    ask_over(node);
    well(node);
    node->is_polled_instead = !is_polled(node) && !node->is_observed;
    rest(node);
}

static enum coap_verdict store(struct coap_node *node, const struct coap_answer *answer,
                               const struct coap_emission *emission)
{
    struct coap_nodes *nodes = node->nodes;
    bool waits = answer->is_con || node->holds;
    uint16_t message_id = node->holds ? node->held_message_id : answer->message_id;
    uint64_t content = node->holds ? node->held_content : answer->content;
    if (node->is_discovery) {
        settle(node);
        coap_nodes_discovered(nodes, node, emission->payload, !emission->is_oversize);
        body_drop(node);
        return COAP_ACCEPT;
    }
    enum err err = waits && coap_acks_full(nodes->acks) ? ERR_TOO_MANY : ERR_OK;
    if (err == ERR_OK)
        err = coap_emit_message(nodes->emit, &node->route, emission);
    if (err != ERR_OK) {
        coap_node_fail(node, "its value has to wait: too much is not yet durable");
        return COAP_DEFER;
    }
    if (waits)
        coap_acks_add(nodes->acks, message_id, content, nodes->emit->sequence, now_ns());
    nodes->stale += node->is_overtaken;
    bool defers = answer->is_con && message_id == answer->message_id;
    nodes->stored_us = emission->arrival_us;
    node->emitted_before_us = node->emitted_us;
    node->emitted_us = emission->arrival_us;
    node->last_hash = hash_bytes(emission->payload);
    node->has_last_hash = true;
    settle(node);
    if (emission->is_oversize)
        error_set(node, "the body is larger than max_message_bytes: it is among the dead letters");
    body_drop(node);
    return defers ? COAP_DEFER : COAP_ACCEPT;
}

static enum coap_verdict store_whole(struct coap_node *node, const struct coap_answer *answer)
{
    return store(node, answer,
                 &(struct coap_emission){
                     .path = node->path,
                     .code = answer->code,
                     .format = answer->format,
                     .payload = answer->block.payload,
                     .arrival_us = clock_realtime_us(&clock_system),
                     .wants_acknowledgement = answer->is_con || node->holds,
                 });
}

static bool is_held(const struct coap_node *node, const struct coap_answer *answer)
{
    return node->holds && answer->is_con && answer->message_id == node->held_message_id &&
           answer->content == node->held_content;
}

static enum coap_verdict store_body(struct coap_node *node, const struct coap_answer *answer,
                                    bool is_oversize)
{
    struct coap_answer last = *answer;
    /* a later block is acknowledged at once; the notification, if it is its own end, waits */
    last.is_con = is_held(node, answer);
    return store(node, &last,
                 &(struct coap_emission){
                     .path = node->path,
                     .code = node->body_code,
                     .format = node->body_format,
                     .payload = buf_bytes(&node->body.bytes),
                     .arrival_us = clock_realtime_us(&clock_system),
                     .is_oversize = is_oversize,
                     .wants_acknowledgement = node->holds,
                 });
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void body_begun(struct coap_node *node, const struct coap_answer *answer)
{
    node->body_code = answer->code;
    node->body_format = answer->format;
    node->body_until_ns = now_ns() + COAP_BODY_SECONDS * NS_PER_S;
}

/* In the place of the question that was answered; a notification has none and queues for one. */
static void ask_on(struct coap_node *node)
{
    if (node->step == COAP_ASKED) {
        node->want = COAP_WANT_BLOCK;
        coap_node_ask(node);
        return;
    }
    waiting_set(node, node->body.bytes.size);
    if (node->nodes->waiting_bytes <= COAP_WAITING_BYTES_MAX) {
        coap_nodes_queue(node, COAP_WANT_BLOCK);
        return;
    }
    waiting_set(node, 0);
    coap_body_drop(&node->body);
    coap_nodes_queue(node, COAP_WANT_GET);
}

/* What was begun is overtaken: a notification that waits for it is good for what comes instead. */
static void begin_again(struct coap_node *node)
{
    if (++node->restarts > COAP_RESTARTS_MAX) {
        coap_node_fail(node, "it changes faster than its blocks can be read");
        return;
    }
    coap_body_drop(&node->body);
    node->is_overtaken = node->holds;
    node->want = COAP_WANT_GET;
    coap_node_ask(node);
}

static enum coap_verdict take_block(struct coap_node *node, const struct coap_answer *answer,
                                    bool is_observation)
{
    if (answer->block.number == 0)
        body_begun(node, answer);
    if (is_observation) {
        node->holds = answer->is_con;
        node->held_message_id = answer->message_id;
        node->held_content = answer->content;
    }
    switch (coap_body_add(&node->body, &answer->block)) {
    case COAP_BODY_MORE:
        if (now_ns() > node->body_until_ns)
            coap_node_fail(node, "its blocks take more than 10 minutes");
        else
            ask_on(node);
        return is_observation && answer->is_con ? COAP_DEFER : COAP_ACCEPT;
    case COAP_BODY_DONE:
        return store_body(node, answer, false);
    case COAP_BODY_TOO_LARGE:
        return store_body(node, answer, true);
    case COAP_BODY_CHANGED:
        begin_again(node);
        return COAP_ACCEPT;
    case COAP_BODY_BROKEN:
        coap_node_fail(node, "answered with blocks that do not fit together");
        return COAP_ACCEPT;
    case COAP_BODY_NO_MEMORY:
    default:
        coap_node_fail(node, "out of memory for its body");
        return COAP_DEFER;
    }
}

static enum coap_verdict take_body(struct coap_node *node, const struct coap_answer *answer,
                                   bool is_observation)
{
    bool is_whole = !answer->has_block || (answer->block.number == 0 && !answer->block.has_more);
    if (is_observation)
        body_drop(node); /* of an older notification */
    return is_whole ? store_whole(node, answer) : take_block(node, answer, is_observation);
}

/* --- answers ---------------------------------------------------------------------------------- */

static enum coap_verdict refuse(struct coap_node *node, const struct coap_answer *answer)
{
    char text[COAP_ERROR_BYTES];
    coap_answer_describe(answer, text, sizeof(text));
    coap_node_fail(node, text);
    return COAP_ACCEPT;
}

/*
 * A registration that only says again what the last notification said. A confirmable message may be
 * a notification that overtook the answer: that is another event, though it says the same.
 */
static bool is_repeated(const struct coap_node *node, const struct coap_answer *answer)
{
    return !answer->is_con && node->has_last_hash && !answer->block.has_more &&
           answer->block.number == 0 && hash_bytes(answer->block.payload) == node->last_hash;
}

static enum coap_verdict take_observation(struct coap_node *node, const struct coap_answer *answer)
{
    struct coap_nodes *nodes = node->nodes;
    bool asked = node->step == COAP_ASKED && node->want == COAP_WANT_REGISTER;
    if (answer->code != COAP_CODE_CONTENT)
        return refuse(node, answer);
    if (answer->block.number != 0) {
        coap_node_fail(node, "sent a later block where a notification begins");
        return COAP_ACCEPT;
    }
    if (asked)
        ask_over(node);
    node->max_age_seconds = answer->max_age_seconds;
    bool is_newer = true;
    if (answer->has_observe && coap_channel_reliable(nodes->channel))
        node->fresh = (struct coap_fresh){true, answer->observe, now_ns()};
    else if (answer->has_observe)
        is_newer = coap_fresh_offer(&node->fresh, answer->observe, now_ns());
    observed_set(node, answer->has_observe);
    if (!is_newer) {
        nodes->stale++;
        if (node->step == COAP_AT_REST)
            rest(node);
        return COAP_ACCEPT;
    }
    if (asked && answer->has_observe && is_repeated(node, answer)) {
        nodes->repeated++;
        coap_emit_repeated(&node->route, answer->block.payload.size);
        settle(node);
        return COAP_ACCEPT;
    }
    return take_body(node, answer, true);
}

static enum coap_verdict take_fetched(struct coap_node *node, const struct coap_answer *answer)
{
    uint32_t asked = node->want == COAP_WANT_BLOCK ? node->body.next : 0;
    if (node->step != COAP_ASKED || node->want == COAP_WANT_REGISTER) {
        node->nodes->strays++;
        return COAP_ACCEPT;
    }
    if (answer->code != COAP_CODE_CONTENT)
        return refuse(node, answer);
    if (answer->has_block && answer->block.number == 0 && asked != 0) {
        coap_node_fail(node, "answered with its first block again");
        return COAP_ACCEPT;
    }
    return take_body(node, answer, false);
}

enum coap_verdict coap_node_answer(struct coap_node *node, const struct coap_answer *answer,
                                   bool is_observation)
{
    if (is_held(node, answer))
        return COAP_DEFER; /* again, while its blocks are being read */
    return is_observation ? take_observation(node, answer) : take_fetched(node, answer);
}
