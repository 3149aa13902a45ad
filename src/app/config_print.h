#pragma once
/*
 * `ingestor config`: the effective values, secrets masked, each with where it came from. Pure.
 * Fails with ERR_NO_MEMORY or ERR_TOO_LARGE (out's maximum).
 */
#include "app/config.h"

enum err config_print_table(const struct config *config, struct buf *out) ERR_MUST_USE;
enum err config_print_json(const struct config *config, struct buf *out) ERR_MUST_USE;
/* The table of docs/configuration.md: | variable | default | allowed | meaning |. */
enum err config_print_markdown(struct buf *out) ERR_MUST_USE;
