#include "codec/websocket.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

/* The key and the answer of RFC 6455 §1.3. */
static const uint8_t key[WEBSOCKET_KEY_BYTES] = "the sample nonce";
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define GOOD                                                                                       \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT

static void the_request_is_as_the_standard_says(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    assert_int_equal(websocket_request(&out, "broker", 8080, false, "/mqtt?x=1", key), ERR_OK);
    assert_string_equal(buf_cstr(&out), "GET /mqtt?x=1 HTTP/1.1\r\nHost: broker:8080\r\n"
                                        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                        "Sec-WebSocket-Version: 13\r\n"
                                        "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    buf_clear(&out);
    assert_int_equal(websocket_request(&out, "::1", 443, true, "/", key), ERR_OK);
    assert_non_null(strstr(buf_cstr(&out), "Host: [::1]\r\n"));
    buf_fini(&out);
}

static void an_answer_is_read_to_its_end(void **state)
{
    (void)state;
    static const char answer[] = GOOD "sec-websocket-protocol: mqtt\r\n\r\nrest";
    size_t size = 0;
    struct diag diag = {0};
    struct bytes in = bytes_from_text(answer);
    for (size_t cut = 0; cut < in.size - 4; cut++)
        assert_int_equal(websocket_answer(bytes_from(in.data, cut), key, &size, &diag), ERR_AGAIN);
    assert_int_equal(websocket_answer(in, key, &size, &diag), ERR_OK);
    assert_int_equal(size, in.size - 4);
}

static void refused(const char *answer, enum err err, const char *words)
{
    size_t size = 0;
    struct diag diag = {0};
    assert_int_equal(websocket_answer(bytes_from_text(answer), key, &size, &diag), err);
    if (!strstr(diag.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, diag.text);
}

static void a_bad_answer_is_named(void **state)
{
    (void)state;
    refused("\x20\x02", ERR_PROTOCOL, "is no HTTP");
    refused("HTTP/1.1 abc\r\n\r\n", ERR_PROTOCOL, "no status");
    refused("HTTP/1.1 404 Not Found\r\n\r\n", ERR_REFUSED, "correct the path in websocket");
    refused("HTTP/1.1 401 No\r\n\r\n", ERR_AUTH, "HTTP 401");
    refused("HTTP/1.1 503 Busy\r\n\r\n", ERR_BUSY, "HTTP 503");
    refused("HTTP/1.1 200 OK\r\n\r\n", ERR_REFUSED, "is this a WebSocket port");
    refused("HTTP/1.1 301 x\r\nLocation: https://x/\r\n\r\n", ERR_REFUSED, "connect to https://x/");
    refused("HTTP/1.1 101 x\r\n" ACCEPT "\r\n", ERR_PROTOCOL, "did not upgrade");
    refused("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n" ACCEPT "\r\n", ERR_PROTOCOL,
            "did not upgrade");
    refused("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
            ERR_PROTOCOL, "Accept is wrong");
    refused(GOOD "Sec-WebSocket-Protocol: stomp\r\n\r\n", ERR_PROTOCOL, "not speak mqtt but stomp");
    refused(GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", ERR_PROTOCOL,
            "permessage-deflate");
}

static void a_frame_is_masked(void **state)
{
    (void)state;
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    /* RFC 6455 §5.7, but for the opcode */
    static const uint8_t hello[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                    0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const size_t sizes[] = {125, 126, 65535, 65536};
    static const size_t headers[] = {6, 8, 8, 14};
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(websocket_frame(&out, WEBSOCKET_BINARY, BYTES_LITERAL("Hello"), mask), ERR_OK);
    assert_true(bytes_equal(buf_bytes(&out), bytes_from(hello, sizeof(hello))));
    uint8_t *payload = calloc(1, 65536);
    for (int i = 0; i < 4; i++) {
        buf_clear(&out);
        assert_int_equal(
            websocket_frame(&out, WEBSOCKET_BINARY, bytes_from(payload, sizes[i]), mask), ERR_OK);
        assert_int_equal(out.size, sizes[i] + headers[i]);
    }
    free(payload);
    buf_fini(&out);
}

/* Reads in pieces of step bytes: data as it is, control frames as "[opcode:payload]". */
static enum err read_steps(struct bytes in, size_t step, struct buf *out, struct diag *diag)
{
    struct websocket_reader reader = {0};
    for (size_t at = 0; at < in.size; at += step) {
        struct bytes piece = bytes_from(in.data + at, in.size - at < step ? in.size - at : step);
        struct websocket_event event;
        enum err err;
        while ((err = websocket_read(&reader, &piece, &event, diag)) == ERR_OK)
            if (event.opcode == WEBSOCKET_BINARY)
                buf_append(out, event.payload.data, event.payload.size);
            else
                buf_printf(out, "[%d:%.*s]", event.opcode, (int)event.payload.size,
                           (const char *)event.payload.data);
        if (err != ERR_AGAIN)
            return err;
        assert_int_equal(piece.size, 0);
    }
    return ERR_OK;
}

#define FRAMES                                                                                     \
    "\x82\x03"                                                                                     \
    "abc"                                                                                          \
    "\x89\x02"                                                                                     \
    "hi"                                                                                           \
    "\x02\x01"                                                                                     \
    "d"                                                                                            \
    "\x8a\x00"                                                                                     \
    "\x00\x00"                                                                                     \
    "\x80\x02"                                                                                     \
    "ef"                                                                                           \
    "\x82\x7e\x00\x02"                                                                             \
    "gh"                                                                                           \
    "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01"                                                     \
    "i"                                                                                            \
    "\x88\x04\x03\xe8"                                                                             \
    "by"                                                                                           \
    "\x82\x01x"

static void frames_come_in_any_pieces(void **state)
{
    (void)state;
    struct bytes in = {(const uint8_t *)FRAMES, sizeof(FRAMES) - 1};
    struct buf out;
    buf_init(&out, 1000);
    for (size_t step = 1; step <= in.size; step++) {
        struct diag diag = {0};
        buf_clear(&out);
        assert_int_equal(read_steps(in, step, &out, &diag), ERR_OK);
        assert_string_equal(buf_cstr(&out), "abc[9:hi]d[10:]efghi[8:\x03\xe8"
                                            "by]");
    }
    buf_fini(&out);
}

static void broken(const char *frames, size_t size, const char *words)
{
    struct buf out;
    buf_init(&out, 1000);
    for (size_t step = 1; step <= size; step++) {
        struct diag diag = {0};
        assert_int_equal(read_steps(bytes_from(frames, size), step, &out, &diag), ERR_PROTOCOL);
        if (!strstr(diag.text, words))
            fail_msg("\"%s\" is not in \"%s\"", words, diag.text);
    }
    buf_fini(&out);
}

static void what_a_server_must_not_send_is_named(void **state)
{
    (void)state;
    broken("\x82\x81mask1", 7, "masked");
    broken("\xc2\x01x", 3, "reserved bits");
    broken("\x81\x01x", 3, "text frame");
    broken("\x83\x01x", 3, "opcode");
    broken("\x80\x01x", 3, "continuation of nothing");
    broken("\x02\x01x\x82\x01y", 6, "within another's fragments");
    broken("\x09\x01x", 3, "in parts");
    broken("\x89\x7e\x00\x7ex", 5, "over 125 bytes");
    broken("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 10, "2^63");
}

static void a_failed_allocation_is_told(void **state)
{
    (void)state;
    static const char answer[] = GOOD "\r\n";
    for (uint64_t k = 1;; k++) {
        struct buf out;
        struct diag diag = {0};
        size_t size = 0;
        buf_init(&out, 4096);
        mem_fail_at(k);
        enum err err = websocket_request(&out, "broker", 8080, false, "/mqtt", key);
        if (err == ERR_OK)
            err = websocket_frame(&out, WEBSOCKET_PING, (struct bytes){0}, key);
        if (err == ERR_OK)
            err = websocket_answer(bytes_from_text(answer), key, &size, &diag);
        bool failed = mem_failed();
        mem_fail_at(0);
        buf_fini(&out);
        if (!failed) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_as_the_standard_says),
        cmocka_unit_test(an_answer_is_read_to_its_end),
        cmocka_unit_test(a_bad_answer_is_named),
        cmocka_unit_test(a_frame_is_masked),
        cmocka_unit_test(frames_come_in_any_pieces),
        cmocka_unit_test(what_a_server_must_not_send_is_named),
        cmocka_unit_test(a_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
