#include "connectors/coap/coap_acks.h"

#include "base/limits.h"

#include <assert.h>

void coap_acks_clear(struct coap_acks *acks)
{
    acks->first = 0;
    acks->next = 0;
}

enum coap_ack_state coap_acks_find(const struct coap_acks *acks, uint16_t message_id,
                                   int64_t now_ns)
{
    uint64_t oldest = acks->next > COAP_ACKS_MAX ? acks->next - COAP_ACKS_MAX : 0;
    for (uint64_t i = acks->next; i-- > oldest;) {
        const struct coap_ack *ack = &acks->ring[i % COAP_ACKS_MAX];
        if (ack->message_id != message_id)
            continue;
        if (i >= acks->first)
            return COAP_ACK_WAITS;
        return now_ns - ack->added_ns < COAP_ACK_LIFE_SECONDS * NS_PER_S ? COAP_ACK_DONE
                                                                         : COAP_ACK_UNKNOWN;
    }
    return COAP_ACK_UNKNOWN;
}

void coap_acks_add(struct coap_acks *acks, uint16_t message_id, uint64_t sequence, int64_t now_ns)
{
    assert(!coap_acks_full(acks));
    acks->ring[acks->next++ % COAP_ACKS_MAX] =
        (struct coap_ack){.added_ns = now_ns, .sequence = sequence, .message_id = message_id};
}

bool coap_acks_take(struct coap_acks *acks, uint64_t durable, uint16_t *ret_message_id)
{
    const struct coap_ack *ack = &acks->ring[acks->first % COAP_ACKS_MAX];
    if (acks->first == acks->next || ack->sequence > durable)
        return false;
    *ret_message_id = ack->message_id;
    acks->first++;
    return true;
}
