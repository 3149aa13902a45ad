#pragma once
/*
 * Finds a broker that waits whenever N messages are unacknowledged (Mosquitto's default is 20), so
 * that a user can be told which of its settings to raise. Pure; one connection's, on its loop.
 *
 * Such a broker never goes beyond N, comes to exactly N again and again, and sends at once when
 * acknowledgements make room. It says nothing of how many are acknowledged at a time: one window
 * may lie in several journal blocks.
 *
 * Of Mosquitto 2.0.11 (Debian 12) nothing is found, because there is nothing: for each
 * acknowledgement it lets as many as N more go (its issue 2301), so with N = 20 a proxy saw
 * hundreds to thousands unacknowledged, and nothing waits. HiveMQ keeps to its 50.
 */
#include <stdbool.h>
#include <stdint.h>

#define MQTT_STALL_MIN      10 /* smaller numbers are everyday bursts */
#define MQTT_STALL_HITS     50
#define MQTT_STALL_SOON_MS  10    /* a broker that waited; a publisher's bursts come later */
#define MQTT_STALL_QUIET_MS 10000 /* nothing to acknowledge: nobody waits any more */

struct mqtt_stall {
    uint32_t size; /* the most that was unacknowledged */
    uint32_t hits; /* how often, with data soon after */
    uint64_t acknowledged_ms;
    bool full;  /* it came to size since the last acknowledgement */
    bool armed; /* and was acknowledged: does data come at once? */
    bool told;
};

enum mqtt_stall_news {
    MQTT_STALL_NOTHING,
    MQTT_STALL_FOUND, /* N = size is the broker's limit */
    MQTT_STALL_OVER,  /* what was found does not hold, or not any more */
};

/* Data has come. Found is told once, until it is over. */
enum mqtt_stall_news mqtt_stall_data(struct mqtt_stall *stall, uint64_t now_ms);
/* So many are unacknowledged after it. Our own receive maximum is no limit of the broker. */
void mqtt_stall_received(struct mqtt_stall *stall, uint32_t unacknowledged,
                         uint32_t receive_maximum);
void mqtt_stall_acknowledged(struct mqtt_stall *stall, uint64_t now_ms);
