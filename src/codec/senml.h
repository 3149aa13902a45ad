#pragma once
/*
 * SenML (RFC 8428), JSON and CBOR: a pack to an array of resolved records (§4.6): base fields are
 * applied and gone, t is absolute (seconds, to the microsecond), the labels stay as they are. Pure;
 * any thread; memory is bounded by the payload's size and out's maximum.
 *
 * A record of base fields alone sets them and is no record of its own. Fields that the RFC does not
 * know are kept. What it demands an error for is one for the whole pack: a field whose name ends
 * with "_" and is not known, a version above 10, a field of the wrong type, no name or one that is
 * not allowed (§4.5.1), two values, none (§4.2: no sum and no base value either). A value that is
 * null is one, and not there: sensors that are broken say so.
 */
#include "base/buf.h"

/* now_us: what relative times count from. ERR_SYNTAX: no pack (*ret_why, a static text, says why);
 * ERR_TOO_DEEP; ERR_TOO_LARGE: out's maximum; ERR_NO_MEMORY. */
enum err senml_to_json(struct bytes payload, int64_t now_us, struct buf *out,
                       const char **ret_why) ERR_MUST_USE;
