#pragma once
/*
 * What a resource answered, as a message of the pipeline: its route (data.md "DataMessage") and the
 * emission. The loop's thread.
 */
#include "connectors/coap/coap_config.h"
#include "pipeline/ingest.h"

#define COAP_FORMAT_NONE (-1)

struct coap_emit {
    const struct coap_config *config;
    const char *source_id;
    struct ingest_source *source;
    uint64_t sequence; /* of the last emission */
    uint64_t messages;
    uint64_t oversize;
};

/* A resource's route: made at the first emission, and again when code or format change. */
struct coap_emit_route {
    struct ingest_route *ingest; /* NULL: none yet */
    uint8_t code;
    int32_t format;
};

struct coap_emission {
    const char *path; /* path?query */
    uint8_t code;
    int32_t format; /* content format, COAP_FORMAT_NONE */
    struct bytes payload;
    int64_t arrival_us;
    bool is_oversize; /* payload is the beginning of what is too large */
    bool wants_acknowledgement;
};

enum err coap_emit_message(struct coap_emit *emit, struct coap_emit_route *route,
                           const struct coap_emission *emission) ERR_MUST_USE;
/* The same value has come again and is not stored. */
void coap_emit_repeated(struct coap_emit_route *route, uint64_t bytes);
void coap_emit_route_fini(struct coap_emit_route *route);

/* The media type of a content format, "" when it is not known. */
const char *coap_emit_media_type(int32_t format);
