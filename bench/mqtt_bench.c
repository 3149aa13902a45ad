/* What framing, decoding and hashing one PUBLISH costs: bench/mqtt_bench [packets]. */
#include "base/hash.h"
#include "codec/mqtt_encode.h"
#include "os/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RING_PACKETS 1000

static const char payload[] =
    "{\"sensor_id\":\"temp-0042\",\"type\":\"temperature\",\"seq\":123456,\"value\":21.537,"
    "\"unit\":\"C\",\"battery\":87.5,\"location\":{\"lat\":51.0504,\"lon\":13.7373},"
    "\"timestamp\":\"2026-11-24T12:00:00.123Z\"}";

static void fill(struct buf *ring, bool with_properties)
{
    for (unsigned i = 0; i < RING_PACKETS; i++) {
        char topic[64];
        snprintf(topic, sizeof(topic), "smartcity/sensors/temperature/temp-%04u", i % 100);
        struct mqtt_publish publish = {.topic = bytes_from_text(topic),
                                       .payload = bytes_from(payload, sizeof(payload) - 1),
                                       .packet_identifier = (uint16_t)(i + 1),
                                       .qos = 1};
        if (with_properties) {
            mqtt_set(&publish.properties, MQTT_PROPERTY_CONTENT_TYPE);
            publish.properties.content_type = BYTES_LITERAL("application/json");
            publish.properties.raw = BYTES_LITERAL("\x26\x00\x04unit\x00\x01"
                                                   "C");
        }
        if (mqtt_encode_publish(ring, MQTT_VERSION_5, &publish) != ERR_OK)
            exit(1);
    }
}

static uint64_t pass(const struct buf *ring, bool with_hash)
{
    uint64_t sum = 0;
    for (size_t at = 0; at < ring->size;) {
        struct mqtt_frame frame;
        struct mqtt_fault fault;
        struct mqtt_publish publish;
        struct bytes rest = bytes_from(ring->data + at, ring->size - at);
        if (mqtt_frame(rest, 1 << 24, &frame, &fault) != ERR_OK ||
            mqtt_decode_publish(MQTT_VERSION_5, &frame,
                                bytes_from(rest.data + frame.header_size, frame.body_size),
                                &publish, &fault) != ERR_OK)
            exit(1);
        sum += publish.payload.size + publish.packet_identifier;
        if (with_hash)
            sum += mqtt_publish_hash(hash_bytes(publish.topic), &publish);
        at += frame.total_size;
    }
    return sum;
}

static void measure(const char *name, bool with_properties, bool with_hash, uint64_t packets)
{
    struct buf ring;
    buf_init(&ring, 1 << 24);
    fill(&ring, with_properties);
    uint64_t sum = pass(&ring, with_hash);
    int64_t start_ns = clock_monotonic_ns(&clock_system);
    for (uint64_t done = 0; done < packets; done += RING_PACKETS)
        sum += pass(&ring, with_hash);
    int64_t taken_ns = clock_monotonic_ns(&clock_system) - start_ns;
    printf("%-36s %6.1f ns per packet (sum %016" PRIx64 ")\n", name,
           (double)taken_ns / (double)packets, sum);
    buf_fini(&ring);
}

int main(int argc, char **argv)
{
    uint64_t packets = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
    measure("frame and decode", false, false, packets);
    measure("frame, decode and hash", false, true, packets);
    measure("with properties", true, false, packets);
    measure("with properties, and hash", true, true, packets);
    return 0;
}
