#include "connectors/coap/coap_acks.h"

#include "base/limits.h"

#include <assert.h>

void coap_acks_clear(struct coap_acks *acks)
{
    acks->first = 0;
    acks->next = 0;
}

static uint64_t oldest(const struct coap_acks *acks)
{
    return acks->next > COAP_ACKS_MAX ? acks->next - COAP_ACKS_MAX : 0;
}

enum coap_ack_state coap_acks_find(const struct coap_acks *acks, uint16_t message_id,
                                   uint64_t content, int64_t now_ns)
{
    for (uint64_t i = acks->next, end = oldest(acks); i-- > end;) {
        const struct coap_ack *ack = &acks->ring[i % COAP_ACKS_MAX];
        if (ack->message_id != message_id || ack->content != content)
            continue;
        if (i >= acks->first)
            return COAP_ACK_WAITS;
        if (now_ns - ack->added_ns >= COAP_ACK_LIFE_SECONDS * NS_PER_S)
            return COAP_ACK_UNKNOWN;
        return ack->is_overtaken ? COAP_ACK_WAITS : COAP_ACK_DONE;
    }
    return COAP_ACK_UNKNOWN;
}

/* An acknowledgement says the id only: of two messages with one id that of the first would be taken
 * for the second's. */
static void overtake(struct coap_acks *acks, uint16_t message_id)
{
    for (uint64_t i = oldest(acks); i < acks->next; i++) {
        struct coap_ack *ack = &acks->ring[i % COAP_ACKS_MAX];
        ack->is_overtaken = ack->is_overtaken || ack->message_id == message_id;
    }
}

void coap_acks_add(struct coap_acks *acks, uint16_t message_id, uint64_t content, uint64_t sequence,
                   int64_t now_ns)
{
    assert(!coap_acks_full(acks));
    overtake(acks, message_id);
    acks->ring[acks->next++ % COAP_ACKS_MAX] = (struct coap_ack){
        .added_ns = now_ns, .sequence = sequence, .content = content, .message_id = message_id};
}

bool coap_acks_take(struct coap_acks *acks, uint64_t durable, uint16_t *ret_message_id)
{
    while (acks->first < acks->next) {
        const struct coap_ack *ack = &acks->ring[acks->first % COAP_ACKS_MAX];
        if (ack->sequence > durable)
            return false;
        acks->first++;
        *ret_message_id = ack->message_id;
        if (!ack->is_overtaken)
            return true;
    }
    return false;
}
