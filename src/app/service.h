#pragma once
/*
 * The whole service, put together: the only place that names concrete parts. Made, run and taken
 * down by the main thread. The order of start and stop stands at the head of service.c.
 */
#include "app/config.h"
#include "base/err.h"

struct service;

/* Exit codes of `serve` (docs/operations.md). */
#define EXIT_SERVICE_OK      0
#define EXIT_SERVICE_FAILED  1
#define EXIT_SERVICE_USAGE   2
#define EXIT_SERVICE_JOURNAL 3 /* locked by another process, damaged beyond use, newer version */
#define EXIT_SERVICE_LEFT    0 /* a stop that left records to the journal is a good stop */

/* Starts everything. On failure *ret_exit_code says which exit code fits, diag why. */
enum err service_start(const struct config *config, struct service **ret_service,
                       int *ret_exit_code, struct diag *diag) ERR_MUST_USE;
/* Takes over what a new configuration changes in a running service: the declared sources.
 * ERR_INVALID, ERR_CONFLICT: nothing has changed, diag says why. */
enum err service_reload(struct service *service, const struct config *config,
                        struct diag *diag) ERR_MUST_USE;
/* Housekeeping: every 100 ms, by the main thread. */
void service_tick(struct service *service);
/* Drains and flushes, within timeout_ms; what is left by then stays in the journal. Frees. */
void service_stop(struct service *service, uint32_t timeout_ms);
