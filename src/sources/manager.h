#pragma once
/*
 * The data sources of this process: added at start (environment, YAML), started and stopped
 * together, watched. Any thread. It keeps no database yet: sources come from the configuration.
 */
#include "sources/source.h"

struct manager_options {
    struct loop *const *loops; /* the I/O loops; sources are spread over them */
    struct ingest_loop *const *ingests;
    uint32_t loop_count;
    const char *replica_id;
};

struct manager;

enum err manager_new(const struct manager_options *options,
                     struct manager **ret_manager) ERR_MUST_USE;
void manager_free(struct manager *manager);

/* Adds a source; it does not start yet. ERR_CONFLICT: the same name and type is there with another
 * config (the same config: nothing is added). diag names what is wrong. */
enum err manager_add(struct manager *manager, const char *name, const char *type_name,
                     const json_t *config, struct diag *diag) ERR_MUST_USE;

void manager_start(struct manager *manager);
/* Stops all sources; false when one did not end before the deadline. */
bool manager_stop(struct manager *manager, int64_t deadline_ns);

uint32_t manager_count(const struct manager *manager);
struct source *manager_at(const struct manager *manager, uint32_t index);
