#pragma once
/*
 * A connection on trial: a connector's instance on a loop of its own, whose messages go to a list
 * in memory and nowhere else. Nothing is stored, and the connector's `trial` sees to it that no
 * message is taken from anybody. Used by POST /api/data-sources/test and `ingestor try`.
 *
 * Blocks the calling thread until enough has come, the time is over, or the connection failed.
 */
#include "connectors/connector.h"
#include "journal/block.h"

#define PROBE_BLOCKS_MAX 1024

struct probe_options {
    const struct connector *connector;
    const char *name;
    const json_t *config; /* borrowed; references to secrets are resolved */
    uint32_t messages_max;
    uint32_t seconds_max;
};

struct probe_result {
    bool connected;
    char error[512]; /* why not, or what the connector warned of; empty: nothing */
    json_t *health;  /* the connector's health members; may be NULL */
    struct block *blocks[PROBE_BLOCKS_MAX];
    uint32_t block_count;
    uint64_t message_count;
};

/* ERR_OK also when the connection failed: the result says so. */
enum err probe_run(const struct probe_options *options, struct probe_result *ret_result,
                   struct diag *diag) ERR_MUST_USE;
void probe_result_fini(struct probe_result *result);

/* {"success": bool, "message", "sample": {"topic", "payload"} | null, "health": {…}}. */
enum err probe_json(const struct connector *connector, const char *name, const json_t *config,
                    uint32_t seconds_max, json_t **ret_result) ERR_MUST_USE;
