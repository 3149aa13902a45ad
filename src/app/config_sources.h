#pragma once
/*
 * `sources:` of the configuration file: a list of the bodies that POST /api/data-sources takes.
 * Here their shape is checked and made uniform; the connector's own schema is checked when the
 * source is registered. Pure.
 */
#include "app/config.h"

#define CONFIG_SOURCES_MAX 10000

/* Checks node (what stands under `sources:`; borrowed) and appends the bodies, with enabled and
 * created_by filled in, to config->sources. ERR_NO_MEMORY, or ERR_OK (also with problems). */
enum err config_sources_add(struct config *config, const json_t *node, const char *where,
                            struct buf *problems) ERR_MUST_USE;

/* A copy of the sources with secret values replaced by ********; references (${env:…}) stay. NULL
 * when there is no memory. */
json_t *config_sources_masked(const json_t *sources);
