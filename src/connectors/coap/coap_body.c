#include "connectors/coap/coap_body.h"

#include "base/limits.h"

#define NUMBER_MAX ((1u << 20) - 1)

static size_t block_bytes(uint8_t szx)
{
    return szx == COAP_SZX_BERT ? KIB : (size_t)16 << szx;
}

void coap_body_init(struct coap_body *body, size_t size_max)
{
    *body = (struct coap_body){.size_max = size_max};
    buf_init(&body->bytes, size_max);
}

void coap_body_fini(struct coap_body *body)
{
    buf_fini(&body->bytes);
}

void coap_body_drop(struct coap_body *body)
{
    buf_fini(&body->bytes);
    buf_init(&body->bytes, body->size_max);
}

/* A server may go on in smaller blocks than it began with: its numbers then count those. */
static bool is_expected(const struct coap_body *body, const struct coap_block *block)
{
    size_t size = block_bytes(block->szx);
    if ((uint64_t)block->number * size != body->bytes.size)
        return false;
    if (!block->has_more)
        return block->szx == COAP_SZX_BERT || block->payload.size <= size;
    return block->szx == COAP_SZX_BERT ? block->payload.size > 0 && block->payload.size % size == 0
                                       : block->payload.size == size;
}

enum coap_body_step coap_body_add(struct coap_body *body, const struct coap_block *block)
{
    if (block->number == 0) {
        coap_body_drop(body);
        memcpy(body->etag, block->etag, sizeof(body->etag));
        body->etag_size = block->etag_size;
    } else if (block->etag_size != body->etag_size ||
               memcmp(block->etag, body->etag, block->etag_size) != 0) {
        return COAP_BODY_CHANGED;
    }
    if (!is_expected(body, block))
        return COAP_BODY_BROKEN;
    size_t room = body->size_max - body->bytes.size;
    bool fits = block->payload.size <= room;
    if (buf_append(&body->bytes, block->payload.data, fits ? block->payload.size : room) != ERR_OK)
        return COAP_BODY_NO_MEMORY;
    if (!fits)
        return COAP_BODY_TOO_LARGE;
    if (!block->has_more)
        return COAP_BODY_DONE;
    size_t next = body->bytes.size / block_bytes(block->szx);
    if (body->bytes.size == body->size_max || next > NUMBER_MAX)
        return COAP_BODY_TOO_LARGE;
    body->szx = block->szx;
    body->next = (uint32_t)next;
    return COAP_BODY_MORE;
}

bool coap_block_read(struct bytes option, struct coap_block *ret_block)
{
    uint32_t value = 0;
    if (option.size > 3)
        return false;
    for (size_t i = 0; i < option.size; i++)
        value = value << 8 | option.data[i];
    ret_block->number = value >> 4;
    ret_block->has_more = value >> 3 & 1;
    ret_block->szx = value & 7;
    return true;
}

uint32_t coap_block_value(uint32_t number, uint8_t szx)
{
    return number << 4 | szx;
}
