#include "os/process_metrics.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct process_metrics {
    struct gauge *cpu_seconds;
    struct gauge *resident_bytes;
    struct gauge *virtual_bytes;
    struct gauge *open_fds;
    struct gauge *max_fds;
    struct gauge *start_seconds;
};

/* The fields of /proc/self/stat after the command's name, which may hold spaces: proc(5), field 3
 * is the first. */
enum { STAT_START_TICKS = 22, STAT_VIRTUAL_BYTES = 23, STAT_RESIDENT_PAGES = 24 };

static size_t file_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

static bool stat_field(const char *stat, int field, double *ret_value)
{
    const char *at = strrchr(stat, ')');
    for (int i = 2; at && i < field; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return false;
    *ret_value = strtod(at + 1, NULL);
    return true;
}

/* Start time since boot, against the same clock now. */
static double start_seconds(double start_ticks)
{
    struct timespec now;
    struct timespec boot;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    double booted = (double)(now.tv_sec - boot.tv_sec) +
                    (double)(now.tv_nsec - boot.tv_nsec) / (double)NS_PER_S;
    return booted + start_ticks / (double)sysconf(_SC_CLK_TCK);
}

static void collect_stat(struct process_metrics *process)
{
    char stat[1024];
    double value;
    if (file_read("/proc/self/stat", stat, sizeof(stat)) == 0)
        return;
    if (stat_field(stat, STAT_VIRTUAL_BYTES, &value))
        gauge_set(process->virtual_bytes, value);
    if (stat_field(stat, STAT_RESIDENT_PAGES, &value))
        gauge_set(process->resident_bytes, value * (double)sysconf(_SC_PAGESIZE));
}

static void collect_fds(struct process_metrics *process)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        gauge_set(process->max_fds, (double)limit.rlim_cur);
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return;
    int count = -1;                                        /* not the folder itself */
    for (struct dirent *entry; (entry = readdir(folder));) /* NOLINT: this DIR is ours alone */
        count += entry->d_name[0] != '.';
    closedir(folder);
    gauge_set(process->open_fds, count);
}

static void on_collect(void *ctx)
{
    struct process_metrics *process = ctx;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        gauge_set(process->cpu_seconds,
                  (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / (double)US_PER_S);
    collect_stat(process);
    collect_fds(process);
}

static enum err make_series(struct metrics *metrics, struct process_metrics *process)
{
    const struct {
        const char *name;
        const char *help;
        struct gauge **ret_gauge;
    } gauges[] = {
        {"process_virtual_memory_bytes", "Virtual memory size in bytes.", &process->virtual_bytes},
        {"process_resident_memory_bytes", "Resident memory size in bytes.",
         &process->resident_bytes},
        {"process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
         &process->start_seconds},
        {"process_open_fds", "Number of open file descriptors.", &process->open_fds},
        {"process_max_fds", "Maximum number of open file descriptors.", &process->max_fds},
    };
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        enum err err = metrics_gauge(metrics, gauges[i].name, gauges[i].help, METRIC_NO_LABELS,
                                     gauges[i].ret_gauge);
        if (err != ERR_OK)
            return err;
    }
    return metrics_counter_cell(metrics, "process_cpu_seconds_total",
                                "Total user and system CPU time spent in seconds.",
                                METRIC_NO_LABELS, &process->cpu_seconds);
}

enum err process_metrics_new(struct metrics *metrics, struct process_metrics **ret_process)
{
    struct process_metrics *process = mem_zalloc(1, sizeof(*process));
    if (!process)
        return ERR_NO_MEMORY;
    enum err err = make_series(metrics, process);
    if (err == ERR_OK)
        err = metrics_on_collect(metrics, on_collect, process);
    if (err != ERR_OK) {
        mem_free(process);
        return err;
    }
    char stat[1024];
    double ticks;
    if (file_read("/proc/self/stat", stat, sizeof(stat)) > 0 &&
        stat_field(stat, STAT_START_TICKS, &ticks))
        gauge_set(process->start_seconds, start_seconds(ticks));
    *ret_process = process;
    return ERR_OK;
}

void process_metrics_free(struct process_metrics *process)
{
    mem_free(process);
}

uint64_t process_resident_bytes(void)
{
    char text[256];
    if (file_read("/proc/self/statm", text, sizeof(text)) == 0)
        return 0;
    const char *resident = strchr(text, ' ');
    return resident ? strtoull(resident + 1, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
