#include "app/serve.h"

#include "app/service.h"
#include "base/log.h"
#include "version.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#define SERVE_TICK_MS         100
#define SERVE_STOP_TIMEOUT_MS 9500 /* of the 10 s that are promised */
#define SERVE_EXIT_AT_ONCE    130

struct serve {
    struct service *service;
    const struct config_input *input;
    uv_loop_t loop;
    uv_signal_t terminate;
    uv_signal_t interrupt;
    uv_signal_t hangup;
    uv_timer_t tick;
    bool has_file; /* the configuration was read from one */
};

static void on_second_signal(int number)
{
    (void)number;
    _exit(SERVE_EXIT_AT_ONCE);
}

/* Nothing was taken yet, and all that was acknowledged before is in the journal. */
static void on_signal_at_start(int number)
{
    (void)number;
    _exit(EXIT_SERVICE_OK);
}

static void on_stop_signal(uv_signal_t *handle, int number)
{
    struct serve *serve = handle->data;
    log_info("serve", "%s: draining and flushing (again to leave at once)",
             number == SIGTERM ? "SIGTERM" : "SIGINT");
    uv_stop(&serve->loop);
}

/* The configuration is read again; of it the log level and the declared sources take effect. */
static void on_hangup(uv_signal_t *handle, int number)
{
    struct serve *serve = handle->data;
    struct config *config = NULL;
    struct buf problems;
    struct diag diag = {0};
    (void)number;
    buf_init(&problems, 64 * 1024);
    enum err err = config_load(serve->input, &config, &problems);
    /* A file that is gone is no wish to delete all that it declared. */
    if (err == ERR_OK && serve->has_file && !config->path)
        err = diag_set(&diag, ERR_NOT_FOUND, "the configuration file is gone");
    if (err == ERR_OK)
        err = service_reload(serve->service, config, &diag);
    if (err == ERR_OK) {
        serve->has_file = config->path != NULL;
        log_set_level(config->log_level);
        log_info("serve", "SIGHUP: the log level and the declared sources have been read again");
    } else {
        const char *text = diag.text[0] ? diag.text : buf_cstr(&problems);
        log_warning("serve", "SIGHUP: everything stays as it was: %s", text ? text : "");
    }
    config_free(config);
    buf_fini(&problems);
}

static void on_tick(uv_timer_t *timer)
{
    struct serve *serve = timer->data;
    service_tick(serve->service);
}

static void handle_close(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void handles_open(struct serve *serve)
{
    serve->terminate.data = serve->interrupt.data = serve->hangup.data = serve->tick.data = serve;
    uv_signal_init(&serve->loop, &serve->terminate);
    uv_signal_init(&serve->loop, &serve->interrupt);
    uv_signal_init(&serve->loop, &serve->hangup);
    uv_timer_init(&serve->loop, &serve->tick);
    uv_signal_start(&serve->terminate, on_stop_signal, SIGTERM);
    uv_signal_start(&serve->interrupt, on_stop_signal, SIGINT);
    uv_signal_start(&serve->hangup, on_hangup, SIGHUP);
    uv_timer_start(&serve->tick, on_tick, SERVE_TICK_MS, SERVE_TICK_MS);
}

static void handles_close(struct serve *serve)
{
    uv_walk(&serve->loop, handle_close, NULL);
    uv_run(&serve->loop, UV_RUN_DEFAULT);
    uv_loop_close(&serve->loop);
}

int serve_main(const struct config *config, const struct config_input *input)
{
    struct serve serve = {.input = input, .has_file = config->path != NULL};
    struct diag diag = {0};
    int exit_code = EXIT_SERVICE_FAILED;

    log_configure(config->log_level, config->log_format);
    log_info("serve", "ingestor %s (build %s)", INGESTOR_VERSION, INGESTOR_BUILD);
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&serve.loop) != 0) {
        log_error("serve", "cannot make an event loop: out of descriptors or memory");
        return EXIT_SERVICE_FAILED;
    }
    signal(SIGTERM, on_signal_at_start);
    signal(SIGINT, on_signal_at_start);
    if (service_start(config, &serve.service, &exit_code, &diag) != ERR_OK) {
        log_error("serve", "%s", diag.text);
        handles_close(&serve);
        return exit_code;
    }
    handles_open(&serve);
    uv_run(&serve.loop, UV_RUN_DEFAULT);

    handles_close(&serve);
    signal(SIGTERM, on_second_signal);
    signal(SIGINT, on_second_signal);
    service_stop(serve.service, SERVE_STOP_TIMEOUT_MS);
    log_info("serve", "stopped");
    return EXIT_SERVICE_OK;
}
