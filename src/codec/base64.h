#pragma once
/* Base64 (RFC 4648). Pure. */
#include "base/buf.h"

/* §4, with padding. */
enum err base64_append(struct buf *out, struct bytes data);
/* The reverse: ERR_CORRUPT for what base64_append does not write. */
enum err base64_decode(struct buf *out, struct bytes text);
/* §5, safe in URLs, without padding. */
enum err base64url_append(struct buf *out, struct bytes data);
