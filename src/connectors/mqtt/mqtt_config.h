#pragma once
/*
 * The configuration of an MQTT source (contract/connectors.md "MQTT"): JSON to a structure, checked
 * again although the host has validated it, because rules such as overlapping filters are beyond a
 * schema. Pure but for the environment variable MQTT_SHARED_GROUP; one thread at a time.
 *
 * Texts live in the configuration's own arena until mqtt_config_fini. mqtt_config_check, for what a
 * user writes now, refuses members that mqtt_config_schema does not have; mqtt_config_init ignores
 * them, and leaves out topics that others cover: a source of an old database runs as well as it
 * can. Known ones that are not honoured yet are refused by both, never ignored. Errors are
 * ERR_INVALID or ERR_UNSUPPORTED with a sentence that names the member, what was found and what is
 * allowed.
 */
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"
#include "codec/mqtt.h"
#include "connectors/common_options.h"
#include "connectors/config_reader.h"
#include "journal/block.h"
#include "net/tls.h"

#include <jansson.h>

#define MQTT_PORT                 1883
#define MQTT_PORT_TLS             8883
#define MQTT_TOPICS_MAX           1000
#define MQTT_CONNECTIONS_MAX      MESSAGE_SESSIONS_MAX
#define MQTT_CLIENT_ID_BYTES      24 /* 23 characters (3.1.1 §3.1.3.1) and a NUL */
#define MQTT_CONFIG_BYTES_MAX     (4 * MIB)
#define MQTT_RECEIVE_MAXIMUM      65535
#define MQTT_SESSION_EXPIRY_S     3600
#define MQTT_KEEP_ALIVE_S         60
#define MQTT_SHARED_GROUP_DEFAULT "ingestor-group"

struct mqtt_config {
    struct arena arena;
    const char *broker; /* as configured; also the metadata field */
    const char *host;   /* without brackets of an IPv6 address */
    uint16_t port;
    bool tls_enabled;
    struct tls_options tls;
    const char *websocket; /* path; NULL: plain TCP or TLS */
    size_t topic_count;
    struct bytes *topics;  /* as configured */
    struct bytes *filters; /* as subscribed: with $share/<group>/ */
    const char *username;  /* NULL: none */
    const char *password;
    bool use_shared_subscription;
    const char *shared_group; /* NULL when shared subscriptions are off */
    uint8_t qos;              /* 0 to 2 */
    enum mqtt_version version;
    const char *client_id; /* NULL: made from replica and source */
    bool clean_start;
    uint32_t session_expiry_seconds;
    uint16_t keep_alive_seconds; /* 0: none */
    uint16_t receive_maximum;
    uint32_t connections;
    struct common_options common;
};

enum err mqtt_config_init(struct mqtt_config *config, const json_t *json,
                          struct diag *diag) ERR_MUST_USE;
enum err mqtt_config_check(const json_t *json, struct diag *diag) ERR_MUST_USE;
/* Safe on zeroed and half-made ones. */
void mqtt_config_fini(struct mqtt_config *config);

/* For mqtt_config_check: unknown members of tls, which may be NULL. */
enum err mqtt_config_check_tls(const json_t *tls, struct diag *diag) ERR_MUST_USE;
/* For mqtt_config_init: the members tls and websocket. */
void mqtt_config_read_transport(struct mqtt_config *config, struct config_reader *reader);

/* The client identifier of one of the source's connections: the same after every restart, another
 * for each replica, source and connection. */
enum err mqtt_config_client_id(const struct mqtt_config *config, const char *replica_id,
                               const char *source_id, uint32_t connection_index, char *ret_text,
                               size_t size_max) ERR_MUST_USE;

/* Changes a configuration so that a trial of it takes no message from anybody: a session of its own
 * that leaves nothing behind, and no share of a shared subscription. ERR_NO_MEMORY. */
enum err mqtt_config_trial(json_t *json) ERR_MUST_USE;

/* JSON Schema 2020-12 of the same. */
extern const char mqtt_config_schema[];
