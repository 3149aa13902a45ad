#pragma once
/* The ingestion id of a data source (contract/http-api.md "Data sources"): the same on every
 * replica, after every restart and after a rename. Pure. */
#include "base/buf.h"

/* Appends the first 8 hex digits of md5("<name>_<type>"), "_", the name lower-cased and stripped
 * with each run of characters other than [a-zA-Z0-9] turned into one "_", "_", the type. name is
 * UTF-8. */
enum err ingestion_id_make(const char *name, const char *type, struct buf *out) ERR_MUST_USE;
