#pragma once
/*
 * Puts a body together that comes in blocks (RFC 7959 §2.4, over TCP also BERT, RFC 8323 §6). Pure;
 * owned by one thread. What the server says of the size is not believed: memory grows with what has
 * come, up to size_max.
 */
#include "base/buf.h"

#include <stdbool.h>

#define COAP_ETAG_BYTES_MAX 8
#define COAP_SZX_BERT       7

/* One message of it. */
struct coap_block {
    uint32_t number;
    uint8_t szx; /* size is 16 << szx; COAP_SZX_BERT: 1024, several at once */
    bool has_more;
    uint8_t etag[COAP_ETAG_BYTES_MAX];
    uint8_t etag_size;
    struct bytes payload;
};

enum coap_body_step {
    COAP_BODY_MORE, /* ask for block `next` */
    COAP_BODY_DONE,
    COAP_BODY_CHANGED,   /* the resource has changed meanwhile: begin again */
    COAP_BODY_TOO_LARGE, /* more than size_max; what has come is there */
    COAP_BODY_BROKEN,    /* not what was asked for, or not what a block may be */
    COAP_BODY_NO_MEMORY,
};

struct coap_body {
    struct buf bytes;
    size_t size_max;
    uint32_t next; /* number of the next block, at szx */
    uint8_t szx;
    uint8_t etag[COAP_ETAG_BYTES_MAX];
    uint8_t etag_size;
};

void coap_body_init(struct coap_body *body, size_t size_max);
void coap_body_fini(struct coap_body *body);
/* Forgets what is there and gives its memory back. */
void coap_body_drop(struct coap_body *body);
/* Number 0 begins a new body. */
enum coap_body_step coap_body_add(struct coap_body *body, const struct coap_block *block);

/* The value of a Block2 option, 0 to 3 bytes; false: it is none. Number, szx and has_more only. */
bool coap_block_read(struct bytes option, struct coap_block *ret_block);
/* The other way round: the value of the option that asks for a block. */
uint32_t coap_block_value(uint32_t number, uint8_t szx);
