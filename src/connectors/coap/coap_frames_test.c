#include "connectors/coap/coap_frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Messages of each kind of length, one after the other. */
struct stream {
    uint8_t *bytes;
    bool *is_in_header; /* a cut before that byte is within a header */
    size_t size;
};

static void add(struct stream *stream, uint32_t length, uint8_t token_bytes)
{
    uint8_t header[COAP_FRAME_HEADER_BYTES_MAX];
    size_t size = 0, body = length + token_bytes;
    unsigned extra = length < 13 ? 0 : length < 269 ? 1 : length < 65805 ? 2 : 4;
    uint32_t offset = length < 13 ? 0 : length < 269 ? 13 : length < 65805 ? 269 : 65805;
    unsigned nibble = extra == 0 ? length : extra == 4 ? 15 : 12 + extra;
    header[size++] = (uint8_t)(nibble << 4 | token_bytes);
    for (unsigned i = extra; i > 0; i--)
        header[size++] = (uint8_t)((length - offset) >> (8 * (i - 1)));
    header[size++] = 0x45;
    stream->bytes = realloc(stream->bytes, stream->size + size + body);
    stream->is_in_header = realloc(stream->is_in_header, stream->size + size + body);
    assert_non_null(stream->bytes);
    assert_non_null(stream->is_in_header);
    memcpy(stream->bytes + stream->size, header, size);
    memset(stream->bytes + stream->size + size, 0xff, body);
    memset(stream->is_in_header + stream->size, 0, size + body);
    for (size_t i = 1; i < size; i++)
        stream->is_in_header[stream->size + i] = true;
    stream->size += size + body;
}

static struct stream stream_make(void)
{
    struct stream stream = {0};
    static const uint32_t lengths[] = {0, 1, 12, 13, 14, 268, 269, 270, 1500, 65804, 65805, 65806};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        add(&stream, lengths[i], (uint8_t)(i % 9));
        add(&stream, 0, 0);
    }
    return stream;
}

/* What comes in parts of that size goes on in pieces of at most max, all of it in the end. */
static void pass(const struct stream *stream, size_t part, size_t max)
{
    struct coap_frames frames = {0};
    size_t at = 0;
    for (size_t come = 0; come < stream->size;) {
        size_t piece;
        come = come + part < stream->size ? come + part : stream->size;
        do {
            assert_int_equal(coap_frames_cut(&frames, stream->bytes + at, come - at, max, &piece),
                             ERR_OK);
            assert_true(piece <= max);
            at += piece;
            assert_true(at == stream->size || !stream->is_in_header[at]);
        } while (piece > 0);
        assert_true(come - at < COAP_FRAME_HEADER_BYTES_MAX);
    }
    assert_int_equal(at, stream->size);
    assert_int_equal(frames.body, 0);
}

static void test_no_cut_is_within_a_header(void **state)
{
    (void)state;
    struct stream stream = stream_make();
    for (size_t part = 1; part < 40; part++)
        pass(&stream, part, 1472);
    for (size_t max = COAP_FRAME_HEADER_BYTES_MAX; max < 40; max++)
        pass(&stream, 16384, max);
    free(stream.bytes);
    free(stream.is_in_header);
}

static void test_the_longest_length(void **state)
{
    (void)state;
    struct coap_frames frames = {0};
    size_t piece;
    const uint8_t header[] = {0xf8, 0xff, 0xff, 0xff, 0xff, 0x45};
    assert_int_equal(coap_frames_cut(&frames, header, sizeof(header), 100, &piece), ERR_OK);
    assert_int_equal(piece, sizeof(header));
    assert_true(frames.body == 0xffffffffull + 65805 + 8);
}

static void test_a_reserved_token_length_is_refused(void **state)
{
    (void)state;
    for (uint8_t first = 9; first < 16; first++) {
        struct coap_frames frames = {0};
        size_t piece;
        assert_int_equal(coap_frames_cut(&frames, &first, 1, 100, &piece), ERR_PROTOCOL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_cut_is_within_a_header),
        cmocka_unit_test(test_the_longest_length),
        cmocka_unit_test(test_a_reserved_token_length_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
