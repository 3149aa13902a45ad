#pragma once
/*
 * A broker that sends as fast as its one client reads, for measurements: it must cost far less than
 * what it measures. Own thread of control: flood_run returns when the run is over.
 *
 * Messages are sensor readings with "seq" from FLOOD_SEQ_FIRST on, one more each, so that a reader
 * of the lake can tell what is missing or double. The topics take turns, one message each. With QoS
 * 1, a client that comes back (clean start 0) gets what it has not acknowledged again with DUP,
 * then the rest.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define FLOOD_SEQ_FIRST   1000000000ULL /* ten digits, and the last message's must have them too */
#define FLOOD_RING_MIN    65536u
#define FLOOD_PAYLOAD_MAX 16384u
#define FLOOD_TOPICS_MAX  100000u

struct flood_options {
    uint16_t port; /* 0: any */
    uint8_t qos;   /* 0 or 1 */
    uint32_t topic_count;
    uint64_t message_count;
    uint32_t payload_bytes;  /* about; never less than what the reading needs */
    uint32_t window;         /* unacknowledged at most; the client's receive maximum also counts */
    uint64_t messages_per_s; /* 0: as fast as the client reads */
    bool exit_when_done;     /* else answers pings until the client leaves or stdin ends */
    const char *topic_prefix;
};

/* Prints "port N", then one JSON line of totals to out. */
enum err flood_run(const struct flood_options *options, FILE *out) ERR_MUST_USE;
