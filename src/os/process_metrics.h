#pragma once
/*
 * What every Prometheus client says of its process: process_cpu_seconds_total,
 * process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
 * process_start_time_seconds. Read from /proc at each render, on the rendering thread; a value that
 * cannot be read keeps its last one. Free it after the registry.
 */
#include "base/metrics.h"

#include <stdint.h>

struct process_metrics;

enum err process_metrics_new(struct metrics *metrics,
                             struct process_metrics **ret_process) ERR_MUST_USE;
void process_metrics_free(struct process_metrics *process); /* NULL is fine */

/* Of this process, now; 0 when the kernel does not say. */
uint64_t process_resident_bytes(void);
