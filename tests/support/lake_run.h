#pragma once
/*
 * The service of a schedule, its parts stepped by hand: journal core, worker, spool, landing,
 * upload, over a simulated disk, a catalog that survives as a database does, and a store that the
 * model watches. lake_run_up is a start with its recovery, lake_run_down the end of the process.
 * One thread; the schedule (tests/faults/lake_faults.c) decides who does what when.
 */
#include "lake/landing.h"
#include "pipeline/worker.h"
#include "support/core_journal.h"
#include "support/fake_catalog.h"
#include "support/fake_s3.h"
#include "support/lake_model.h"
#include "support/sim_disk.h"

#define LAKE_RUN_SEGMENT_BYTES (64 * KIB)
#define LAKE_RUN_JOURNAL       "/journal"
#define LAKE_RUN_LAKE          "/lake"
#define LAKE_RUN_JOBS_MAX      256

/* A data block on its way: its messages by number. */
struct parcel {
    struct block *block;
    uint32_t first, count;
};

struct lake_run {
    struct sim_disk *disk;
    struct lake_model model;
    struct fake_catalog catalog;
    struct core_journal journal;
    struct parcel parcels[LAKE_MESSAGES_MAX];
    size_t parcel_count;
    struct fake_s3 s3;
    bool uses_s3;
    uint64_t journal_max_bytes;
    uint64_t flush_max_bytes;
    uint32_t column; /* fields come by and by */
    uint32_t crashes;

    /* one life of the service */
    bool is_up;
    struct store store; /* first asks the model, then one of: */
    struct store *folder;
    struct spool *spool;
    struct upload *upload;
    struct landing *landing;
    struct account_book *book;
    struct flush_pace pace;
    struct worker *worker;
    _Atomic uint64_t in_flight;
    struct land_job *jobs[LAKE_RUN_JOBS_MAX];
    size_t job_count;
};

static inline uint64_t lake_run_draw(struct lake_run *run, uint64_t below)
{
    return sim_random(run->disk, below);
}

/* False: it did not come up; lake_run_down is needed all the same. */
bool lake_run_up(struct lake_run *run);
void lake_run_down(struct lake_run *run);

/* A block of the messages from first on; takes its reference. */
void lake_run_submit(struct lake_run *run, struct block *take_block, uint32_t first);
/* For core_journal's on_applied. */
void lake_run_applied(void *ctx, const struct core_request *request, uint64_t number);
/* The worker takes in what was delivered, and perhaps cuts. */
void lake_run_work(struct lake_run *run);
/* The lander's work: the first job, again if it fails. */
void lake_run_land(struct lake_run *run);
void lake_run_upload(struct lake_run *run, uint64_t turns);
/* What the journal's thread does after a batch. False: a restart is needed. */
bool lake_run_housekeep(struct lake_run *run);
