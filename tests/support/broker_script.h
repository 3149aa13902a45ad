#pragma once
/*
 * The scripted broker: it takes connections, answers by itself what no script forbids, does the
 * script's steps one after the other, and writes an event for each thing that happens. What the
 * steps are stands in tests/tools/scripted_broker.c.
 *
 * One libuv loop, one thread. broker_run returns when a step says exit, the steps' input ends and
 * all are done (unless keep_running), a wait times out, or on SIGTERM and SIGINT.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct broker_options {
    uint16_t port;       /* 0: any */
    int steps_fd;        /* JSON lines; -1 none */
    bool keep_running;   /* after the last step */
    int64_t wait_max_ms; /* of a wait without "timeout_ms" */
    FILE *events;
};

/* Prints "port N" to standard output. *ret_exit_code: 0, 2 for a bad step, 3 for a wait in vain. */
enum err broker_run(const struct broker_options *options, int *ret_exit_code) ERR_MUST_USE;
