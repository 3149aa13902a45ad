#pragma once
/* The command line of `ingestor simulate`. Wrong options are told to the standard error. */
#include "app/simulate_client.h"

#include <stdbool.h>
#include <stdint.h>

struct simulate_options {
    struct client_options client;
    char client_id[32];
    double rate; /* 0: no limit */
    uint32_t sensor_count;
    uint64_t count; /* UINT64_MAX: no end */
    double duration_seconds;
    const char *topic_prefix;
    double fault_ratio;
    uint64_t first_seq;
    uint64_t seed;
    bool serves_coap; /* and publishes nothing */
    const char *coap_address;
    uint16_t coap_port; /* 0: any that is free */
    bool as_json;
    bool is_quiet;
    bool wants_help;
};

/* Points into argv, the environment and itself: not to be copied. False: wrong, and said so. */
bool simulate_options_read(int argc, char **argv, struct simulate_options *ret_options);
extern const char simulate_usage[];
