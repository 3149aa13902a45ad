/*
 * Drives an object store from the command line, for tests/integration/test_stores.py.
 *
 *   store_tool [name=value …] command …
 *
 *   url endpoint access_key secret_key bucket region addressing=auto|path|virtual ca_file
 *   clock_offset_s connect_timeout_ms idle_timeout_ms
 *
 *   probe            put KEY FILE            check KEY FILE
 *
 * Several commands may follow each other with "--" between them: one store object serves them all.
 * Each prints one line: "ok", "absent", "same", "different", or "NAME CLASS: sentence". The exit
 * code is 0 if none failed, 1 if one did, 2 for a wrong command line.
 */
#include "base/limits.h"
#include "lake/file_digest.h"
#include "lake/store_open.h"

#include <stdio.h>
#include <stdlib.h>

static int64_t clock_offset_us;

static int64_t tool_monotonic_ns(void *ctx)
{
    (void)ctx;
    return clock_monotonic_ns(&clock_system);
}

static int64_t tool_realtime_us(void *ctx)
{
    (void)ctx;
    return clock_realtime_us(&clock_system) + clock_offset_us;
}

static const struct clock_ops tool_clock_ops = {tool_monotonic_ns, tool_realtime_us};
static const struct clock tool_clock = {&tool_clock_ops, NULL};

static bool set_number(struct store_options *options, const char *name, const char *value)
{
    long long number = strtoll(value, NULL, 10);
    if (strcmp(name, "clock_offset_s") == 0)
        clock_offset_us = number * US_PER_S;
    else if (strcmp(name, "connect_timeout_ms") == 0)
        options->connect_timeout_ms = (uint32_t)number;
    else if (strcmp(name, "idle_timeout_ms") == 0)
        options->idle_timeout_ms = (uint32_t)number;
    else
        return false;
    return true;
}

static bool set_option(struct store_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **to;
    } texts[] = {
        {"url", &options->url},
        {"endpoint", &options->endpoint},
        {"access_key", &options->access_key},
        {"secret_key", &options->secret_key},
        {"bucket", &options->bucket},
        {"region", &options->region},
        {"ca_file", &options->ca_file},
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].name, name) == 0) {
            *texts[i].to = value;
            return true;
        }
    }
    if (strcmp(name, "addressing") == 0) {
        options->addressing = strcmp(value, "path") == 0      ? STORE_ADDRESS_PATH
                              : strcmp(value, "virtual") == 0 ? STORE_ADDRESS_VIRTUAL_HOST
                                                              : STORE_ADDRESS_AUTO;
        return true;
    }
    return set_number(options, name, value);
}

static enum err object_of(const char *key, const char *path, struct store_object *ret_object,
                          struct diag *diag)
{
    struct file_digest digest;
    enum err err = file_digest(&fs_posix, path, &digest, diag);
    *ret_object =
        (struct store_object){.key = key, .spool_path = path, .size_bytes = digest.size_bytes};
    memcpy(ret_object->sha256, digest.sha256, sizeof(digest.sha256));
    return err;
}

static int report(enum err err, const char *word, const struct diag *diag)
{
    static const char *const classes[] = {"NONE", "RETRY", "PERMANENT", "CORRUPT", "LIMIT", "BUG"};
    if (err == ERR_OK)
        printf("%s\n", word);
    else
        printf("%s %s: %s\n", err_name(err), classes[err_class(err)], diag->text);
    fflush(stdout);
    return err == ERR_OK ? 0 : 1;
}

/* Takes one command's words; 2 when it makes none. */
static int run(struct store *store, char **words, int count)
{
    static const char *const presences[] = {"absent", "same", "different"};
    struct diag diag = {0};
    struct store_object object;
    enum store_presence presence = STORE_ABSENT;
    if (count == 1 && strcmp(words[0], "probe") == 0)
        return report(store->ops->probe(store, &diag), "ok", &diag);
    bool put = count == 3 && strcmp(words[0], "put") == 0;
    if (!put && !(count == 3 && strcmp(words[0], "check") == 0))
        return 2;
    enum err err = object_of(words[1], words[2], &object, &diag);
    if (err == ERR_OK && put)
        return report(store->ops->put(store, &object, &diag), "ok", &diag);
    if (err == ERR_OK)
        err = store->ops->check(store, &object, &presence, &diag);
    return report(err, presences[presence], &diag);
}

static int run_all(struct store *store, char **words, int count)
{
    int worst = 0;
    for (int from = 0; from < count;) {
        int to = from;
        while (to < count && strcmp(words[to], "--") != 0)
            to++;
        int result = run(store, words + from, to - from);
        worst = result > worst ? result : worst;
        from = to + 1;
    }
    return worst;
}

int main(int argc, char **argv)
{
    struct store_options options = {.fs = &fs_posix, .clock = &tool_clock};
    struct store *store;
    struct diag diag = {0};
    int at = 1;
    for (char *equals; at < argc && (equals = strchr(argv[at], '=')); at++) {
        *equals = '\0';
        if (!set_option(&options, argv[at], equals + 1)) {
            fprintf(stderr, "store_tool: unknown option %s\n", argv[at]);
            return 2;
        }
    }
    if (at == argc) {
        fprintf(stderr, "store_tool: no command\n");
        return 2;
    }
    enum err err = store_open(&options, &store, &diag);
    if (err != ERR_OK)
        return report(err, "", &diag);
    int result = run_all(store, argv + at, argc - at);
    store->ops->close(store);
    return result;
}
