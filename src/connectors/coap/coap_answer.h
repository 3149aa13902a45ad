#pragma once
/* A response of libcoap's, taken apart. Pure; what it borrows lives as long as the response. */
#include "connectors/coap/coap_body.h"

#include <coap3/coap.h>

#define COAP_CODE_CONTENT 69 /* 2.05 */

struct coap_answer {
    uint8_t code;
    bool is_con; /* over UDP and DTLS: wants an acknowledgement */
    bool is_ack; /* came with the acknowledgement of the question */
    bool has_observe;
    bool has_block;
    uint16_t message_id;
    uint32_t observe;
    uint32_t max_age_seconds;
    uint64_t content;        /* of one that is confirmable: tells it from others with its id */
    int32_t format;          /* -1: none */
    struct coap_block block; /* payload and ETag are always there */
};

/* false: an option has a value that it cannot have. */
bool coap_answer_read(const coap_pdu_t *pdu, bool is_reliable, struct coap_answer *ret_answer);

/* "answered 4.04 Not Found: <what the server says>", printable and cut. */
void coap_answer_describe(const struct coap_answer *answer, char *ret_text, size_t size);
