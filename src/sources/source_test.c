#include "sources/source.h"

#include "os/clock.h"
#include "os/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A connector that is there at once, and ends a turn of the loop after it was asked to. */
struct fake {
    const struct connector_host *host;
    uv_timer_t timer;
};

static atomic_int connects;
static atomic_int alive;      /* connected and not closed */
static atomic_int alive_most; /* at once: more than one is a source that was begun twice */

static enum err fake_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    struct fake *fake = state;
    (void)diag;
    fake->host = host;
    uv_timer_init(host->loop, &fake->timer);
    fake->timer.data = fake;
    atomic_fetch_add(&connects, 1);
    int now_alive = atomic_fetch_add(&alive, 1) + 1;
    if (now_alive > atomic_load(&alive_most))
        atomic_store(&alive_most, now_alive);
    host->on_connected(host->ctx);
    return ERR_OK;
}

static enum err fake_start(void *state, struct diag *diag)
{
    (void)state;
    (void)diag;
    return ERR_OK;
}

static void on_timer(uv_timer_t *timer)
{
    struct fake *fake = timer->data;
    fake->host->on_stopped(fake->host->ctx);
}

static void fake_stop(void *state)
{
    struct fake *fake = state;
    uv_timer_start(&fake->timer, on_timer, 1, 0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct fake *fake = handle->data;
    atomic_fetch_sub(&alive, 1);
    fake->host->on_closed(fake->host->ctx);
}

static void fake_disconnect(void *state)
{
    struct fake *fake = state;
    uv_close((uv_handle_t *)&fake->timer, on_timer_closed);
}

static const struct connector fake_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "fake",
    .state_size = sizeof(struct fake),
    .ops = {.connect = fake_connect,
            .start = fake_start,
            .stop = fake_stop,
            .disconnect = fake_disconnect},
};

struct fixture {
    struct loop loop;
    struct source *source;
};

static int setup(void **state)
{
    static struct fixture f;
    json_t *config = json_object();
    f = (struct fixture){0};
    connects = alive = alive_most = 0;
    assert_int_equal(loop_start(&f.loop, "test"), ERR_OK);
    const struct source_options options = {.connector = &fake_connector,
                                           .name = "one",
                                           .ingestion_id = "id",
                                           .config = config,
                                           .replica_id = "replica",
                                           .loop = &f.loop};
    assert_int_equal(source_new(&options, &f.source), ERR_OK);
    json_decref(config);
    *state = &f;
    return 0;
}

static bool wait_stopped(struct fixture *f)
{
    return source_wait_stopped(f->source, clock_monotonic_ns(&clock_system) + 60 * NS_PER_S);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    source_stop(f->source);
    assert_true(wait_stopped(f));
    assert_int_equal(alive, 0);
    assert_true(alive_most <= 1);
    source_free(f->source);
    loop_stop(&f->loop);
    return 0;
}

static void wait_active(struct fixture *f)
{
    struct source_status status;
    int64_t end_ns = clock_monotonic_ns(&clock_system) + 60 * NS_PER_S;
    do {
        source_status_get(f->source, &status);
        assert_true(clock_monotonic_ns(&clock_system) < end_ns);
    } while (status.state != SOURCE_ACTIVE);
}

static void busy(void *ctx)
{
    struct fixture *f = ctx; /* on the loop: no letter runs before this returns */
    source_start(f->source);
    source_start(f->source);
    source_start(f->source);
}

static void started_three_times_it_begins_once(void **state)
{
    struct fixture *f = *state;
    loop_call(&f->loop, busy, f);
    wait_active(f);
    source_start(f->source);
    source_stop(f->source);
    source_stop(f->source);
    assert_true(wait_stopped(f));
    assert_int_equal(connects, 1);
}

static void start_and_stop(void *ctx)
{
    struct fixture *f = ctx;
    source_start(f->source);
    source_stop(f->source);
    source_stop(f->source);
}

static void stopped_before_it_began(void **state)
{
    struct fixture *f = *state;
    loop_call(&f->loop, start_and_stop, f);
    assert_true(wait_stopped(f));
    assert_int_equal(connects, 0);
}

static void stop_and_start(void *ctx)
{
    struct fixture *f = ctx;
    source_stop(f->source);
    source_start(f->source);
}

static void stopped_and_started_in_one_breath_it_goes_on(void **state)
{
    struct fixture *f = *state;
    source_start(f->source);
    wait_active(f);
    loop_call(&f->loop, stop_and_start, f);
    source_stop(f->source);
    assert_true(wait_stopped(f));
    assert_int_equal(connects, 1);
}

static void started_again_while_it_stops(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        source_start(f->source);
        wait_active(f);
        source_stop(f->source);
        source_start(f->source);
        wait_active(f);
        source_stop(f->source);
        assert_true(wait_stopped(f));
    }
    assert_true(connects >= 20);
}

static void storm(void *ctx)
{
    struct fixture *f = ctx;
    for (int i = 0; i < 5000; i++)
        i % 2 ? source_stop(f->source) : source_start(f->source);
}

static void a_storm_from_several_threads(void **state)
{
    struct fixture *f = *state;
    struct thread threads[4] = {0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "storm", storm, f), ERR_OK);
    for (size_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    source_start(f->source);
    wait_active(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(started_three_times_it_begins_once, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_before_it_began, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_and_started_in_one_breath_it_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(started_again_while_it_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(a_storm_from_several_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
