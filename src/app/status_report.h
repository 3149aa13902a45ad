#pragma once
/*
 * What `ingestor status` says, made of what a service answered. Pure; any thread. The answers are
 * whatever answered at that address: nothing in them is trusted, and a member that lacks is shown
 * as nothing.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <jansson.h>
#include <stdio.h>

#define STATUS_SOURCES_SHOWN 20

struct status_answers {
    const char *url;
    struct bytes health;        /* of GET /api/health */
    struct bytes sources;       /* of GET /api/data-sources; empty: they could not be had */
    struct bytes metrics_first; /* of GET /api/metrics */
    struct bytes metrics_last;  /* the same, seconds later */
    double seconds;
    int64_t now_us;
};

/* ERR_PROTOCOL: this is no ingestor. */
enum err status_report_make(const struct status_answers *answers, json_t **ret_report,
                            struct diag *diag) ERR_MUST_USE;
/* The status that the report tells: "healthy", "degraded", "unhealthy". */
const char *status_report_status(const json_t *report);
/* One screen for people. */
void status_report_print(const json_t *report, FILE *out);
