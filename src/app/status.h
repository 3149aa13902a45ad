#pragma once
/*
 * `ingestor status`: asks a running service over its API how it is, twice for the rates, and says
 * it on one screen. Blocks for as long as that takes, bounded for each answer.
 */
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct status_options {
    const char *url; /* "http://host:port", without a path */
    double seconds;  /* between the two looks */
    bool json;
};

/* The exit code (cli.h): CLI_OK when it is healthy or degraded. */
int status_main(const struct status_options *options);
