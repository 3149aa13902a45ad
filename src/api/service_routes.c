/* The service's own routes: root, health, ready, live, metrics. */
#include "api/envelope.h"
#include "api/route.h"
#include "base/limits.h"

#include <stdio.h>
#include <strings.h>

/* The contract's keys; each is named when its route exists. */
static const struct {
    const char *key;
    const char *path;
} endpoints[] = {
    {"docs", "/docs"},
    {"openapi", "/openapi.json"},
    {"health", "/api/health"},
    {"ready", "/api/ready"},
    {"live", "/api/live"},
    {"metrics", "/api/metrics"},
    {"partitions", "/api/partitions"},
    {"data", "/api/data"},
    {"data_sources", "/api/data-sources"},
    {"data_source_types", "/api/data-sources/types"},
};

static const char *const features[] = {
    "Durable before it is acknowledged: a journal stands before every acknowledgement",
    "Exactly once: each acknowledged record is in the lake once",
    "Parquet in S3, MinIO or a folder, partitioned by event time",
    "Recent rows of every partition over HTTP",
    "Prometheus metrics, health and readiness",
};

/* Whether text/html stands first in Accept: a person with a browser. */
static bool prefers_html(const struct api_request *request)
{
    const char *accept = request->accept;
    return accept && strncasecmp(accept + strspn(accept, " "), "text/html", 9) == 0;
}

static enum err root_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    struct buf *out = &response->body;
    if (prefers_html(request) && api_route_exists("/docs")) {
        response->status = 307;
        response->content_type = NULL;
        response->location = "/docs";
        return ERR_OK;
    }
    buf_text(out, "{\"message\":\"Ingestor: from messages to Parquet, exactly once\","
                  "\"version\":");
    buf_json_string(out, bytes_from_text(services->version));
    buf_text(out, ",\"features\":[");
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        buf_text(out, i > 0 ? "," : "");
        buf_json_string(out, bytes_from_text(features[i]));
    }
    buf_text(out, "],\"endpoints\":{");
    const char *comma = "";
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        if (!api_route_exists(endpoints[i].path))
            continue;
        buf_printf(out, "%s\"%s\":\"%s\"", comma, endpoints[i].key, endpoints[i].path);
        comma = ",";
    }
    return buf_text(out, "}}");
}

static void health_preset(const struct api_services *services, struct api_health *health)
{
    struct recent_stats stats;
    recent_stats_get(services->recent, &stats);
    *health = (struct api_health){.status = API_HEALTHY, .buffered_messages = stats.rows};
    char *texts[] = {health->data_sources, health->object_store, health->data_buffer,
                     health->journal,      health->database,     health->metadata};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        snprintf(texts[i], API_TEXT_BYTES, "healthy");
}

static void append_components(const struct api_health *health, struct buf *out)
{
    const struct {
        const char *name;
        const char *text;
    } components[] = {
        {"data_sources", health->data_sources}, {"minio", health->object_store},
        {"data_buffer", health->data_buffer},   {"journal", health->journal},
        {"database", health->database},         {"metadata", health->metadata},
    };
    for (size_t i = 0; i < sizeof(components) / sizeof(components[0]); i++) {
        buf_printf(out, "%s\"%s\":", i > 0 ? "," : "", components[i].name);
        buf_json_string(
            out, bytes_from(components[i].text, strnlen(components[i].text, API_TEXT_BYTES)));
    }
}

static void append_numbers(const struct api_health *health, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"buffered_messages", health->buffered_messages},
        {"active_data_sources", health->active_data_sources},
        {"messages_received", health->messages_received},
        {"messages_processed", health->messages_processed},
        {"messages_stored", health->messages_stored},
        {"messages_rejected", health->messages_rejected},
        {"messages_repeated", health->messages_repeated},
        {"messages_pending", health->messages_pending},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        buf_printf(out, "%s\"%s\":%llu", i > 0 ? "," : "", numbers[i].name,
                   (unsigned long long)numbers[i].value);
}

static enum err append_accounting(const struct api_health *health, struct buf *out)
{
    if (!health->accounting)
        return ERR_OK;
    buf_text(out, ",\"accounting\":");
    return api_append_json(out, health->accounting);
}

static enum err health_get(const struct api_services *services, struct api_request *request,
                           struct api_response *response)
{
    static const char *const status_texts[] = {"healthy", "degraded", "unhealthy"};
    (void)request;
    struct api_health health;
    health_preset(services, &health);
    services->health(services->ctx, &health);
    struct buf *out = &response->body;
    buf_printf(out, "{\"status\":\"%s\",\"components\":{", status_texts[health.status]);
    append_components(&health, out);
    buf_text(out, "},\"metrics\":{");
    append_numbers(&health, out);
    enum err err = append_accounting(&health, out);
    json_decref(health.accounting);
    response->status = health.status == API_UNHEALTHY ? 503 : 200;
    buf_text(out, "}}");
    return err;
}

static enum err ready_get(const struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    (void)request;
    struct api_ready ready = {0};
    services->ready(services->ctx, &ready);
    struct buf *out = &response->body;
    buf_printf(out, "{\"ready\":%s,\"checks\":{", ready.ready ? "true" : "false");
    for (size_t i = 0; i < ready.check_count && i < API_CHECKS_MAX; i++)
        buf_printf(out, "%s\"%s\":%s", i > 0 ? "," : "", ready.checks[i].name,
                   ready.checks[i].good ? "true" : "false");
    response->status = ready.ready ? 200 : 503;
    return buf_text(out, "}}");
}

static enum err live_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    (void)request;
    bool live = services->live(services->ctx);
    response->status = live ? 200 : 503;
    return buf_printf(&response->body, "{\"live\":%s}", live ? "true" : "false");
}

static enum err metrics_get(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    (void)request;
    response->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return metrics_render(services->metrics, &response->body);
}

#define HEALTH_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"status\",\"components\",\"metrics\"],\"properties\":{"   \
    "\"status\":{\"type\":\"string\",\"enum\":[\"healthy\",\"degraded\",\"unhealthy\"]},"          \
    "\"components\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"         \
    "\"metrics\":{\"type\":\"object\"}}}"
#define READY_SCHEMA                                                                               \
    "{\"type\":\"object\",\"required\":[\"ready\",\"checks\"],\"properties\":{"                    \
    "\"ready\":{\"type\":\"boolean\"},"                                                            \
    "\"checks\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}}}}"
#define LIVE_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"live\"],\"properties\":{\"live\":{\"type\":"             \
    "\"boolean\"}}}"
#define ROOT_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"message\",\"version\",\"features\",\"endpoints\"],"      \
    "\"properties\":{\"message\":{\"type\":\"string\"},\"version\":{\"type\":\"string\"},"         \
    "\"features\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"                           \
    "\"endpoints\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}}}"

static const unsigned unavailable[] = {503, 0};

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/",
     .handle = root_get,
     .tag = "service",
     .summary = "What this service is and where its parts are",
     .answer = API_ANSWER_BARE,
     .answer_schema = ROOT_SCHEMA},
    {.method = "GET",
     .path = "/api/health",
     .handle = health_get,
     .tag = "service",
     .summary = "Health of every component; 503 when nothing can be acknowledged",
     .answer = API_ANSWER_BARE,
     .answer_schema = HEALTH_SCHEMA,
     .error_statuses = unavailable},
    {.method = "GET",
     .path = "/api/ready",
     .handle = ready_get,
     .tag = "service",
     .summary = "Whether the service can take messages; 503 when not",
     .answer = API_ANSWER_BARE,
     .answer_schema = READY_SCHEMA,
     .error_statuses = unavailable},
    {.method = "GET",
     .path = "/api/live",
     .handle = live_get,
     .tag = "service",
     .summary = "Whether the process makes progress; 503 when a loop is stuck",
     .answer = API_ANSWER_BARE,
     .answer_schema = LIVE_SCHEMA,
     .error_statuses = unavailable},
    {.method = "GET",
     .path = "/api/metrics",
     .handle = metrics_get,
     .tag = "service",
     .summary = "Metrics in the Prometheus text format 0.0.4",
     .answer = API_ANSWER_TEXT},
    {.method = "GET",
     .path = "/metrics",
     .handle = metrics_get,
     .tag = "service",
     .summary = "The same metrics where Prometheus looks first",
     .answer = API_ANSWER_TEXT},
};

const struct api_route_group service_routes = {routes, sizeof(routes) / sizeof(routes[0])};
