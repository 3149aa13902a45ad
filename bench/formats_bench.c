/*
 * What a format costs on the way to the columns: the same readings as JSON, CBOR (doubles,
 * singles), MessagePack, CSV and SenML through batch_append. formats_bench [messages]
 */
#include "base/buf.h"
#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK_MESSAGES 200
#define ROUNDS         5
#define FIELDS         6

static const char *const names[FIELDS] = {"temperature", "humidity", "pressure",
                                          "battery",     "lat",      "lon"};
static const double scales[FIELDS] = {1e3, 1e1, 1e2, 1, 1e6, 1e6};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void check(bool good)
{
    if (!good)
        abort();
}

static double reading(int message, int field)
{
    uint32_t mixed = (uint32_t)(message * FIELDS + field) * 2654435761u;
    return (double)(mixed % 90000) / scales[field];
}

static void big_endian(struct buf *out, uint64_t bits, int bytes)
{
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        buf_byte(out, (uint8_t)(bits >> shift));
}

/* A map of short texts and doubles (head 0xfb in CBOR, 0xcb in MessagePack) or singles. */
static void binary_payload(struct buf *out, int message, uint8_t map, uint8_t text, uint8_t number)
{
    bool single = number == 0xfa;
    buf_byte(out, map | (FIELDS + 1));
    for (int i = 0; i < FIELDS; i++) {
        double value = reading(message, i);
        float narrow = (float)value;
        uint64_t bits = 0;
        uint32_t narrow_bits;
        memcpy(&bits, &value, sizeof(value));
        memcpy(&narrow_bits, &narrow, sizeof(narrow));
        buf_byte(out, text | (uint8_t)strlen(names[i]));
        buf_text(out, names[i]);
        buf_byte(out, number);
        big_endian(out, single ? narrow_bits : bits, single ? 4 : 8);
    }
    buf_byte(out, text | 6);
    buf_text(out, "status");
    buf_byte(out, text | 2);
    buf_text(out, "ok");
}

static void json_payload(struct buf *out, int message)
{
    buf_byte(out, '{');
    for (int i = 0; i < FIELDS; i++)
        buf_printf(out, "\"%s\":%.10g,", names[i], reading(message, i));
    buf_text(out, "\"status\":\"ok\"}");
}

static void csv_payload(struct buf *out, int message)
{
    for (int i = 0; i < FIELDS; i++)
        buf_printf(out, "%s,", names[i]);
    buf_text(out, "status\n");
    for (int i = 0; i < FIELDS; i++)
        buf_printf(out, "%.10g,", reading(message, i));
    buf_text(out, "ok\n");
}

static void senml_payload(struct buf *out, int message)
{
    buf_printf(out, "[{\"bn\":\"urn:dev:x:\",\"bt\":1772600767.%03d,", message % 1000);
    for (int i = 0; i < FIELDS; i++)
        buf_printf(out, "%s\"n\":\"%s\",\"v\":%.10g}", i == 0 ? "" : ",{", names[i],
                   reading(message, i));
    buf_byte(out, ']');
}

enum payload { JSON, CBOR_DOUBLES, CBOR_SINGLES, MSGPACK, CSV, SENML };

static void payload_make(struct buf *out, enum payload kind, int message)
{
    buf_clear(out);
    if (kind == JSON)
        json_payload(out, message);
    else if (kind == CSV)
        csv_payload(out, message);
    else if (kind == SENML)
        senml_payload(out, message);
    else if (kind == MSGPACK)
        binary_payload(out, message, 0x80, 0xa0, 0xcb);
    else
        binary_payload(out, message, 0xa0, 0x60, kind == CBOR_DOUBLES ? 0xfb : 0xfa);
}

/* Fills the rig's block; returns the payloads' bytes. */
static size_t block_fill(struct rig *rig, enum payload kind)
{
    struct buf payload;
    size_t bytes = 0;
    buf_init(&payload, 4096);
    check(rig_block(rig) == ERR_OK);
    for (int i = 0; i < BLOCK_MESSAGES; i++) {
        payload_make(&payload, kind, i);
        check(rig_message(rig, buf_bytes(&payload), 0) == ERR_OK);
        bytes += payload.size;
    }
    buf_fini(&payload);
    return bytes;
}

static double round_seconds(struct rig *rig, int blocks)
{
    struct cut cut;
    double start = now_seconds();
    for (int i = 0; i < blocks; i++)
        check(rig_append(rig) == ERR_OK);
    double seconds = now_seconds() - start;
    struct batch_stats stats;
    batch_stats_get(rig->batch, &stats);
    check(stats.rejected == 0 && stats.rescued == 0);
    check(stats.messages == (uint64_t)blocks * BLOCK_MESSAGES);
    check(batch_cut(rig->batch, &cut, NULL) == ERR_OK);
    cut_fini(&cut);
    return seconds;
}

static void measure(const char *name, enum payload kind, enum content_format format, int blocks)
{
    struct rig rig;
    double best = 1e9;
    check(rig_init(&rig) == ERR_OK && rig_batch(&rig) == ERR_OK);
    rig.route.format = format;
    if (kind == SENML)
        rig.route.timestamp_field = bytes_from_text("t");
    size_t bytes = block_fill(&rig, kind);
    round_seconds(&rig, 1); /* learns the columns */
    for (int i = 0; i < ROUNDS; i++) {
        double seconds = round_seconds(&rig, blocks);
        best = seconds < best ? seconds : best;
    }
    printf("%-14s %4zu B  %6.0f ns a message\n", name, bytes / BLOCK_MESSAGES,
           best * 1e9 / blocks / BLOCK_MESSAGES);
    rig_fini(&rig);
}

int main(int argc, char **argv)
{
    int messages = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 100000;
    int blocks = messages / BLOCK_MESSAGES > 0 ? messages / BLOCK_MESSAGES : 1;
    measure("JSON", JSON, CONTENT_AUTO, blocks);
    measure("CBOR doubles", CBOR_DOUBLES, CONTENT_CBOR, blocks);
    measure("CBOR singles", CBOR_SINGLES, CONTENT_CBOR, blocks);
    measure("MessagePack", MSGPACK, CONTENT_MSGPACK, blocks);
    measure("CSV", CSV, CONTENT_CSV, blocks);
    measure("SenML, 6 rows", SENML, CONTENT_SENML_JSON, blocks);
    return 0;
}
