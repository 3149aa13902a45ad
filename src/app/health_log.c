#include "app/health_log.h"

#include <stdio.h>
#include <string.h>

static enum health_log_line tell(struct health_log *log, const char *text, int64_t now_ns)
{
    log->told = true;
    log->told_ns = now_ns;
    snprintf(log->text, sizeof(log->text), "%s", text);
    return HEALTH_LOG_BAD;
}

enum health_log_line health_log_next(struct health_log *log, const char *text, int64_t now_ns)
{
    bool bad = text[0] != '\0';
    if (bad != log->bad) {
        log->bad = bad;
        log->since_ns = now_ns;
    }
    if (now_ns - log->since_ns < HEALTH_LOG_LASTS_NS)
        return HEALTH_LOG_NOTHING;
    if (!bad) {
        bool was_told = log->told;
        log->told = false;
        return was_told ? HEALTH_LOG_WELL : HEALTH_LOG_NOTHING;
    }
    if (!log->told)
        return tell(log, text, now_ns);
    bool again = now_ns - log->told_ns >= HEALTH_LOG_REPEAT_NS &&
                 strncmp(text, log->text, sizeof(log->text) - 1) != 0;
    return again ? tell(log, text, now_ns) : HEALTH_LOG_NOTHING;
}
