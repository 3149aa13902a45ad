#pragma once
/*
 * What a rescued value is called in _rescued_data: the names from the top with dots between. So
 * that no two fields of a record get one name ("a.b", and b in a), it is the field's JSON Pointer
 * if one of the names has a dot or the first begins with a slash; a name with a slash at its
 * beginning is always a pointer. Pure; any thread. The text appended is that of a JSON string,
 * without its quotes. Fails with ERR_NO_MEMORY, and with what out says.
 */
#include "base/buf.h"
#include "lake/schema.h"

enum err rescue_name_column(struct buf *out, const struct column *column);
/* Of a field (its name as it is) that has no column; parent may be the root. */
enum err rescue_name_field(struct buf *out, const struct column *parent,
                           struct bytes name) ERR_MUST_USE;
