#pragma once
/* A worker against a catalog that can be away and a lander that keeps what it is given. After
 * cmocka.h. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "os/thread.h"
#include "pipeline/worker.h"
#include "support/fake_catalog.h"

#include <stdio.h>

#define JOBS_MAX 1000

struct fixture {
    struct fake_catalog catalog;
    struct account_book *book;
    struct service_metrics *metrics; /* NULL but in the test of it */
    struct flush_pace pace;
    struct memory_gauge memory;
    struct worker *worker;
    _Atomic uint64_t in_flight;
    struct mutex lock;
    struct condition landed;
    struct land_job *jobs[JOBS_MAX];
    int job_count;
    bool land_stopped;
    _Atomic bool hold;
    _Atomic bool held;
    uint64_t wanted_above; /* recovered blocks: wanted above this number */
    uint64_t redo_from, redo_through, redo_cut;
    uint64_t next_block;
    const char *leave_at; /* a recovered dataset: memory fails there, and there is no time left */
    int64_t arrival_us;   /* 0: some time or other */
};

/* fixture->worker, not started. */
void worker_rig_make(struct fixture *fixture, uint32_t interval_seconds, uint64_t flush_max_bytes,
                     size_t memory_max_bytes);

static inline void start(struct fixture *fixture, uint32_t interval_seconds,
                         uint64_t flush_max_bytes, size_t memory_max_bytes)
{
    worker_rig_make(fixture, interval_seconds, flush_max_bytes, memory_max_bytes);
    assert_int_equal(worker_start(fixture->worker), ERR_OK);
}

static inline int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fake_catalog_init(&fixture->catalog);
    fixture->memory.batches_max_bytes = 64 * MIB;
    assert_int_equal(account_book_new(&fixture->book), ERR_OK);
    mutex_init(&fixture->lock);
    condition_init(&fixture->landed);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    worker_free(fixture->worker);
    for (int i = 0; i < fixture->job_count; i++)
        land_job_free(fixture->jobs[i]);
    assert_int_equal(fixture->in_flight, 0);
    account_book_free(fixture->book);
    fake_catalog_fini(&fixture->catalog);
    condition_fini(&fixture->landed);
    mutex_fini(&fixture->lock);
    mem_free(fixture);
    return 0;
}

static inline void source_route_add(struct block *block, const char *source, const char *dataset,
                                    uint32_t *ret_index)
{
    struct buf encoded;
    const struct route_view view = {.source_id = bytes_from_text(source),
                                    .dataset_id = bytes_from_text(dataset),
                                    .source_type = BYTES_LITERAL("mqtt"),
                                    .topic = BYTES_LITERAL("t"),
                                    .partition_window_hours = 24};
    buf_init(&encoded, 64 * 1024);
    assert_int_equal(route_encode(&view, &encoded), ERR_OK);
    const uint64_t hash = hash_bytes(view.dataset_id);
    assert_int_equal(block_add_route(block, buf_bytes(&encoded), hash, ret_index), ERR_OK);
    block->routes[*ret_index].serial = hash_bytes(buf_bytes(&encoded)) | 1;
    buf_fini(&encoded);
}

static inline void route_add(struct block *block, const char *dataset, uint32_t *ret_index)
{
    source_route_add(block, "source", dataset, ret_index);
}

/* A durable block with count messages for each of the datasets named. */
static inline void deliver(struct fixture *fixture, const char *const *datasets, int dataset_count,
                           int count, bool recovered)
{
    struct block *block;
    struct shipment *shipment;
    assert_int_equal(block_new(64 * 1024, &block), ERR_OK);
    block->number = ++fixture->next_block;
    for (int d = 0; d < dataset_count; d++) {
        uint32_t route;
        route_add(block, datasets[d], &route);
        for (int i = 0; i < count; i++) {
            char payload[64];
            int size = snprintf(payload, sizeof(payload), "{\"block\":%d,\"i\":%d}",
                                (int)block->number, i);
            assert_int_equal(
                block_add_message(
                    block,
                    &(struct message_view){.payload = bytes_from(payload, (size_t)size),
                                           .arrival_us = fixture->arrival_us ? fixture->arrival_us
                                                                             : 1795521600000000,
                                           .route_index = route}),
                ERR_OK);
        }
    }
    assert_int_equal(shipment_new(block, &fixture->in_flight, &shipment), ERR_OK);
    shipment->recovered = recovered;
    worker_deliver(fixture->worker, shipment);
    shipment_unref(shipment);
}

static inline void wait_for_jobs(struct fixture *fixture, int count)
{
    mutex_lock(&fixture->lock);
    while (fixture->job_count < count)
        condition_wait(&fixture->landed, &fixture->lock);
    mutex_unlock(&fixture->lock);
}

static inline void a_moment(struct fixture *fixture)
{
    mutex_lock(&fixture->lock);
    condition_wait_for(&fixture->landed, &fixture->lock, NS_PER_MS);
    mutex_unlock(&fixture->lock);
}

static inline bool stop(struct fixture *fixture)
{
    return worker_stop(fixture->worker, clock_monotonic_ns(&clock_system) + 60 * NS_PER_S);
}

static inline uint64_t messages_of(const struct fixture *fixture, const char *dataset)
{
    uint64_t messages = 0;
    uint64_t through = 0;
    for (int i = 0; i < fixture->job_count; i++) {
        const struct land_job *job = fixture->jobs[i];
        if (!bytes_equal_text(bytes_from(job->dataset_id, job->dataset_id_size), dataset))
            continue;
        assert_int_equal(job->after, through); /* no gap, no overlap */
        assert_true(job->through > job->after);
        through = job->through;
        messages += job->cut.stats.messages;
    }
    return messages;
}

/* Until at least so many of its messages are cut. */
static inline void wait_for_messages(struct fixture *fixture, const char *dataset, uint64_t count)
{
    mutex_lock(&fixture->lock);
    while (messages_of(fixture, dataset) < count)
        condition_wait(&fixture->landed, &fixture->lock);
    mutex_unlock(&fixture->lock);
}

static const char *const two[] = {"source_a", "source_b"};
