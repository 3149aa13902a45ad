#pragma once
/*
 * What a server offers: the answer of /.well-known/core in the link format (RFC 6690), and patterns
 * that choose from it. Pure. The text is hostile: it is read once, in time linear in its size.
 */
#include "base/bytes.h"

#include <stdbool.h>

/* Calls on_path for each link to a resource of the server itself (a path, its first slash left
 * out), in their order, until it returns false. What is no link is skipped. False: there was such,
 * or not all was read, so that it cannot be told what the server does not offer. */
bool coap_core_links_each(struct bytes text, bool (*on_path)(void *ctx, struct bytes path),
                          void *ctx);

/* Whether it can be asked for: as a resource of the configuration, it is UTF-8 without spaces and
 * control characters, what is escaped in it is escaped well, and each part fits an option. */
bool coap_core_links_usable(struct bytes path);

/* * stands for any bytes, all else for itself. Time: the product of the sizes, at most. */
bool coap_core_links_match(const char *pattern, struct bytes path);
