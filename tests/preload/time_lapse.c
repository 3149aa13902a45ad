/* LD_PRELOADed under a program: its clocks run TIME_LAPSE_SPEED times as fast as the system's, from
 * TIME_LAPSE_START_NS of the monotonic clock on (the same for several programs), and its waits are
 * that much shorter. The disk and the processors stay as slow as they are. */
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#define NS_PER_S 1000000000LL

static struct {
    int (*clock_gettime)(clockid_t clock, struct timespec *now);
    int (*timedwait)(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
    int (*epoll_wait)(int fd, struct epoll_event *events, int count, int timeout_ms);
    int (*epoll_pwait)(int fd, struct epoll_event *events, int count, int timeout_ms,
                       const sigset_t *mask);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*nanosleep)(const struct timespec *wait, struct timespec *left);
    int64_t speed;
    int64_t start_ns;
    int64_t realtime_start_ns;
} real;

static int64_t real_ns(clockid_t clock)
{
    struct timespec now;
    real.clock_gettime(clock, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
    *(void **)&real.clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real.timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    *(void **)&real.epoll_wait = dlsym(RTLD_NEXT, "epoll_wait");
    *(void **)&real.epoll_pwait = dlsym(RTLD_NEXT, "epoll_pwait");
    *(void **)&real.poll = dlsym(RTLD_NEXT, "poll");
    *(void **)&real.nanosleep = dlsym(RTLD_NEXT, "nanosleep");
    const char *speed = getenv("TIME_LAPSE_SPEED");
    const char *start = getenv("TIME_LAPSE_START_NS");
    real.speed = speed && strtoll(speed, NULL, 10) > 1 ? strtoll(speed, NULL, 10) : 1;
    int64_t now_ns = real_ns(CLOCK_MONOTONIC);
    real.start_ns = start ? strtoll(start, NULL, 10) : now_ns;
    real.realtime_start_ns = real_ns(CLOCK_REALTIME) - (now_ns - real.start_ns);
}

static struct timespec instant(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

static int sooner_ms(int timeout_ms)
{
    return timeout_ms <= 0 ? timeout_ms : (int)((timeout_ms + real.speed - 1) / real.speed);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real.clock_gettime)
        begin();
    bool is_monotonic = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE;
    if (!is_monotonic && clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return real.clock_gettime(clock, now);
    int64_t passed_ns = (real_ns(CLOCK_MONOTONIC) - real.start_ns) * real.speed;
    *now = instant((is_monotonic ? real.start_ns : real.realtime_start_ns) + passed_ns);
    return 0;
}

/* Of conditions with the monotonic clock, as all of ours and libuv's are. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    int64_t until_ns = until->tv_sec * NS_PER_S + until->tv_nsec;
    struct timespec sooner = instant(real.start_ns + (until_ns - real.start_ns) / real.speed);
    return real.timedwait(cond, mutex, &sooner);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    return real.epoll_wait(fd, events, count, sooner_ms(timeout_ms));
}

int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout_ms, const sigset_t *mask)
{
    return real.epoll_pwait(fd, events, count, sooner_ms(timeout_ms), mask);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return real.poll(fds, count, sooner_ms(timeout_ms));
}

int nanosleep(const struct timespec *wait, struct timespec *left)
{
    struct timespec sooner = instant((wait->tv_sec * NS_PER_S + wait->tv_nsec) / real.speed);
    return real.nanosleep(&sooner, left);
}
