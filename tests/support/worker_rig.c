#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

#include "support/worker_rig.h"

static bool on_wanted(void *ctx, struct bytes dataset_id, uint64_t block, uint64_t *ret_redo_cut)
{
    struct fixture *fixture = ctx;
    if (fixture->leave_at && bytes_equal_text(dataset_id, fixture->leave_at)) {
        (void)!worker_stop(fixture->worker, 0);
        mem_fail_at(1);
    }
    mutex_lock(&fixture->lock);
    while (fixture->hold) { /* the worker is stuck */
        fixture->held = true;
        condition_wait_for(&fixture->landed, &fixture->lock, NS_PER_MS);
    }
    mutex_unlock(&fixture->lock);
    *ret_redo_cut = 0;
    if (fixture->redo_cut != 0 && block >= fixture->redo_from && block <= fixture->redo_through) {
        *ret_redo_cut = fixture->redo_cut;
        return true;
    }
    return block > fixture->wanted_above;
}

static uint64_t on_landed_through(void *ctx, struct bytes dataset_id)
{
    const struct fixture *fixture = ctx;
    (void)dataset_id;
    return fixture->wanted_above;
}

static enum err on_land(void *ctx, struct land_job *take_job)
{
    struct fixture *fixture = ctx;
    mutex_lock(&fixture->lock);
    bool stopped = fixture->land_stopped;
    if (!stopped) {
        assert_true(fixture->job_count < JOBS_MAX);
        fixture->jobs[fixture->job_count++] = take_job;
        condition_signal(&fixture->landed);
    }
    mutex_unlock(&fixture->lock);
    return stopped ? ERR_STOPPED : ERR_OK;
}

void worker_rig_make(struct fixture *fixture, uint32_t interval_seconds, uint64_t flush_max_bytes,
                     size_t memory_max_bytes)
{
    flush_pace_init(&fixture->pace, interval_seconds, 50);
    assert_int_equal(worker_new(
                         &(struct worker_options){
                             .count = 1,
                             .clock = &clock_system,
                             .batch = {.catalog = &fixture->catalog.catalog,
                                       .parquet = {.codec = PARQUET_NONE,
                                                   .page_bytes = MIB,
                                                   .page_rows = 20000,
                                                   .created_by = "test"},
                                       .journal_uuid = "00000000-0000-0000-0000-000000000000",
                                       .row_group_rows = 1000000,
                                       .row_group_bytes = 128 * MIB},
                             .pace = &fixture->pace,
                             .book = fixture->book,
                             .metrics = fixture->metrics,
                             .flush_max_bytes = flush_max_bytes,
                             .memory_max_bytes = memory_max_bytes,
                             .memory = &fixture->memory,
                             .wanted = on_wanted,
                             .landed_through = on_landed_through,
                             .filed_through = on_landed_through,
                             .land = on_land,
                             .ctx = fixture,
                         },
                         &fixture->worker),
                     ERR_OK);
}
