#pragma once
/*
 * Structured log lines to standard error: time, level, component, request id, message. Text on a
 * terminal, else JSON. Any thread; a line is written whole. The layers below sources/ log at debug
 * only, they return errors instead. Secrets never reach a log call.
 */
#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_configure(enum log_level level, enum log_format format);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Names as in LOG_LEVEL: DEBUG, INFO, WARNING, ERROR, any case. */
bool log_level_from_text(const char *text, enum log_level *ret_level);

/* request_id may be NULL. component is a short lower-case word ("journal", "mqtt"). */
void log_line(enum log_level level, const char *component, const char *request_id,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

#define log_debug(component, ...)   log_line(LOG_LEVEL_DEBUG, component, NULL, __VA_ARGS__)
#define log_info(component, ...)    log_line(LOG_LEVEL_INFO, component, NULL, __VA_ARGS__)
#define log_warning(component, ...) log_line(LOG_LEVEL_WARNING, component, NULL, __VA_ARGS__)
#define log_error(component, ...)   log_line(LOG_LEVEL_ERROR, component, NULL, __VA_ARGS__)
