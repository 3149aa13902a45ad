#pragma once
/*
 * When health's sentence about a component goes to the log: as it changes, at once when the
 * component was well, then at most once a minute while the sentence differs, and once when it is
 * well again. What lasts shorter than HEALTH_LOG_LASTS_NS (a full buffer at full speed) is not
 * told. Single-threaded; pure.
 */
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_LOG_LASTS_NS  (1 * NS_PER_S)
#define HEALTH_LOG_REPEAT_NS (60 * NS_PER_S)
#define HEALTH_LOG_TEXT_MAX  640

struct health_log {
    bool bad;
    bool told;
    int64_t since_ns;
    int64_t told_ns;
    char text[HEALTH_LOG_TEXT_MAX]; /* as told */
};

enum health_log_line { HEALTH_LOG_NOTHING, HEALTH_LOG_BAD, HEALTH_LOG_WELL };

/* text: the component's sentence, empty when it is well. */
enum health_log_line health_log_next(struct health_log *log, const char *text, int64_t now_ns);
