#include "api/request_log.h"

#include "base/limits.h"
#include "base/log.h"

#include <stdio.h>

#define METHOD_BYTES 24
#define PATH_BYTES   256

/* As it came, printable; of a target the path alone, since a query may hold what is nobody's
 * business. */
static void copy_printable(const char *text, char *out, size_t out_size)
{
    size_t size = 0;
    for (; text[size] && !strchr("?#", text[size]) && size < out_size - 1; size++)
        out[size] = text[size] > 0x20 && text[size] < 0x7f ? text[size] : '?';
    out[size] = '\0';
}

void request_log(const struct api_request *request, unsigned status, int64_t duration_ns, bool sent)
{
    char status_text[16] = "-";
    char method[METHOD_BYTES];
    char path[PATH_BYTES];
    if (status > 0)
        snprintf(status_text, sizeof(status_text), "%u", status);
    copy_printable(request->method[0] ? request->method : "-", method, sizeof(method));
    copy_printable(request->target, path, sizeof(path));
    log_line(LOG_LEVEL_INFO, "api", request->id[0] ? request->id : NULL, "%s %s %s %.1f ms%s",
             method, path, status_text, (double)duration_ns / (double)NS_PER_MS,
             sent ? "" : " (client went away)");
}
