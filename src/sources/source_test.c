#include "sources/source.h"

#include "os/clock.h"
#include "os/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A connector that is there at once, and ends a turn of the loop after it was asked to. */
struct fake {
    const struct connector_host *host;
    uv_timer_t timer;
};

static atomic_int connects;
static atomic_bool holds; /* it is not connected before connect_held says so */
static struct fake *held;
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
    held = fake;
    if (!atomic_load(&holds))
        host->on_connected(host->ctx);
    return ERR_OK;
}

static void connect_held(void *ctx)
{
    (void)ctx;
    held->host->on_connected(held->host->ctx);
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

static void fake_push(void *state, struct connector_push *push)
{
    (void)state;
    push->status = 202;
    push->done(push);
}

static atomic_int forgets;
static atomic_bool refuses;

static void fake_forget(void *state)
{
    atomic_fetch_add(&forgets, 1);
    fake_stop(state);
}

/* Fails while it refuses, with no word about it before the loop's next turn. */
static enum err fussy_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    enum err err = fake_connect(state, host, diag);
    return atomic_load(&refuses) ? diag_set(diag, ERR_NETWORK, "it is away") : err;
}

/* The other side keeps something for it. */
static const struct connector fussy_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "fussy",
    .state_size = sizeof(struct fake),
    .ops = {.connect = fussy_connect,
            .start = fake_start,
            .stop = fake_stop,
            .disconnect = fake_disconnect,
            .forget = fake_forget},
};

static struct fake *patient;

/* Tries by itself for ever. */
static enum err patient_connect(void *state, const struct connector_host *host, struct diag *diag)
{
    patient = state;
    host->on_reach(host->ctx, CONNECTOR_REACHING, NULL);
    return fake_connect(state, host, diag);
}

static const struct connector patient_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "patient",
    .state_size = sizeof(struct fake),
    .ops = {.connect = patient_connect,
            .start = fake_start,
            .stop = fake_stop,
            .disconnect = fake_disconnect},
};

static const struct connector fake_connector = {
    .abi = INGESTOR_CONNECTOR_ABI,
    .name = "fake",
    .state_size = sizeof(struct fake),
    .ops = {.connect = fake_connect,
            .start = fake_start,
            .stop = fake_stop,
            .disconnect = fake_disconnect,
            .push = fake_push},
};

struct fixture {
    struct loop loop;
    struct source *source;
};

static int setup_with(void **state, const struct connector *connector)
{
    static struct fixture f;
    json_t *config = json_object();
    f = (struct fixture){0};
    connects = alive = alive_most = forgets = 0;
    refuses = holds = false;
    assert_int_equal(loop_start(&f.loop, "test"), ERR_OK);
    const struct source_options options = {.connector = connector,
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

static int setup(void **state)
{
    return setup_with(state, &fake_connector);
}

static int setup_patient(void **state)
{
    return setup_with(state, &patient_connector);
}

static int setup_fussy(void **state)
{
    return setup_with(state, &fussy_connector);
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

static void wait_state(struct fixture *f, enum source_state wanted)
{
    struct source_status status;
    int64_t until_ns = clock_monotonic_ns(&clock_system) + 60 * NS_PER_S;
    do {
        assert_true(clock_monotonic_ns(&clock_system) < until_ns);
        usleep(1000);
        source_status_get(f->source, &status);
    } while (status.state != wanted);
}

static void tell_away(void *ctx)
{
    (void)ctx;
    patient->host->on_reach(patient->host->ctx, CONNECTOR_AWAY, "it is away");
}

static void tell_reached(void *ctx)
{
    (void)ctx;
    patient->host->on_reach(patient->host->ctx, CONNECTOR_REACHED, NULL);
}

static void one_that_tries_by_itself_is_in_the_state_it_tells(void **state)
{
    struct fixture *f = *state;
    struct source_status status;
    int64_t until_ns = clock_monotonic_ns(&clock_system) + 60 * NS_PER_S;
    source_start(f->source);
    do {
        assert_true(clock_monotonic_ns(&clock_system) < until_ns);
        usleep(1000);
        source_status_get(f->source, &status);
    } while (!status.is_running);
    assert_int_equal(status.state, SOURCE_CONNECTING);
    assert_int_equal(status.last_connection_us, 0);
    for (uint64_t round = 0; round < 2; round++) {
        loop_call(&f->loop, tell_away, NULL);
        source_status_get(f->source, &status);
        assert_int_equal(status.state, SOURCE_ERROR);
        assert_true(status.is_running);
        assert_string_equal(status.last_error, "it is away");
        assert_int_equal(status.restarts, round); /* one that was never there is not lost */
        loop_call(&f->loop, tell_reached, NULL);
        source_status_get(f->source, &status);
        assert_int_equal(status.state, SOURCE_ACTIVE);
        assert_string_equal(status.last_error, "");
        assert_true(status.last_connection_us > 0);
    }
    assert_int_equal(connects, 1);
    loop_call(&f->loop, tell_away, NULL);
    source_stop(f->source);
    assert_true(wait_stopped(f));
    source_status_get(f->source, &status);
    assert_int_equal(status.state, SOURCE_STOPPED);
    assert_false(status.is_running);
}

static void forget(struct fixture *f, int connects_expected, int forgets_expected)
{
    source_forget(f->source);
    assert_true(wait_stopped(f));
    assert_int_equal(connects, connects_expected);
    assert_int_equal(forgets, forgets_expected);
}

static void one_that_runs_is_forgotten(void **state)
{
    struct fixture *f = *state;
    source_start(f->source);
    wait_state(f, SOURCE_ACTIVE);
    forget(f, 1, 1);
}

static void one_that_never_ran_connects_to_be_forgotten(void **state)
{
    struct fixture *f = *state;
    forget(f, 1, 1);
}

static void one_that_was_stopped_connects_to_be_forgotten(void **state)
{
    struct fixture *f = *state;
    source_start(f->source);
    wait_state(f, SOURCE_ACTIVE);
    source_stop(f->source);
    assert_true(wait_stopped(f));
    forget(f, 2, 1);
}

static void one_that_is_stopping_is_forgotten_after_it(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 200; round++) {
        connects = forgets = 0;
        teardown(state);
        setup_fussy(state);
        source_start(f->source);
        source_stop(f->source);
        source_forget(f->source);
        assert_true(wait_stopped(f));
        assert_int_equal(forgets, 1);
    }
}

static void one_that_waits_for_its_next_try_is_forgotten_at_once(void **state)
{
    struct fixture *f = *state;
    refuses = true;
    source_start(f->source);
    wait_state(f, SOURCE_ERROR);
    refuses = false;
    forget(f, 2, 1);
}

static void it_is_tried_once(void **state)
{
    struct fixture *f = *state;
    refuses = true;
    source_start(f->source);
    wait_state(f, SOURCE_ERROR);
    forget(f, 2, 0);
}

#define PUSHES 3

static atomic_uint statuses[PUSHES]; /* of the answers, as they came */
static atomic_size_t answers;

static void on_push_done(struct connector_push *push)
{
    statuses[atomic_fetch_add(&answers, 1)] = push->status;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* To a source that is just being connected. */
static void push_early(struct fixture *f, struct connector_push pushes[PUSHES])
{
    holds = true;
    answers = 0;
    source_start(f->source);
    for (size_t i = 0; i < PUSHES; i++) {
        pushes[i] = (struct connector_push){.done = on_push_done};
        source_push(f->source, &pushes[i]);
    }
    loop_call(&f->loop, nothing, NULL); /* they have come */
    assert_int_equal(answers, 0);
}

static void expect_answers(unsigned status)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + 60 * NS_PER_S;
    while (answers < PUSHES) {
        assert_true(clock_monotonic_ns(&clock_system) < until_ns);
        usleep(1000);
    }
    for (size_t i = 0; i < PUSHES; i++)
        assert_int_equal(statuses[i], status);
}

static void what_is_pushed_while_it_connects_waits(void **state)
{
    struct fixture *f = *state;
    struct connector_push pushes[PUSHES];
    push_early(f, pushes);
    loop_call(&f->loop, connect_held, NULL);
    expect_answers(202);
}

static void what_waits_is_answered_when_it_stops(void **state)
{
    struct fixture *f = *state;
    struct connector_push pushes[PUSHES];
    push_early(f, pushes);
    source_stop(f->source);
    expect_answers(503);
}

static void one_that_is_late_says_so(void **state)
{
    struct fixture *f = *state;
    struct source_status status;
    holds = true;
    source_start(f->source);
    wait_state(f, SOURCE_CONNECTING);
    source_start_late(f->source, "it is late");
    source_status_get(f->source, &status);
    assert_int_equal(status.state, SOURCE_ERROR);
    assert_string_equal(status.last_error, "it is late");
    loop_call(&f->loop, connect_held, NULL);
    wait_state(f, SOURCE_ACTIVE);
    source_start_late(f->source, "it is late");
    source_status_get(f->source, &status);
    assert_int_equal(status.state, SOURCE_ACTIVE);
    assert_string_equal(status.last_error, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(started_three_times_it_begins_once, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_before_it_began, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_tries_by_itself_is_in_the_state_it_tells,
                                        setup_patient, teardown),
        cmocka_unit_test_setup_teardown(stopped_and_started_in_one_breath_it_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(started_again_while_it_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(a_storm_from_several_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_runs_is_forgotten, setup_fussy, teardown),
        cmocka_unit_test_setup_teardown(one_that_never_ran_connects_to_be_forgotten, setup_fussy,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_was_stopped_connects_to_be_forgotten, setup_fussy,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_is_stopping_is_forgotten_after_it, setup_fussy,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_waits_for_its_next_try_is_forgotten_at_once,
                                        setup_fussy, teardown),
        cmocka_unit_test_setup_teardown(it_is_tried_once, setup_fussy, teardown),
        cmocka_unit_test_setup_teardown(what_is_pushed_while_it_connects_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_is_answered_when_it_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_late_says_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
