#pragma once
/*
 * A journal of LANDED and UPLOADED only, in memory, in which what was asked for becomes durable
 * when the test steps. A crash forgets the rest. Any thread; callbacks come on the thread that
 * steps.
 */
#include "lake/landed_cut.h"
#include "lake/landing_journal.h"
#include "os/thread.h"

#define STEP_JOURNAL_MAX 1024

struct step_entry {
    struct landed_cut *landed;
    bool durable;
    bool uploaded;
    bool redo;    /* its range is being made again */
    bool dropped; /* a redo's new LANDED took its place */
};

struct step_request {
    size_t entry;
    bool is_landed;
    journal_on_durable on_durable;
    void *ctx;
};

struct step_journal {
    struct landing_journal journal; /* hand this on */
    struct mutex lock;
    struct step_entry entries[STEP_JOURNAL_MAX];
    size_t entry_count;
    struct step_request requests[STEP_JOURNAL_MAX];
    size_t request_count;
    uint64_t last_cut_id;
    bool range_gone;      /* redo answers ERR_NOT_FOUND */
    enum err refuse_next; /* land and uploaded return this, once */
};

void step_journal_init(struct step_journal *journal);
void step_journal_fini(struct step_journal *journal);
/* Makes the oldest request durable; false when there is none. */
bool step_journal_step(struct step_journal *journal);
/* All requests end with ERR_STOPPED, nothing of them is durable: the journal stopped, or a crash.
 */
void step_journal_stop(struct step_journal *journal);
/* LANDED without UPLOADED, durable both. */
size_t step_journal_pending(struct step_journal *journal);
