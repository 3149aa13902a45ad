/*
 * The configuration file's bytes, whole way: YAML, the table, the sources, the rules that follow
 * from several values, and printing what came out. Whatever the bytes, the answer is a
 * configuration, or problems that say why not.
 */
#include "app/config.h"
#include "app/config_print.h"
#include "base/limits.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes file_bytes;

static enum err fuzz_open(void *ctx, const char *path, int flags, struct fs_file **ret_file,
                          struct diag *diag)
{
    (void)ctx, (void)path, (void)flags, (void)diag;
    *ret_file = NULL;
    return ERR_OK;
}

static enum err fuzz_read(void *ctx, struct fs_file *file, uint64_t offset, void *buffer,
                          size_t size, size_t *ret_size, struct diag *diag)
{
    (void)ctx, (void)file, (void)offset, (void)diag;
    *ret_size = file_bytes.size < size ? file_bytes.size : size;
    if (*ret_size > 0)
        memcpy(buffer, file_bytes.data, *ret_size);
    return ERR_OK;
}

static const struct fs_ops fuzz_ops = {.open = fuzz_open, .read = fuzz_read};

static void check_config(const struct config *config)
{
    struct buf out;
    buf_init(&out, 64 * MIB);
    if (config->port > 65535 || config->mqtt_port == 0 || config->mqtt_topics.count == 0 ||
        !config->store_url || !config->database_path || !config->pod)
        abort();
    if (config_print_table(config, &out) != ERR_OK || config_print_json(config, &out) != ERR_OK)
        abort();
    json_t *printed = json_loads(strchr(buf_cstr(&out), '{'), JSON_DISABLE_EOF_CHECK, NULL);
    json_decref(printed);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fs fs = {.ops = &fuzz_ops};
    const struct config_input input = {
        .fs = &fs, .path = "fuzz.yaml", .machine_memory_bytes = 1 * GIB};
    struct config *config;
    struct buf problems;
    file_bytes = bytes_from(data, size);
    buf_init(&problems, 64 * MIB);
    enum err err = config_load(&input, &config, &problems);
    if ((err == ERR_OK) != (config != NULL) || (err == ERR_OK) != (problems.size == 0))
        abort();
    if (config)
        check_config(config);
    config_free(config);
    buf_fini(&problems);
    return 0;
}
