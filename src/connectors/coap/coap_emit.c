#include "connectors/coap/coap_emit.h"

#include "base/limits.h"

#include <stdio.h>

#define URI_BYTES_MAX 2048
#define ID_BYTES_MAX  (64 * KIB)

const char *coap_emit_media_type(int32_t format)
{
    /* IANA "CoAP Content-Formats" */
    static const struct {
        int32_t format;
        const char *media_type;
    } known[] = {
        {0, "text/plain;charset=utf-8"},  {40, "application/link-format"},
        {41, "application/xml"},          {42, "application/octet-stream"},
        {47, "application/exi"},          {50, "application/json"},
        {60, "application/cbor"},         {110, "application/senml+json"},
        {111, "application/sensml+json"}, {112, "application/senml+cbor"},
        {113, "application/sensml+cbor"}, {310, "application/senml+xml"},
        {432, "application/td+json"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].format == format)
            return known[i].media_type;
    return "";
}

static struct route_field text_field(const char *name, const char *text)
{
    return (struct route_field){
        .name = bytes_from_text(name), .type = FIELD_STRING, .constant = bytes_from_text(text)};
}

/* A field that is per message and given with none is null. */
static struct route_field format_field(int32_t format, const double *number)
{
    struct route_field field = {.name = BYTES_LITERAL("content_format"), .type = FIELD_DOUBLE};
    field.per_message = format == COAP_FORMAT_NONE;
    if (!field.per_message)
        field.constant = bytes_from(number, sizeof(*number));
    return field;
}

static enum err route_make(const struct coap_emit *emit, struct coap_emit_route *route,
                           const struct coap_emission *emission)
{
    const struct coap_config *config = emit->config;
    char uri[URI_BYTES_MAX], code[8];
    double format = emission->format;
    struct bytes topic = bytes_from(emission->path, strcspn(emission->path, "?"));
    struct buf id;
    buf_init(&id, ID_BYTES_MAX);
    snprintf(uri, sizeof(uri), "%s%s", config->base, emission->path);
    snprintf(code, sizeof(code), "%u.%02u", emission->code >> 5, emission->code & 31u);
    enum err err = common_options_dataset_id(&config->common, emit->source_id, topic, &id);
    struct route_view view = {
        .dataset_id = buf_bytes(&id),
        .topic = topic,
        .content_type = bytes_from_text(coap_emit_media_type(emission->format)),
        .field_count = 5,
        .fields = {text_field("resource_uri", uri), text_field("coap_code", code),
                   format_field(emission->format, &format),
                   text_field("mode", config->is_poll ? "poll" : "observe"),
                   text_field("original_source_id", emit->source_id)},
    };
    common_options_route(&config->common, &view);
    if (err == ERR_OK)
        err = ingest_route_new(emit->source, &view, &route->ingest);
    buf_fini(&id);
    route->code = emission->code;
    route->format = emission->format;
    return err;
}

enum err coap_emit_message(struct coap_emit *emit, struct coap_emit_route *route,
                           const struct coap_emission *emission)
{
    size_t size_max = emit->config->common.message_max_bytes;
    struct ingest_message message = {.payload = emission->payload,
                                     .arrival_us = emission->arrival_us,
                                     .wants_acknowledgement = emission->wants_acknowledgement};
    char detail[120];
    enum err err = ERR_OK;
    if (route->ingest && (route->code != emission->code || route->format != emission->format))
        coap_emit_route_fini(route);
    if (!route->ingest)
        err = route_make(emit, route, emission);
    if (err != ERR_OK)
        return err;
    if (!emission->is_oversize && emission->payload.size <= size_max) {
        err = ingest_emit(route->ingest, &message, &emit->sequence);
        emit->messages += err == ERR_OK;
        return err;
    }
    snprintf(detail, sizeof(detail),
             "the body has more than the %zu bytes that the source takes (max_message_bytes)",
             size_max);
    err = ingest_reject(route->ingest, &message, "oversize", detail, &emit->sequence);
    emit->oversize += err == ERR_OK;
    return err;
}

void coap_emit_repeated(struct coap_emit_route *route, uint64_t bytes)
{
    if (route->ingest)
        ingest_count_repeated(route->ingest, bytes);
}

void coap_emit_route_fini(struct coap_emit_route *route)
{
    ingest_route_free(route->ingest);
    route->ingest = NULL;
}
