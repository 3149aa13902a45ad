#include "base/alloc.h"
#include "base/limits.h"
#include "os/process_metrics.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
/* after the above, as cmocka wants */
#include <cmocka.h>

static double value_of(struct metrics *metrics, const char *name)
{
    struct buf out;
    char line[128] = "\n";
    buf_init(&out, MIB);
    assert_int_equal(metrics_render(metrics, &out), ERR_OK);
    strncat(line, name, 100);
    strncat(line, " ", 2);
    char *at = strstr(buf_cstr(&out), line);
    assert_non_null(at);
    double value = strtod(at + strlen(line), NULL);
    buf_fini(&out);
    return value;
}

static void test_values(void **state)
{
    (void)state;
    struct metrics *metrics;
    struct process_metrics *process;
    assert_int_equal(metrics_new(&metrics), ERR_OK);
    assert_int_equal(process_metrics_new(metrics, &process), ERR_OK);
    double now = (double)time(NULL);
    double start = value_of(metrics, "process_start_time_seconds");
    assert_true(start > now - 3600 && start < now + 3);
    double resident = value_of(metrics, "process_resident_memory_bytes");
    assert_true(resident > 100e3);
    assert_true(value_of(metrics, "process_virtual_memory_bytes") > resident);
    assert_true(value_of(metrics, "process_cpu_seconds_total") >= 0);
    double fds = value_of(metrics, "process_open_fds");
    assert_true(value_of(metrics, "process_max_fds") > fds);
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0);
    assert_true(value_of(metrics, "process_open_fds") == fds + 1);
    close(fd);
    metrics_free(metrics);
    process_metrics_free(process);
    process_metrics_free(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        struct metrics *metrics;
        struct process_metrics *process = NULL;
        assert_int_equal(metrics_new(&metrics), ERR_OK);
        mem_fail_at(k);
        enum err err = process_metrics_new(metrics, &process);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        metrics_free(metrics);
        process_metrics_free(process);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
