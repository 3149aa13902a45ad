#pragma once
/*
 * Names of columns (contract/data.md "Bronze layer"): made safe for every engine, and unique but
 * for case. Pure but for the maps given.
 */
#include "base/buf.h"
#include "base/map.h"

/* Appends the column name for a field: the parent's name and a dot (unless that is empty), then the
 * field's, sanitised, with a numbered suffix where the name is in taken or also_taken (may be
 * NULL). ours: date and hour need no underscore. */
enum err schema_name_make(struct buf *out, const struct map *taken, const struct map *also_taken,
                          const char *parent_name, struct bytes key, bool ours) ERR_MUST_USE;
/* Notes a name as taken, whatever its case. */
enum err schema_name_take(struct map *names, struct bytes name) ERR_MUST_USE;
/* Appends the JSON Pointer of a parent's field, or of a list's element; U+0000 in a name is "~2".
 */
enum err schema_name_path(struct buf *out, const char *parent_path, struct bytes key,
                          bool element) ERR_MUST_USE;
/* Appends the last segment of a JSON Pointer, decoded. */
enum err schema_name_from_path(struct buf *out, struct bytes path) ERR_MUST_USE;
