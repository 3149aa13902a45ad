#pragma once
/* The store that the configuration names, on this machine's files and clock. */
#include "app/config.h"
#include "lake/store_open.h"

/* As store_open: no I/O. Any thread; *ret_store outlives config. */
enum err config_store_open(const struct config *config, struct store **ret_store,
                           struct diag *diag) ERR_MUST_USE;
