#pragma once
/*
 * What the data on their way hold in memory, against MEMORY_LIMIT_BYTES: blocks in flight, open
 * batches, cuts that wait for the disk, and recent rows. Each has a share; what passes its share
 * pushes back (batches are cut, workers wait, blocks pile up), and before all together reach the
 * limit the sources are paused. The rest is the process itself: what it takes with nothing to do,
 * and a quarter for what the allocator keeps between blocks.
 *
 * Never a deadlock: with the sources paused all but two things shrink by themselves, since batches
 * are cut by age and the disk is enough for that. Recent rows keep their share, which is far below
 * where sources go on. Batches that cannot be cut (columns that wait for the database, or for the
 * store) stay; so their sources are paused, and only theirs, when those hold a quarter of the limit
 * (memory_gauge_waiting), until the other side is back: what is acknowledged is in the journal.
 * What is in flight by then may still come to many times its size, if each message opens a batch:
 * the worker itself waits when those batches fill the share of all (memory_gauge_stuck).
 *
 * Adding is a relaxed atomic, any thread; so are the questions, which keep the state of the
 * hysteresis.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Resident with one source: 16 MiB when idle, and half as much for databases, answers and the
 * threads' scratch when busy. */
#define MEMORY_GAUGE_BASE_BYTES ((uint64_t)24 << 20)

struct memory_gauge {
    /* constant after memory_gauge_init; all but the first are shares */
    uint64_t limit_bytes;
    uint64_t in_flight_max_bytes;
    uint64_t batches_max_bytes;
    uint64_t landers_max_bytes;
    uint64_t recent_max_bytes;
    uint64_t routes_max_bytes; /* what I/O loops keep of each topic, all loops */
    uint64_t pause_bytes;
    uint64_t resume_bytes;
    uint64_t waiting_pause_bytes;
    uint64_t waiting_resume_bytes;

    _Atomic uint64_t in_flight_bytes; /* blocks, from their submission on */
    _Atomic uint64_t batches_bytes;
    _Atomic uint64_t waiting_bytes; /* of them: those whose cut waits for another side */
    _Atomic uint64_t redo_bytes;    /* of them: those that recovery must cut whole */
    _Atomic uint64_t landers_bytes;
    _Atomic uint64_t recent_bytes;
    _Atomic uint64_t fixed_bytes;   /* what is kept of each dataset that the journal has */
    _Atomic uint64_t squeeze_bytes; /* what the process takes beside all this, too much */
    _Atomic bool paused;
    _Atomic bool waiting;
};

void memory_gauge_init(struct memory_gauge *gauge, uint64_t limit_bytes);
uint64_t memory_gauge_bytes(const struct memory_gauge *gauge);

/* What one worker's batches hold; *told is what it told before. */
struct memory_told {
    uint64_t batches_bytes;
    uint64_t waiting_bytes;
    uint64_t redo_bytes;
};
void memory_gauge_tell(struct memory_gauge *gauge, struct memory_told *told,
                       const struct memory_told *now);

/* What the process takes in fact, every 100 ms or so, by one thread: near the limit the batches get
 * less, whatever it is that takes it. */
void memory_gauge_resident(struct memory_gauge *gauge, uint64_t resident_bytes);
bool memory_gauge_is_near(const struct memory_gauge *gauge, uint64_t resident_bytes);

/* Recent rows and batches give up what was not planned for, rows first, to a quarter of their
 * share: the share of rows by now, and what all batches together must do without. */
uint64_t memory_gauge_recent_max(const struct memory_gauge *gauge);
uint64_t memory_gauge_batches_less(const struct memory_gauge *gauge);

/* Whether every source must stop reading now. */
bool memory_gauge_paused(struct memory_gauge *gauge);
/* Whether sources of datasets whose cut waits must stop reading now. */
bool memory_gauge_waiting(struct memory_gauge *gauge);
/* Whether a worker with datasets that wait must take in nothing more, of any source, until some
 * could be cut: what was in flight when their sources stopped has come to too much. */
bool memory_gauge_stuck(const struct memory_gauge *gauge);
/* Whether the replay of the journal may bring another block. Not paused by ranges that are made
 * again: those can only be cut when the replay is over. */
bool memory_gauge_replay_room(struct memory_gauge *gauge);
