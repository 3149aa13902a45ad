#pragma once
/*
 * Topic -> ingest route, for one connection: a hash table with a guess in front. Sensors publish in
 * rounds, so each route remembers which one came after it last time; the guess is checked by
 * comparing the bytes, and hits nearly always.
 *
 * A route holds for topic, QoS, retain flag and content type, which are constants of it, so that no
 * message has to repeat them. Bounded by MQTT_ROUTES_MAX and MQTT_ROUTES_BYTES_MAX: a full table is
 * emptied (routes cost a few microseconds to make again). One thread.
 */
#include "codec/mqtt.h"
#include "connectors/mqtt/mqtt_config.h"
#include "pipeline/ingest.h"

#define MQTT_ROUTES_MAX       200000
#define MQTT_ROUTES_BYTES_MAX (128 * MIB)

/* Index of user_properties among the route's fields: the only per-message one. */
#define MQTT_FIELD_USER_PROPERTIES 5
/* Last of the fields, of messages that have one. */
#define MQTT_FIELD_CONTENT_TYPE 6

struct mqtt_route {
    struct mqtt_route *next_guess;
    struct ingest_route *ingest;
    uint64_t hash;       /* of all below */
    uint64_t topic_hash; /* hash_bytes(topic), for mqtt_publish_hash */
    uint32_t topic_size;
    uint16_t content_type_size;
    uint8_t variant; /* qos << 1 | retain */
    uint8_t bytes[]; /* topic, content type */
};

struct mqtt_routes {
    struct ingest_source *source;
    const struct mqtt_config *config;
    const char *source_id;
    struct mqtt_route **slots;
    size_t slot_count;
    size_t count;
    size_t size_bytes;
    struct mqtt_route *last; /* found last; its next_guess comes first */
};

void mqtt_routes_init(struct mqtt_routes *routes, struct ingest_source *source,
                      const struct mqtt_config *config, const char *source_id);
void mqtt_routes_fini(struct mqtt_routes *routes);

/* The pointer is good until the next call. */
enum err mqtt_routes_get(struct mqtt_routes *routes, struct bytes topic, uint8_t qos, bool retain,
                         struct bytes content_type, struct mqtt_route **ret_route) ERR_MUST_USE;
