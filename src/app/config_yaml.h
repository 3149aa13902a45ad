#pragma once
/*
 * A YAML document as a jansson tree, for the configuration file. Any thread; nothing is kept.
 *
 * What is taken: one document; mappings with text keys; the plain scalars of YAML 1.2's core schema
 * (null, true, false, decimal integers, floats), everything else as text; anchors and aliases, each
 * alias counted as the nodes it stands for. What is refused, with the line: duplicate keys, merge
 * keys, foreign tags, several documents, NUL bytes, keys that are no text.
 *
 * Fails with ERR_SYNTAX, ERR_TOO_DEEP, ERR_TOO_MANY, ERR_TOO_LARGE, ERR_NO_MEMORY; diag is a
 * sentence that begins with "line N: ".
 */
#include "base/bytes.h"
#include "base/err.h"

#include <jansson.h>

#define CONFIG_YAML_BYTES_MAX (1024 * 1024)
#define CONFIG_YAML_DEPTH_MAX 32
#define CONFIG_YAML_NODES_MAX 100000

/* *ret_root: what the document holds (an empty one: an empty object). *ret_lines: the line of each
 * key of the root mapping, as an object key -> integer. Both are the caller's. */
enum err config_yaml_parse(struct bytes text, json_t **ret_root, json_t **ret_lines,
                           struct diag *diag) ERR_MUST_USE;

/* A deep copy that is whole: json_deep_copy itself drops what it has no memory for and says
 * nothing. NULL when there is no memory. */
json_t *config_yaml_copy(const json_t *node);
