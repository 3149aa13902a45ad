#include "app/simulate_loop.h"

#include "base/limits.h"
#include "os/clock.h"

#include <math.h>
#include <signal.h>

#define TICK_MS 5

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&clock_system);
}

static void on_tick(uv_timer_t *timer)
{
    struct simulate_loop *loop = timer->data;
    loop->ops->on_tick(loop->ctx);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct simulate_loop *loop = signal->data;
    (void)number;
    loop->ops->on_signal(loop->ctx);
}

enum err simulate_loop_init(struct simulate_loop *loop, const struct simulate_loop_ops *ops,
                            void *ctx)
{
    *loop = (struct simulate_loop){.ops = ops, .ctx = ctx, .start_ns = now_ns()};
    loop->paced_ns = loop->start_ns;
    return uv_loop_init(&loop->uv) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

void simulate_loop_run(struct simulate_loop *loop)
{
    (void)uv_timer_init(&loop->uv, &loop->timer);
    loop->timer.data = loop;
    (void)uv_timer_start(&loop->timer, on_tick, TICK_MS, TICK_MS);
    for (int i = 0; i < 2; i++) {
        (void)uv_signal_init(&loop->uv, &loop->signals[i]);
        loop->signals[i].data = loop;
        (void)uv_signal_start(&loop->signals[i], on_signal, i == 0 ? SIGINT : SIGTERM);
    }
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

/* It ends by itself now; one more Ctrl-C may not cost what there is to tell. Held back before the
 * handles close, for then it would end the process. */
static void signals_hold(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void simulate_loop_end(struct simulate_loop *loop)
{
    signals_hold();
    uv_close((uv_handle_t *)&loop->timer, NULL);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&loop->signals[i], NULL);
}

void simulate_loop_fini(struct simulate_loop *loop)
{
    (void)uv_loop_close(&loop->uv);
}

double simulate_loop_seconds(const struct simulate_loop *loop)
{
    return (double)(now_ns() - loop->start_ns) / (double)NS_PER_S;
}

uint64_t simulate_loop_allowance(struct simulate_loop *loop, double rate)
{
    int64_t now = now_ns();
    double seconds = (double)(now - loop->paced_ns) / (double)NS_PER_S;
    loop->paced_ns = now;
    if (rate <= 0)
        return UINT64_MAX;
    loop->budget = fmin(loop->budget + seconds * rate, fmax(rate, 1));
    return (uint64_t)loop->budget;
}

void simulate_loop_spend(struct simulate_loop *loop, uint64_t count)
{
    loop->budget -= (double)count;
}
