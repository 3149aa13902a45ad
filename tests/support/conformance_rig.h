#pragma once
/*
 * What stands around a source in the conformance suite (sources/source_conformance_test.c): an I/O
 * loop and a sink that looks at each block and calls it durable. The program includes cmocka
 * before.
 */
#include "base/alloc.h"
#include "journal/block.h"
#include "os/clock.h"
#include "pipeline/ingest_loop.h"
#include "sources/source.h"

#include <stdio.h>
#include <unistd.h>

#define SOURCE_ID   "a1b2c3_conformance"
#define PATIENCE_NS (120 * NS_PER_S)

/* What is wrong with what a connector emitted, written on its loop. */
static char fault[256];
static _Atomic bool must_pause;

struct service {
    struct loop loop;
    struct ingest_loop *ingest;
    struct account_book *book;
    _Atomic uint64_t in_flight;
    uint64_t blocks;
    const struct connector *connector;
};

static inline void check_route(const struct service *service, const struct block *block,
                               uint32_t index)
{
    struct route_view route;
    block_route_get(block, index, &route);
    if (!bytes_equal_text(route.source_id, SOURCE_ID))
        snprintf(fault, sizeof(fault), "a route is of another source");
    if (!bytes_equal_text(route.source_type, service->connector->name))
        snprintf(fault, sizeof(fault), "a route's source_type is not the connector's name");
    if (route.dataset_id.size < strlen(SOURCE_ID) ||
        memcmp(route.dataset_id.data, SOURCE_ID, strlen(SOURCE_ID)) != 0)
        snprintf(fault, sizeof(fault), "a dataset does not begin with the source's id");
}

static inline enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                                   uint64_t group)
{
    struct service *service = ctx;
    struct block *block = take_shipment->block;
    struct block *parsed = NULL;
    uint64_t number = ++service->blocks;
    block_seal(block, BLOCK_DATA, flags, group, number, 1, number - 1);
    enum err err = block_parse(bytes_from(block->image, block_padded_bytes(block)), &parsed, NULL);
    if (err != ERR_OK && err != ERR_NO_MEMORY)
        snprintf(fault, sizeof(fault), "a block is malformed");
    for (uint32_t i = 0; parsed && i < parsed->route_count; i++)
        check_route(service, parsed, i);
    block_unref(parsed);
    loop_post(take_shipment->loop_thread, &take_shipment->letter);
    return ERR_OK;
}

static inline bool sink_idle(void *ctx)
{
    (void)ctx;
    return true;
}

static inline bool sink_must_pause(void *ctx, const struct account *account)
{
    (void)ctx;
    (void)account;
    return must_pause;
}

static inline void service_begin(struct service *service, const struct connector *connector)
{
    const struct ingest_sink sink = {
        .submit = sink_submit, .idle = sink_idle, .must_pause = sink_must_pause, .ctx = service};
    const struct ingest_rule rule = {PARTITION_BY_EVENT, 24};
    *service = (struct service){.connector = connector};
    fault[0] = '\0';
    must_pause = false;
    assert_int_equal(account_book_new(&service->book), ERR_OK);
    assert_int_equal(loop_start(&service->loop, "conformance"), ERR_OK);
    assert_int_equal(ingest_loop_new(&service->loop, &sink, &rule, service->book,
                                     &service->in_flight, &service->ingest),
                     ERR_OK);
}

/* A handle that is still open, or a message still on its way, is a leak that asserts or ASan tell.
 */
static inline void service_end(struct service *service)
{
    ingest_loop_close(service->ingest);
    loop_stop(&service->loop);
    ingest_loop_free(service->ingest);
    account_book_free(service->book);
    if (fault[0])
        fail_msg("%s: %s", service->connector->name, fault);
}

static inline struct source *source_of(struct service *service, const json_t *config)
{
    struct source *source;
    const struct source_options options = {.connector = service->connector,
                                           .name = "conformance",
                                           .ingestion_id = SOURCE_ID,
                                           .config = config,
                                           .replica_id = "00000000-0000-4000-8000-000000000000",
                                           .loop = &service->loop,
                                           .ingest = service->ingest};
    assert_int_equal(source_new(&options, &source), ERR_OK);
    return source;
}

/* Until it runs or says why not. */
static inline struct source_status wait_settled(struct source *source)
{
    struct source_status status;
    int64_t end_ns = clock_monotonic_ns(&clock_system) + PATIENCE_NS;
    do {
        source_status_get(source, &status);
        if (clock_monotonic_ns(&clock_system) > end_ns)
            fail_msg("%s neither connects nor fails", source_connector(source)->name);
        usleep(500);
    } while (status.state != SOURCE_ACTIVE && status.state != SOURCE_ERROR);
    if (status.state == SOURCE_ERROR && status.last_error[0] == '\0')
        fail_msg("%s fails without a reason", source_connector(source)->name);
    return status;
}

static inline void wait_stopped(struct source *source)
{
    if (!source_wait_stopped(source, clock_monotonic_ns(&clock_system) + PATIENCE_NS))
        fail_msg("%s does not stop", source_connector(source)->name);
}

static inline void stop(struct source *source)
{
    source_stop(source);
    wait_stopped(source);
}
