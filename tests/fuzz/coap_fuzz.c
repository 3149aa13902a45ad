/*
 * What a hostile CoAP server sends: a datagram, taken apart by libcoap and by coap_answer; the same
 * bytes as an answer of /.well-known/core, cut into blocks whose options they also are, and as
 * datagrams one after the other, each behind its length: an observation with its blocks.
 */
#include "base/limits.h"
#include "connectors/coap/coap_answer.h"
#include "connectors/coap/coap_core_links.h"
#include "connectors/coap/coap_fresh.h"

#include <stdlib.h>

#define BODY_BYTES_MAX 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static void read_datagram(const uint8_t *data, size_t size, coap_proto_t proto)
{
    struct coap_answer answer;
    char text[200];
    coap_pdu_t *pdu = coap_pdu_init(0, 0, 0, size);
    if (pdu && coap_pdu_parse(proto, data, size, pdu) > 0) {
        bool is_good = coap_answer_read(pdu, proto == COAP_PROTO_TCP, &answer);
        coap_answer_describe(&answer, text, sizeof(text));
        check(strlen(text) < sizeof(text));
        check(!is_good || answer.block.etag_size <= COAP_ETAG_BYTES_MAX);
        check(answer.block.payload.size <= size);
    }
    coap_delete_pdu(pdu);
}

static bool on_path(void *ctx, struct bytes path)
{
    const struct bytes *text = ctx;
    check(path.data >= text->data && path.data + path.size <= text->data + text->size);
    (void)coap_core_links_match("*a*/*b", path);
    if (coap_core_links_usable(path))
        check(path.size > 0 && path.size <= 1000 && !memchr(path.data, 0, path.size));
    return true;
}

static void read_blocks(const uint8_t *data, size_t size)
{
    struct coap_body body;
    coap_body_init(&body, BODY_BYTES_MAX);
    while (size >= 5) {
        struct coap_block block = {0};
        size_t length = load_u16(data + 3) % 1100;
        if (length > size - 5)
            length = size - 5;
        check(coap_block_read(bytes_from(data, 3), &block));
        block.payload = bytes_from(data + 5, length);
        enum coap_body_step step = coap_body_add(&body, &block);
        check(body.bytes.size <= BODY_BYTES_MAX);
        check(step != COAP_BODY_MORE || body.next > 0);
        data += 5 + length;
        size -= 5 + length;
    }
    coap_body_fini(&body);
}

static void take(struct coap_body *body, struct coap_fresh *fresh, const struct coap_answer *answer)
{
    if (answer->has_observe && coap_fresh_offer(fresh, answer->observe, 0))
        check(!coap_fresh_offer(fresh, answer->observe, 0)); /* a repetition is not fresh */
    if (!answer->has_block)
        return;
    size_t before = body->bytes.size;
    enum coap_body_step step = coap_body_add(body, &answer->block);
    check(body->bytes.size <= BODY_BYTES_MAX);
    if (step == COAP_BODY_MORE)
        check(body->next > 0 && body->szx == answer->block.szx);
    if (step != COAP_BODY_DONE || answer->block.number == 0)
        return;
    check(body->bytes.size == before + answer->block.payload.size);
    check(body->etag_size == answer->block.etag_size); /* of one representation */
    check(memcmp(body->etag, answer->block.etag, body->etag_size) == 0);
}

static void read_observation(const uint8_t *data, size_t size)
{
    struct coap_body body;
    struct coap_fresh fresh = {0};
    struct coap_answer answer;
    coap_body_init(&body, BODY_BYTES_MAX);
    while (size >= 2) {
        size_t length = load_u16(data) < size - 2 ? load_u16(data) : size - 2;
        coap_pdu_t *pdu = coap_pdu_init(0, 0, 0, length);
        if (pdu && coap_pdu_parse(COAP_PROTO_UDP, data + 2, length, pdu) > 0 &&
            coap_answer_read(pdu, false, &answer))
            take(&body, &fresh, &answer);
        coap_delete_pdu(pdu);
        data += 2 + length;
        size -= 2 + length;
    }
    coap_body_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_from(data, size);
    read_datagram(data, size, COAP_PROTO_UDP);
    read_datagram(data, size, COAP_PROTO_TCP);
    coap_core_links_each(text, on_path, &text);
    read_blocks(data, size);
    read_observation(data, size);
    return 0;
}
