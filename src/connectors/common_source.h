#pragma once
/*
 * What a connector with one dataset needs around its protocol: the options of every source, the
 * source in the pipeline and its one route, without metadata fields of its own. On the instance's
 * loop; part of its state, zeroed by the host.
 */
#include "base/arena.h"
#include "connectors/common_options.h"
#include "connectors/connector.h"

struct common_source {
    struct arena arena; /* what the options point to */
    struct common_options options;
    struct ingest_source_ops ops;
    struct ingest_source *source;
    struct ingest_route *route;
};

/* In connect. type is the connector's name; on_pause and on_resume as in pipeline/ingest.h, with
 * ctx. A failure's diag is a sentence for on_failed. */
enum err common_source_open(struct common_source *common, const struct connector_host *host,
                            const char *type, void (*on_pause)(void *ctx),
                            void (*on_resume)(void *ctx), void *ctx,
                            struct diag *diag) ERR_MUST_USE;
/* In disconnect, also when it was never opened. */
void common_source_close(struct common_source *common);

/* One message that nobody waits to have acknowledged, and the end of a read. What is larger than
 * max_message_bytes becomes a dead letter. ERR_NO_MEMORY: it was not taken. */
enum err common_source_emit(struct common_source *common, struct bytes payload,
                            int64_t arrival_us) ERR_MUST_USE;
