#include "connectors/common_source.h"

#include "base/buf.h"
#include "base/limits.h"

#define CONFIG_BYTES_MAX  (256 * KIB)
#define DATASET_BYTES_MAX (64 * KIB)

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    (void)ctx;
    (void)sequence;
    (void)block_number;
}

static enum err options_read(struct common_source *common, const json_t *config, struct diag *diag)
{
    enum err err = ERR_OK;
    arena_init(&common->arena, CONFIG_BYTES_MAX);
    struct config_reader reader = {
        .arena = &common->arena, .json = config, .diag = diag, .err = &err, .within = ""};
    common_options_read(&common->options, &reader);
    return err;
}

static enum err route_make(struct common_source *common, const char *source_id)
{
    struct buf dataset;
    buf_init(&dataset, DATASET_BYTES_MAX);
    enum err err =
        common_options_dataset_id(&common->options, source_id, (struct bytes){0}, &dataset);
    struct route_view view = {.dataset_id = buf_bytes(&dataset)};
    common_options_route(&common->options, &view);
    if (err == ERR_OK)
        err = ingest_route_new(common->source, &view, &common->route);
    buf_fini(&dataset);
    return err;
}

enum err common_source_open(struct common_source *common, const struct connector_host *host,
                            const char *type, void (*on_pause)(void *ctx),
                            void (*on_resume)(void *ctx), void *ctx, struct diag *diag)
{
    common->ops = (struct ingest_source_ops){on_durable, on_pause, on_resume};
    enum err err = options_read(common, host->config, diag);
    if (err == ERR_OK)
        err = ingest_source_open(host->ingest, bytes_from_text(host->source_id),
                                 bytes_from_text(type), &common->ops, ctx, &common->source);
    if (err == ERR_OK)
        err = route_make(common, host->source_id);
    return err == ERR_OK ? ERR_OK : diag_set(diag, err, "%s", err_text(err));
}

void common_source_close(struct common_source *common)
{
    ingest_route_free(common->route);
    ingest_source_close(common->source);
    arena_fini(&common->arena);
    common->route = NULL;
    common->source = NULL;
}

enum err common_source_emit(struct common_source *common, struct bytes payload, int64_t arrival_us)
{
    uint64_t sequence;
    const struct ingest_message message = {.payload = payload, .arrival_us = arrival_us};
    enum err err =
        payload.size <= common->options.message_max_bytes
            ? ingest_emit(common->route, &message, &sequence)
            : ingest_reject(common->route, &message, "oversize",
                            "larger than the source takes (max_message_bytes)", &sequence);
    ingest_end_of_read(common->source);
    return err == ERR_OK ? ERR_OK : ERR_NO_MEMORY;
}
