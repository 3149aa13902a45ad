#pragma once
/* `ingestor serve`: runs the service until SIGTERM or SIGINT, then drains and flushes within 10 s;
 * a second signal leaves at once (the journal keeps the rest). SIGHUP reads LOG_LEVEL and sources:
 * again. */
#include "app/config.h"

/* input is what config was loaded from, for SIGHUP. Returns the exit code. */
int serve_main(const struct config *config, const struct config_input *input);
