#pragma once
/* What the tests of the journal's core share: one core on one simulated disk, blocks, damage. */
#include "base/limits.h"
#include "journal/core.h"
#include "support/sim_disk.h"

#define SEGMENT_BYTES (64 * KIB)
#define FOLDER        "/j"

extern struct sim_disk *rig_disk;
extern struct core rig_core;
extern uint64_t rig_spool; /* what the spool is said to hold */

int rig_set_up(void **state);
int rig_tear_down(void **state);
struct journal_options rig_options(void);
void rig_open(void);
struct block *rig_block(const char *dataset, size_t padding);
enum err rig_try_append(const char *dataset, size_t padding);
void rig_append(const char *dataset, size_t padding);
enum err rig_try_land(const char *dataset, uint64_t after, struct position first, uint64_t through);
void rig_land(const char *dataset, uint64_t through);
void rig_uploaded(uint64_t cut_id);
enum err rig_count(void *ctx, struct block *block);
uint32_t rig_replayed(void);
bool rig_damage_says(const char *text);
/* Flips a bit of block number, or at an offset of a retained segment. */
void rig_flip(uint64_t number);
void rig_flip_in(size_t segment_index, uint64_t offset);
