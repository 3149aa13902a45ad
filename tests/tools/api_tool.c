/*
 * Serves the API with canned recent rows, for tests/integration/test_api.py: two partitions by
 * default (city_a with 5 messages, city_b with 3), or --partitions N of 20 messages. Listens on a
 * free port, which the log line names; ends at the end of its standard input. A line "rows city_a
 * 3" there brings three messages more. Data sources are those of tests/support/fake_registry.h.
 */
#include "api/api.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/process_metrics.h"
#include "support/fake_registry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct tool {
    struct recent *recent;
    struct metrics *metrics;
    struct process_metrics *process;
    struct manager *manager;
    enum api_status status;
};

static void route_make(struct route_view *route, const char *dataset, const char *topic)
{
    *route = (struct route_view){.source_id = BYTES_LITERAL("5ec7bb57_source"),
                                 .dataset_id = bytes_from_text(dataset),
                                 .source_type = BYTES_LITERAL("mqtt"),
                                 .topic = bytes_from_text(topic),
                                 .partition_window_hours = 24,
                                 .field_count = 2};
    route->fields[0] = (struct route_field){
        .name = BYTES_LITERAL("topic"), .type = FIELD_STRING, .constant = bytes_from_text(topic)};
    route->fields[1] = (struct route_field){
        .name = BYTES_LITERAL("broker"), .type = FIELD_STRING, .constant = BYTES_LITERAL("b:1")};
}

static void partition_fill(struct recent *recent, const char *dataset, const char *topic, int count)
{
    struct block *block;
    struct route_view route;
    struct buf record;
    uint32_t route_index;
    buf_init(&record, MIB);
    route_make(&route, dataset, topic);
    enum err err = block_new(LIMIT_BLOCK_CLOSE_BYTES, &block);
    assert(err == ERR_OK);
    err = route_encode(&route, &record);
    assert(err == ERR_OK);
    err = block_add_route(block, buf_bytes(&record), 1, &route_index);
    assert(err == ERR_OK);
    for (int i = 0; i < count; i++) {
        char payload[160];
        int size = snprintf(payload, sizeof(payload),
                            "{\"sensor_id\":\"s%d\",\"seq\":%d,\"value\":%d.5}", i % 2, i, i);
        const struct message_view message = {.payload = bytes_from(payload, (size_t)size),
                                             .arrival_us = 1700000000000000 + i,
                                             .route_index = route_index};
        err = block_add_message(block, &message);
        assert(err == ERR_OK);
    }
    recent_add(recent, block, route_index);
    block_unref(block);
    buf_fini(&record);
}

static void on_health(void *ctx, struct api_health *health)
{
    struct tool *tool = ctx;
    health->status = tool->status;
    health->active_data_sources = 1;
    health->messages_received = 8;
    if (tool->status != API_HEALTHY)
        snprintf(health->object_store, sizeof(health->object_store),
                 "unhealthy: \"no route\" to http://minio:9000");
    health->accounting = json_pack("{s:{s:i,s:i}}", "5ec7bb57_source", "received", 8, "stored", 8);
}

static void on_ready(void *ctx, struct api_ready *ret_ready)
{
    struct tool *tool = ctx;
    ret_ready->ready = tool->status != API_UNHEALTHY;
    ret_ready->checks[ret_ready->check_count++] =
        (struct api_check){"minio", tool->status == API_HEALTHY};
    ret_ready->checks[ret_ready->check_count++] = (struct api_check){"data_sources", true};
}

static bool on_live(void *ctx)
{
    struct tool *tool = ctx;
    return tool->status != API_UNHEALTHY;
}

static void fill(struct tool *tool, int partitions)
{
    char id[32];
    char topic[32];
    if (partitions == 0) {
        partition_fill(tool->recent, "city_b", "city/b", 3);
        partition_fill(tool->recent, "city_a", "city/a", 5);
    }
    for (int i = 0; i < partitions; i++) {
        snprintf(id, sizeof(id), "part_%06d", i);
        snprintf(topic, sizeof(topic), "part/%d", i);
        partition_fill(tool->recent, id, topic, 20);
    }
}

static void metrics_fill(struct tool *tool, int partitions)
{
    for (int i = 0; i < partitions; i++) {
        char id[32];
        struct counter *counter;
        snprintf(id, sizeof(id), "part_%06d", i);
        enum err err = metrics_counter(
            tool->metrics, "ingestor_messages_received_total", "Total number of messages received",
            METRIC_LABELS({"pod", "tool"}, {"source_type", "mqtt"}, {"ingestion_id", id}),
            &counter);
        assert(err == ERR_OK);
        counter_add(counter, 20);
    }
}

/* "rows <partition> <count>" */
static void feed(struct tool *tool, const char *line)
{
    char dataset[64];
    int count;
    if (sscanf(line, "rows %63s %d", dataset, &count) == 2)
        partition_fill(tool->recent, dataset, dataset, count);
}

int main(int argc, char **argv)
{
    struct tool tool = {0};
    struct api_options options = {.host = "127.0.0.1", .cors_origins = "*"};
    int partitions = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cors") == 0)
            options.cors_origins = argv[i + 1];
        else if (strcmp(argv[i], "--timeout-ms") == 0)
            options.request_timeout_ms = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--partitions") == 0)
            partitions = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--status") == 0)
            tool.status = (enum api_status)strtol(argv[i + 1], NULL, 10);
    }
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    enum err err = recent_new(100, 0, &clock_system, &tool.recent);
    assert(err == ERR_OK);
    err = metrics_new(&tool.metrics);
    assert(err == ERR_OK);
    err = process_metrics_new(tool.metrics, &tool.process);
    assert(err == ERR_OK);
    err = fake_registry_new(&tool.manager);
    assert(err == ERR_OK);
    fill(&tool, partitions);
    metrics_fill(&tool, partitions > 1000 ? 1000 : partitions);

    struct api *api = NULL;
    struct diag diag = {0};
    const struct api_services services = {.version = "0.0-tool",
                                          .recent = tool.recent,
                                          .metrics = tool.metrics,
                                          .health = on_health,
                                          .ready = on_ready,
                                          .live = on_live,
                                          .ctx = &tool,
                                          .manager = tool.manager};
    err = api_start(&options, &services, &api, &diag);
    if (err != ERR_OK)
        fprintf(stderr, "%s\n", diag.text);
    char line[128];
    while (err == ERR_OK && fgets(line, sizeof(line), stdin))
        feed(&tool, line);
    api_stop(api);
    fake_registry_free(tool.manager);
    metrics_free(tool.metrics);
    process_metrics_free(tool.process);
    recent_free(tool.recent);
    return err == ERR_OK ? 0 : 1;
}
