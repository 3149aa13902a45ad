#include "base/log.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LOG_MESSAGE_MAX 4096
#define LOG_LINE_MAX    (4 * LOG_MESSAGE_MAX)

static _Atomic int current_level = LOG_LEVEL_INFO;
static _Atomic int current_format = LOG_FORMAT_AUTO;

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

void log_configure(enum log_level level, enum log_format format)
{
    if (format == LOG_FORMAT_AUTO)
        format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
    atomic_store(&current_level, (int)level);
    atomic_store(&current_format, (int)format);
}

void log_set_level(enum log_level level)
{
    atomic_store(&current_level, (int)level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load(&current_level);
}

bool log_level_from_text(const char *text, enum log_level *ret_level)
{
    for (int i = 0; i <= LOG_LEVEL_ERROR; i++) {
        if (strcasecmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void line_text(struct buf *line, const char *time_text, enum log_level level,
                      const char *component, const char *request_id, const char *message)
{
    buf_printf(line, "%s %-7s %-9s %s", time_text, level_names[level], component, message);
    if (request_id)
        buf_printf(line, " request_id=%s", request_id);
}

static void line_json(struct buf *line, const char *time_text, enum log_level level,
                      const char *component, const char *request_id, const char *message)
{
    buf_printf(line,
               "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%s\",\"request_id\":", time_text,
               level_names[level], component);
    if (request_id)
        buf_json_string(line, bytes_from_text(request_id));
    else
        buf_text(line, "null");
    buf_text(line, ",\"message\":");
    buf_json_string(line, bytes_from_text(message));
    buf_byte(line, '}');
}

void log_line(enum log_level level, const char *component, const char *request_id,
              const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&current_level, memory_order_relaxed))
        return;
    char message[LOG_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    struct timespec now;
    struct tm utc;
    char seconds[32];
    char time_text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(time_text, sizeof(time_text), "%s.%03ldZ", seconds, now.tv_nsec / 1000000);

    /* A newline inside a message (a peer's reason, say) would forge a second line. */
    bool json = atomic_load(&current_format) != LOG_FORMAT_TEXT;
    if (!json)
        for (char *c = message; *c; c++)
            if ((unsigned char)*c < 0x20)
                *c = ' ';

    struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    (json ? line_json : line_text)(&line, time_text, level, component, request_id, message);
    buf_byte(&line, '\n');
    if (line.err == ERR_OK && line.size > 0) {
        ssize_t written = write(STDERR_FILENO, line.data, line.size);
        (void)written; /* there is nowhere left to say it */
    }
    buf_fini(&line);
}
