#pragma once
/* Landing, upload and recovery over a journal that becomes durable when the test says so, a real
 * folder and a store that does as it is told. For cmocka tests, one rig at a time; asserts. */
#include "base/limits.h"
#include "lake/landing.h"
#include "support/faulty_fs.h"
#include "support/step_journal.h"

extern int64_t landing_rig_now_ns; /* what its clock shows */

/* A folder store behind a switch. */
struct switch_store {
    struct store store;
    struct store *inner;
    enum err put_err;
    const char *put_err_key; /* NULL: all */
    uint64_t puts;
    uint64_t checks;
};

struct landing_rig {
    char folder[512];
    char lake[600];
    struct faulty_fs faulty;
    struct step_journal journal;
    struct switch_store store;
    struct spool *spool;
    struct upload *upload;
    struct landing *landing;
    uint64_t uploaded_messages;
    uint64_t landed;
    enum err landed_err;
    char report[1024];
};

void landing_rig_start(struct landing_rig *rig);
void landing_rig_set_up(struct landing_rig *rig);
/* The process ends here, whatever is on its way. */
void landing_rig_stop(struct landing_rig *rig);
void landing_rig_tear_down(struct landing_rig *rig);
/* A cut of one file for each text, with keys after the dataset and the block. */
enum err landing_rig_land(struct landing_rig *rig, const char *dataset, uint64_t block,
                          const char *const *texts, size_t count, uint64_t redo_cut,
                          struct diag *diag);
void landing_rig_land_one(struct landing_rig *rig, const char *dataset, uint64_t block,
                          const char *text);
void landing_rig_path_at_key(const struct landing_rig *rig, const char *dataset, uint64_t block,
                             size_t hour, char *path, size_t size);
bool landing_rig_is_at_key(const struct landing_rig *rig, const char *dataset, uint64_t block,
                           size_t hour, const char *text);
void landing_rig_path_in_spool(const struct landing_rig *rig, const char *dataset, uint64_t block,
                               size_t hour, char *path);
/* Other bytes, as many. */
void landing_rig_overwrite(const char *path);
/* Steps until nothing is due now. */
void landing_rig_run_due(struct landing_rig *rig);
struct upload_stats landing_rig_stats_of(struct landing_rig *rig);
void landing_rig_recover(struct landing_rig *rig, struct landing_recovery *ret_recovery);
