#pragma once
/* Base64 with padding (RFC 4648 §4). Pure. */
#include "base/buf.h"

enum err base64_append(struct buf *out, struct bytes data);
