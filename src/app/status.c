#include "app/status.h"

#include "app/cli.h"
#include "app/status_report.h"
#include "base/limits.h"
#include "net/http.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_BYTES_MAX   (64 * MIB) /* 20,000 sources with long configurations */
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_NS          (30 * NS_PER_S)
#define URL_BYTES_MAX      1024

/* --- one answer ------------------------------------------------------------------------------- */

struct fetch {
    struct buf *out;
    int64_t until_ns;
};

static enum err on_body(void *ctx, struct bytes bytes)
{
    const struct fetch *fetch = ctx;
    if (clock_monotonic_ns(&clock_system) > fetch->until_ns)
        return ERR_TIMEOUT;
    return buf_append(fetch->out, bytes.data, bytes.size);
}

/* An answer of any HTTP status: an unhealthy service tells of itself with 503. */
static enum err get(struct http_client *client, const char *base, const char *path, struct buf *out,
                    struct diag *diag)
{
    char url[URL_BYTES_MAX + 64];
    struct http_response response;
    struct fetch fetch = {out, clock_monotonic_ns(&clock_system) + ANSWER_NS};
    snprintf(url, sizeof(url), "%s%s", base, path);
    buf_clear(out);
    http_response_init(&response);
    enum err err = http_perform(
        client,
        &(struct http_request){.method = "GET", .url = url, .on_body = on_body, .ctx = &fetch},
        &response, diag);
    if (err == ERR_OK && response.status / 100 != 2)
        err = buf_append(out, response.body.data, response.body.size);
    http_response_fini(&response);
    return err;
}

/* --- all of them ------------------------------------------------------------------------------ */

struct answers {
    struct buf health;
    struct buf sources;
    struct buf first;
    struct buf last;
};

static void answers_init(struct answers *answers)
{
    buf_init(&answers->health, ANSWER_BYTES_MAX);
    buf_init(&answers->sources, ANSWER_BYTES_MAX);
    buf_init(&answers->first, ANSWER_BYTES_MAX);
    buf_init(&answers->last, ANSWER_BYTES_MAX);
}

static void answers_fini(struct answers *answers)
{
    buf_fini(&answers->health);
    buf_fini(&answers->sources);
    buf_fini(&answers->first);
    buf_fini(&answers->last);
}

static void wait_seconds(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * NS_PER_S)};
    nanosleep(&left, NULL); /* cut short by a signal, the rate is of a shorter time */
}

static enum err ask(const struct status_options *options, struct http_client *client,
                    struct answers *answers, json_t **ret_report, struct diag *diag)
{
    enum err err = get(client, options->url, "/api/metrics", &answers->first, diag);
    int64_t first_ns = clock_monotonic_ns(&clock_system);
    if (err == ERR_OK)
        err = get(client, options->url, "/api/data-sources?enabled_only=false", &answers->sources,
                  diag);
    if (err == ERR_OK)
        wait_seconds(options->seconds);
    if (err == ERR_OK)
        err = get(client, options->url, "/api/metrics", &answers->last, diag);
    int64_t last_ns = clock_monotonic_ns(&clock_system);
    if (err == ERR_OK)
        err = get(client, options->url, "/api/health", &answers->health, diag);
    if (err != ERR_OK)
        return err;
    return status_report_make(
        &(struct status_answers){.url = options->url,
                                 .health = buf_bytes(&answers->health),
                                 .sources = buf_bytes(&answers->sources),
                                 .metrics_first = buf_bytes(&answers->first),
                                 .metrics_last = buf_bytes(&answers->last),
                                 .seconds = (double)(last_ns - first_ns) / NS_PER_S,
                                 .now_us = clock_realtime_us(&clock_system)},
        ret_report, diag);
}

static int print(const json_t *report, bool json)
{
    int failed = 0;
    if (json)
        failed = json_dumpf(report, stdout, JSON_INDENT(2)) != 0 || fputc('\n', stdout) == EOF;
    else
        status_report_print(report, stdout);
    if (!failed && fflush(stdout) == 0 && !ferror(stdout))
        return strcmp(status_report_status(report), "unhealthy") == 0 ? CLI_FAILURE : CLI_OK;
    fputs("ingestor: the answer could not be written\n", stderr);
    return CLI_FAILURE;
}

int status_main(const struct status_options *options)
{
    struct diag diag = {0};
    struct http_client *client = NULL;
    struct answers answers;
    json_t *report = NULL;
    int exit_code = CLI_FAILURE;
    answers_init(&answers);
    enum err err =
        http_client_new(&(struct http_client_options){.connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                                      .user_agent = "ingestor status"},
                        &client);
    if (err == ERR_OK)
        err = ask(options, client, &answers, &report, &diag);
    if (err == ERR_OK)
        exit_code = print(report, options->json);
    else
        fprintf(stderr, "ingestor status: %s\n", diag.text[0] ? diag.text : err_text(err));
    json_decref(report);
    http_client_free(client);
    answers_fini(&answers);
    return exit_code;
}
