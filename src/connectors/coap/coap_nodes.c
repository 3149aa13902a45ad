#include "connectors/coap/coap_nodes.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "connectors/coap/coap_core_links.h"
#include "os/clock.h"
#include "os/random.h"

#define TOKEN_OBSERVATION 1
#define TOKEN_FETCH       2
#define CORE_PATH         ".well-known/core"
#define BACKOFF_MIN_MS    1000
#define BACKOFF_MAX_MS    60000

/* --- tokens ----------------------------------------------------------------------------------- */

/* Three bytes say whose it is, one what for; four nobody can guess who does not see them (RFC 7252
 * §5.3.1). */
void coap_nodes_token(struct coap_node *node, bool is_observation, uint8_t token[COAP_TOKEN_BYTES])
{
    uint32_t nonce;
    if (random_fill(&nonce, sizeof(nonce)) != ERR_OK)
        nonce = (uint32_t)hash_bytes(bytes_from(token, COAP_TOKEN_BYTES));
    store_u32(token, node->index);
    token[3] = is_observation ? TOKEN_OBSERVATION : TOKEN_FETCH;
    store_u32(token + 4, nonce);
}

static struct coap_node *find(const struct coap_nodes *nodes, const uint8_t *token,
                              bool *ret_is_observation)
{
    uint32_t index = load_u32(token) & 0xffffff;
    bool is_observation = token[3] == TOKEN_OBSERVATION;
    struct coap_node *node = index < nodes->count ? nodes->table[index] : NULL;
    *ret_is_observation = is_observation;
    if (!node || (is_observation && !node->has_observe_token))
        return NULL;
    return memcmp(token, is_observation ? node->observe_token : node->fetch_token,
                  COAP_TOKEN_BYTES) == 0
               ? node
               : NULL;
}

/* --- the queue -------------------------------------------------------------------------------- */

static void queue_clear(struct coap_queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_add(struct coap_queue *queue, struct coap_node *node)
{
    node->next = NULL;
    *queue->last = node;
    queue->last = &node->next;
}

static void queues_clear(struct coap_nodes *nodes)
{
    queue_clear(&nodes->queues[false]);
    queue_clear(&nodes->queues[true]);
}

void coap_nodes_queue(struct coap_node *node, enum coap_want want)
{
    struct coap_nodes *nodes = node->nodes;
    node->want = want;
    if (node->step == COAP_QUEUED)
        return;
    uv_timer_stop(&node->timer);
    node->step = COAP_QUEUED;
    queue_add(&nodes->queues[node->is_unanswered], node);
    coap_nodes_pump(nodes);
}

/* NULL: none, or no place for it. */
static struct coap_node *queue_take(struct coap_nodes *nodes)
{
    bool is_beside = !nodes->queues[false].first || nodes->asked >= COAP_ASKED_MAX;
    struct coap_queue *queue = &nodes->queues[is_beside];
    struct coap_node *node = queue->first;
    if (!node || (is_beside && nodes->beside >= COAP_BESIDE_MAX))
        return NULL;
    queue->first = node->next;
    if (!queue->first)
        queue->last = &queue->first;
    node->step = COAP_AT_REST;
    node->is_beside = is_beside;
    return node;
}

static bool can_ask(const struct coap_nodes *nodes)
{
    const struct coap_channel *channel = nodes->channel;
    return nodes->is_running && channel->is_ready && !channel->was_lost && !channel->is_paused;
}

void coap_nodes_pump(struct coap_nodes *nodes)
{
    for (struct coap_node *node; can_ask(nodes) && (node = queue_take(nodes));)
        coap_node_ask(node);
}

/* --- making and dropping them
 * ------------------------------------------------------------------------------ */

static enum err table_grow(struct coap_nodes *nodes)
{
    uint32_t capacity = nodes->capacity ? nodes->capacity * 2 : 16;
    struct coap_node **table = mem_realloc(nodes->table, capacity * sizeof(struct coap_node *));
    if (!table)
        return ERR_NO_MEMORY;
    nodes->table = table;
    nodes->capacity = capacity;
    return ERR_OK;
}

static enum err place_find(struct coap_nodes *nodes, uint32_t *ret_index)
{
    while (nodes->free_first < nodes->count && nodes->table[nodes->free_first])
        nodes->free_first++;
    *ret_index = nodes->free_first;
    return nodes->free_first == nodes->capacity ? table_grow(nodes) : ERR_OK;
}

static enum err add(struct coap_nodes *nodes, struct bytes path, bool is_discovery)
{
    uint32_t index;
    if (place_find(nodes, &index) != ERR_OK)
        return ERR_NO_MEMORY;
    struct coap_node *node = mem_zalloc(1, sizeof(*node) + path.size + 1);
    if (!node || map_put(&nodes->by_path, path, node) != ERR_OK) {
        mem_free(node);
        return ERR_NO_MEMORY;
    }
    node->nodes = nodes;
    node->index = index;
    node->discovery = nodes->discovery;
    node->is_discovery = is_discovery;
    memcpy(node->path, path.data, path.size);
    coap_body_init(&node->body,
                   is_discovery ? COAP_DISCOVER_BYTES : nodes->config->common.message_max_bytes);
    backoff_init(&node->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS, nodes->random + node->index);
    uv_timer_init(nodes->loop, &node->timer);
    node->timer.data = node;
    nodes->has_queries = nodes->has_queries || memchr(path.data, '?', path.size);
    nodes->table[index] = node;
    nodes->count += index == nodes->count;
    nodes->live++;
    nodes->open++;
    return ERR_OK;
}

static void node_free(struct coap_node *node)
{
    coap_emit_route_fini(&node->route);
    coap_body_fini(&node->body);
    mem_free(node);
}

static void nodes_free(struct coap_nodes *nodes);

static void on_dropped(uv_handle_t *handle)
{
    struct coap_node *node = handle->data;
    struct coap_nodes *nodes = node->nodes;
    node_free(node);
    if (--nodes->open == 0 && nodes->is_closing)
        nodes_free(nodes);
}

/* One that is not queued. */
static void drop(struct coap_nodes *nodes, struct coap_node *node)
{
    coap_node_end(node);
    (void)map_remove(&nodes->by_path, bytes_from_text(node->path));
    nodes->table[node->index] = NULL;
    if (node->index < nodes->free_first)
        nodes->free_first = node->index;
    nodes->live--;
    nodes->gone++;
    uv_close((uv_handle_t *)&node->timer, on_dropped);
}

enum err coap_nodes_open(struct coap_nodes *nodes)
{
    const struct coap_config *config = nodes->config;
    queues_clear(nodes);
    map_init(&nodes->by_path);
    if (random_fill(&nodes->random, sizeof(nodes->random)) != ERR_OK)
        nodes->random = (uint64_t)clock_monotonic_ns(&clock_system);
    if (config->discover)
        return add(nodes, BYTES_LITERAL(CORE_PATH), true);
    enum err err = ERR_OK;
    for (size_t i = 0; i < config->resource_count && err == ERR_OK; i++)
        err = add(nodes, bytes_from_text(config->resources[i]), false);
    return err;
}

/* --- discovery -------------------------------------------------------------------------------- */

struct discovery {
    struct coap_nodes *nodes;
    uint32_t matches;
    bool is_full;
};

static bool is_wanted(const struct coap_config *config, struct bytes path)
{
    for (size_t i = 0; i < config->resource_count; i++)
        if (coap_core_links_match(config->resources[i], path))
            return true;
    return false;
}

static bool on_path_seen(void *ctx, struct bytes path)
{
    struct discovery *discovery = ctx;
    struct coap_node *node = map_get(&discovery->nodes->by_path, path);
    if (node)
        node->discovery = discovery->nodes->discovery;
    discovery->matches += is_wanted(discovery->nodes->config, path);
    return true;
}

static bool on_path_new(void *ctx, struct bytes path)
{
    struct discovery *discovery = ctx;
    struct coap_nodes *nodes = discovery->nodes;
    if (map_get(&nodes->by_path, path) || !is_wanted(nodes->config, path) ||
        !coap_core_links_usable(path))
        return true;
    discovery->is_full = nodes->live == COAP_RESOURCES_MAX;
    if (!discovery->is_full && add(nodes, path, false) == ERR_OK)
        coap_node_begin(map_get(&nodes->by_path, path));
    return !discovery->is_full;
}

static bool is_gone(const struct coap_node *node)
{
    return !node->is_discovery && node->discovery != node->nodes->discovery;
}

static void leave_queue(struct coap_queue *queue)
{
    struct coap_node *queued = queue->first;
    queue_clear(queue);
    for (struct coap_node *next; queued; queued = next) {
        next = queued->next;
        if (!is_gone(queued))
            queue_add(queue, queued);
    }
}

/* Those that the last discovery did not have. */
static void drop_gone(struct coap_nodes *nodes)
{
    leave_queue(&nodes->queues[false]);
    leave_queue(&nodes->queues[true]);
    for (uint32_t i = 0; i < nodes->count; i++)
        if (nodes->table[i] && is_gone(nodes->table[i]))
            drop(nodes, nodes->table[i]);
}

/* A text that is cut or garbled, or in which nothing matches, does not say that a resource is no
 * longer there. */
void coap_nodes_discovered(struct coap_nodes *nodes, struct coap_node *node, struct bytes text,
                           bool is_whole)
{
    struct discovery discovery = {.nodes = nodes};
    nodes->discovery++;
    is_whole = coap_core_links_each(text, on_path_seen, &discovery) && is_whole;
    if (discovery.matches > 0 && is_whole)
        drop_gone(nodes);
    (void)coap_core_links_each(text, on_path_new, &discovery);
    if (discovery.matches == 0)
        coap_node_fail(node, "nothing there matches resources");
    else if (discovery.is_full)
        coap_node_fail(node, "more resources match than a source can have (10000)");
    coap_nodes_pump(nodes);
}

/* --- the channel's calls ---------------------------------------------------------------------- */

void coap_nodes_heard(struct coap_nodes *nodes)
{
    nodes->heard_ns = clock_monotonic_ns(&clock_system);
}

bool coap_nodes_silent(const struct coap_nodes *nodes)
{
    return nodes->unanswered_ns > nodes->heard_ns;
}

void coap_nodes_ready(struct coap_nodes *nodes)
{
    coap_acks_clear(nodes->acks);
    coap_nodes_heard(nodes);
    for (uint32_t i = 0; i < nodes->count && nodes->is_running; i++)
        if (nodes->table[i])
            coap_node_begin(nodes->table[i]);
}

void coap_nodes_lost(struct coap_nodes *nodes, const char *reason)
{
    coap_acks_clear(nodes->acks);
    queues_clear(nodes);
    nodes->asked = 0;
    nodes->beside = 0;
    for (uint32_t i = 0; i < nodes->count; i++)
        if (nodes->table[i])
            coap_node_lost(nodes->table[i], reason);
}

/* Confirmable and not new: not yet acknowledged, or the acknowledgement was lost. */
static bool is_again(const struct coap_nodes *nodes, const struct coap_answer *answer,
                     enum coap_verdict *ret_verdict)
{
    if (!answer->is_con)
        return false;
    enum coap_ack_state state = coap_acks_find(nodes->acks, answer->message_id, answer->content,
                                               clock_monotonic_ns(&clock_system));
    *ret_verdict = state == COAP_ACK_WAITS ? COAP_DEFER : COAP_ACCEPT;
    return state != COAP_ACK_UNKNOWN;
}

enum coap_verdict coap_nodes_response(struct coap_nodes *nodes, const coap_pdu_t *response)
{
    struct coap_answer answer;
    enum coap_verdict verdict = COAP_ACCEPT;
    bool is_observation = false;
    bool is_good = coap_answer_read(response, coap_channel_reliable(nodes->channel), &answer);
    coap_nodes_heard(nodes);
    if (is_again(nodes, &answer, &verdict))
        return verdict;
    coap_bin_const_t token = coap_pdu_get_token(response);
    struct coap_node *node =
        token.length == COAP_TOKEN_BYTES ? find(nodes, token.s, &is_observation) : NULL;
    if (!node || !nodes->is_running) {
        nodes->strays += nodes->is_running;
        return COAP_REJECT;
    }
    if (is_good)
        return coap_node_answer(node, &answer, is_observation);
    coap_node_fail(node, "answered with options that cannot be");
    return COAP_REJECT;
}

void coap_nodes_rejected(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES])
{
    bool is_observation;
    struct coap_node *node = find(nodes, token, &is_observation);
    if (node && node->step == COAP_ASKED)
        coap_node_fail(node, "the server rejects the question (reset)");
}

bool coap_nodes_unanswered(struct coap_nodes *nodes, const uint8_t *token)
{
    bool is_observation;
    struct coap_node *node = token ? find(nodes, token, &is_observation) : NULL;
    if (node && node->step == COAP_ASKED)
        return coap_node_unanswered(node);
    return clock_monotonic_ns(&clock_system) - nodes->heard_ns < COAP_PATIENCE_MS * NS_PER_MS;
}

void coap_nodes_repeat(struct coap_nodes *nodes, const uint8_t token[COAP_TOKEN_BYTES])
{
    bool is_observation;
    struct coap_node *node = find(nodes, token, &is_observation);
    if (node && node->step == COAP_ASKED)
        coap_node_ask(node);
}

/* --- the owner's side ------------------------------------------------------------------------- */

void coap_nodes_start(struct coap_nodes *nodes)
{
    nodes->is_running = true;
    if (nodes->channel->is_ready)
        coap_nodes_ready(nodes);
}

void coap_nodes_register_again(struct coap_nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->count && nodes->is_running; i++)
        if (nodes->table[i] && nodes->table[i]->is_observed &&
            nodes->table[i]->step == COAP_AT_REST)
            coap_node_begin(nodes->table[i]);
}

void coap_nodes_stop(struct coap_nodes *nodes)
{
    nodes->is_running = false;
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (!nodes->table[i])
            continue;
        uv_timer_stop(&nodes->table[i]->timer);
        coap_node_cancel(nodes->table[i]);
    }
}

static void nodes_free(struct coap_nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->count; i++)
        if (nodes->table[i])
            node_free(nodes->table[i]);
    map_fini(&nodes->by_path);
    mem_free(nodes->table);
    nodes->table = NULL;
    nodes->count = 0;
    nodes->on_closed(nodes->ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
    const struct coap_node *node = handle->data;
    struct coap_nodes *nodes = node->nodes;
    if (--nodes->open == 0)
        nodes_free(nodes);
}

void coap_nodes_close(struct coap_nodes *nodes)
{
    nodes->is_running = false;
    nodes->is_closing = true;
    if (nodes->open == 0)
        nodes_free(nodes);
    for (uint32_t i = 0, count = nodes->count; i < count; i++)
        if (nodes->table[i])
            uv_close((uv_handle_t *)&nodes->table[i]->timer, on_timer_closed);
}
