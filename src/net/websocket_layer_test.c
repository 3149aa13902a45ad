/* The WebSocket layer against a server that the test plays byte by byte. */
#include "net/websocket_layer.h"

#include "base/alloc.h"
#include "codec/base64.h"
#include "codec/websocket.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

struct fixture {
    struct stream_layer *layer;
    struct buf out;
    struct buf plain;
    struct diag diag;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct websocket_layer_options options = {"broker.test", 9001, false, "/mqtt"};
    assert_int_equal(websocket_layer_new(&options, &f->layer), ERR_OK);
    buf_init(&f->out, 1 << 20);
    buf_init(&f->plain, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->layer->ops->free(f->layer);
    buf_fini(&f->out);
    buf_fini(&f->plain);
    free(f);
    return 0;
}

static enum err give(struct fixture *f, const void *data, size_t size)
{
    return f->layer->ops->receive(f->layer, bytes_from(data, size), &f->plain, &f->out, &f->diag);
}

/* The answer to the request in out, whose key it reads. */
static void answer_make(struct fixture *f, char answer[400])
{
    char text[100];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    struct buf accept;
    const char *key = strstr(buf_cstr(&f->out), "Sec-WebSocket-Key: ");
    assert_non_null(key);
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    assert_int_equal(EVP_Digest(text, strlen(text), digest, &size, EVP_sha1(), NULL), 1);
    buf_init(&accept, 100);
    base64_append(&accept, bytes_from(digest, size));
    snprintf(answer, 400,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
             buf_cstr(&accept));
    buf_fini(&accept);
    buf_clear(&f->out);
}

static void upgrade(struct fixture *f)
{
    char answer[400];
    assert_int_equal(f->layer->ops->begin(f->layer, &f->out, &f->diag), ERR_OK);
    answer_make(f, answer);
    assert_int_equal(give(f, answer, strlen(answer)), ERR_OK);
    assert_true(f->layer->is_open);
}

/* The one frame in out, unmasked. */
static void expect_frame(struct fixture *f, uint8_t opcode, const void *payload, size_t size)
{
    assert_int_equal(f->out.size, 6 + size);
    assert_int_equal(f->out.data[0], 0x80 | opcode);
    assert_int_equal(f->out.data[1], 0x80 | size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(f->out.data[6 + i] ^ f->out.data[2 + (i & 3)],
                         ((const uint8_t *)payload)[i]);
    buf_clear(&f->out);
}

static void frames_follow_the_upgrade(void **state)
{
    struct fixture *f = *state;
    char answer[400];
    assert_int_equal(f->layer->ops->begin(f->layer, &f->out, &f->diag), ERR_OK);
    answer_make(f, answer);
    snprintf(answer + strlen(answer), 10, "\x82\x02hi");
    for (size_t i = 0; answer[i]; i++)
        assert_int_equal(give(f, answer + i, 1), ERR_OK);
    assert_true(bytes_equal_text(buf_bytes(&f->plain), "hi"));
    assert_int_equal(f->layer->ops->send(f->layer, BYTES_LITERAL("CONNECT"), &f->out, &f->diag),
                     ERR_OK);
    expect_frame(f, WEBSOCKET_BINARY, "CONNECT", 7);
}

static void masks_differ(void **state)
{
    struct fixture *f = *state;
    upgrade(f);
    assert_int_equal(f->layer->ops->send(f->layer, BYTES_LITERAL("x"), &f->out, &f->diag), ERR_OK);
    assert_int_equal(f->layer->ops->send(f->layer, BYTES_LITERAL("x"), &f->out, &f->diag), ERR_OK);
    assert_int_equal(f->out.size, 14);
    assert_memory_not_equal(f->out.data, f->out.data + 7, 7);
}

static void a_ping_is_answered(void **state)
{
    struct fixture *f = *state;
    upgrade(f);
    assert_int_equal(give(f, "\x89\x02hi\x8a\x01x", 7), ERR_OK);
    expect_frame(f, WEBSOCKET_PONG, "hi", 2);
    assert_int_equal(f->plain.size, 0);
}

static void a_close_is_answered_and_ends(void **state)
{
    struct fixture *f = *state;
    upgrade(f);
    assert_int_equal(give(f,
                          "\x82\x01z\x88\x05\x03\xf3"
                          "bye\x82\x01y",
                          13),
                     ERR_CLOSED);
    expect_frame(f, WEBSOCKET_CLOSE, "\x03\xe8", 2);
    assert_true(bytes_equal_text(buf_bytes(&f->plain), "z"));
    assert_string_equal(f->diag.text, "it closed the WebSocket with code 1011: bye");
    assert_int_equal(f->layer->ops->send(f->layer, BYTES_LITERAL("x"), &f->out, &f->diag),
                     ERR_CLOSED);
    f->layer->ops->end(f->layer, &f->out);
    assert_int_equal(f->out.size, 0);
}

static void an_end_is_said(void **state)
{
    struct fixture *f = *state;
    upgrade(f);
    f->layer->ops->end(f->layer, &f->out);
    expect_frame(f, WEBSOCKET_CLOSE, "\x03\xe8", 2);
}

static void a_broken_rule_is_told(void **state)
{
    struct fixture *f = *state;
    upgrade(f);
    assert_int_equal(give(f, "\x81\x01x", 3), ERR_PROTOCOL);
    expect_frame(f, WEBSOCKET_CLOSE, "\x03\xea", 2);
    assert_non_null(strstr(f->diag.text, "text frame"));
}

static void an_endless_answer_is_left(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->layer->ops->begin(f->layer, &f->out, &f->diag), ERR_OK);
    assert_int_equal(give(f, "HTTP/1.1 101 x\r\n", 16), ERR_OK);
    enum err err = ERR_OK;
    for (int i = 0; i < 1000 && err == ERR_OK; i++)
        err = give(f, "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 33);
    assert_int_equal(err, ERR_TOO_LARGE);
}

static void a_lost_connection_is_explained(void **state)
{
    struct fixture *f = *state;
    f->layer->ops->lost(f->layer, &f->diag);
    assert_non_null(strstr(f->diag.text, "is it a WebSocket port?"));
    f->diag = (struct diag){0};
    upgrade(f);
    f->layer->ops->lost(f->layer, &f->diag);
    assert_string_equal(f->diag.text, "");
}

static void failed_allocations_leave_nothing(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        const struct websocket_layer_options options = {"broker.test", 9001, true, "/mqtt"};
        struct stream_layer *layer = NULL;
        struct buf out;
        struct buf plain;
        struct diag diag = {0};
        buf_init(&out, 4096);
        buf_init(&plain, 4096);
        mem_fail_at(k);
        enum err err = websocket_layer_new(&options, &layer);
        if (err == ERR_OK)
            err = layer->ops->begin(layer, &out, &diag);
        if (err == ERR_OK)
            err = layer->ops->receive(layer, BYTES_LITERAL("HTTP/1.1 101 x\r\n"), &plain, &out,
                                      &diag);
        bool failed = mem_failed();
        mem_fail_at(0);
        if (layer)
            layer->ops->free(layer);
        buf_fini(&out);
        buf_fini(&plain);
        if (!failed)
            break;
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_follow_the_upgrade),
        TEST(masks_differ),
        TEST(a_ping_is_answered),
        TEST(a_close_is_answered_and_ends),
        TEST(an_end_is_said),
        TEST(a_broken_rule_is_told),
        TEST(an_endless_answer_is_left),
        TEST(a_lost_connection_is_explained),
        cmocka_unit_test(failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
