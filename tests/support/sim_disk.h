#pragma once
/*
 * A simulated disk: a struct fs in memory that knows what is written and what is durable.
 *
 * A power cut (sim_disk_power_cut) keeps, loses or tears each 512-byte sector that was not synced,
 * each on its own, at random; names made, renamed and removed in a folder that was not synced
 * afterwards are kept or lost each on its own, in random order. A kill (sim_disk_kill) loses
 * nothing: what was written can be read, but is not durable yet. Both end all open files' lives:
 * calls on them fail, only fs_close is allowed.
 *
 * Deterministic: the same seed and the same calls give the same disk. One thread.
 */
#include "os/clock.h"
#include "os/fs.h"

struct sim_disk;

enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_CRASH, /* from that operation on everything fails, until the cut or the kill */
    SIM_FAULT_IO,    /* the operation fails once; a failed sync may have lost what it should sync,
                        and says so only once (fsyncgate) */
    SIM_FAULT_SPACE, /* no space for writes and allocations, until it is cleared */
    SIM_FAULT_SHORT, /* a write gets half down and fails */
};

struct sim_disk *sim_disk_new(uint64_t seed, uint64_t capacity_bytes); /* aborts without memory */
void sim_disk_free(struct sim_disk *disk);
const struct fs *sim_disk_fs(struct sim_disk *disk);
/* A clock that moves by a little with each reading. */
const struct clock *sim_disk_clock(struct sim_disk *disk);
void sim_disk_advance(struct sim_disk *disk, int64_t ns);

/* The fault happens at the operations_ahead-th changing operation from now (1: the next). */
void sim_disk_fault(struct sim_disk *disk, enum sim_fault fault, uint64_t operations_ahead);
bool sim_disk_crashed(const struct sim_disk *disk); /* SIM_FAULT_CRASH has struck */
uint64_t sim_disk_operations(const struct sim_disk *disk);

void sim_disk_power_cut(struct sim_disk *disk);
void sim_disk_kill(struct sim_disk *disk);

/* The folder, which need not be there yet, and all below is another file system: what renames
 * across fails. */
void sim_disk_mount(struct sim_disk *disk, const char *folder);

/* For damage: flips a bit of what is durable. False: no such file or byte. */
bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset);
uint64_t sim_random(struct sim_disk *disk, uint64_t below);
