#pragma once
/*
 * Confirmable messages of one server that are acknowledged only when what they brought is durable,
 * and those that were lately: a repetition of the first is not answered yet, of the second at once.
 * A repetition has the message id and the content (a hash of token, options and payload) of the
 * first: a server that was started anew counts its ids from the beginning, and has new things to
 * say under old ids. A ring of the last COAP_ACKS_MAX. Pure; sequences are added in their order.
 */
#include <stdbool.h>
#include <stdint.h>

#define COAP_ACKS_MAX 1024 /* a power of two */
#define COAP_ACK_LIFE_SECONDS                                                                      \
    247 /* EXCHANGE_LIFETIME: a message id means another message after                             \
         */

struct coap_ack {
    int64_t added_ns;
    uint64_t sequence;
    uint64_t content;
    uint16_t message_id;
    bool is_overtaken; /* a later message has its id: who sent it is gone, and is not answered */
};

struct coap_acks {
    uint64_t first; /* the oldest that waits */
    uint64_t next;
    struct coap_ack ring[COAP_ACKS_MAX];
};

enum coap_ack_state { COAP_ACK_UNKNOWN, COAP_ACK_WAITS, COAP_ACK_DONE };

/* Another session: all message ids mean something else. */
void coap_acks_clear(struct coap_acks *acks);
enum coap_ack_state coap_acks_find(const struct coap_acks *acks, uint16_t message_id,
                                   uint64_t content, int64_t now_ns);
static inline bool coap_acks_full(const struct coap_acks *acks)
{
    return acks->next - acks->first == COAP_ACKS_MAX;
}
/* Not when full. */
void coap_acks_add(struct coap_acks *acks, uint16_t message_id, uint64_t content, uint64_t sequence,
                   int64_t now_ns);
/* The next one to acknowledge now that all up to the sequence is durable; false: no more. */
bool coap_acks_take(struct coap_acks *acks, uint64_t durable, uint16_t *ret_message_id);
