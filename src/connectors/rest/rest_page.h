#pragma once
/*
 * Pages of a poll: which address each has, and whether another follows. A position is a text: the
 * page's number, the offset, the server's cursor, or the next address; empty is the first page.
 * Pure.
 */
#include "connectors/rest/rest_config.h"

#define REST_POSITION_BYTES_MAX 16384

/* What is known of a page that was read. */
struct rest_page_seen {
    const char *url;   /* that answered, after redirects */
    struct bytes text; /* of the body, when it is JSON; else empty */
    uint64_t records;  /* at data_path */
    const char *link;  /* Link header, or "" */
};

/* The address of a page. cursor is the JSON scalar to send, or empty. Replaces *out. */
enum err rest_page_url(const struct rest_config *config, struct bytes position, struct bytes cursor,
                       struct buf *out) ERR_MUST_USE;

/* The position after this one; empty when it was the last. *ret_warning: NULL, or why an address
 * that was given is not followed. Replaces *ret_position. */
enum err rest_page_next(const struct rest_config *config, struct bytes position,
                        const struct rest_page_seen *seen, struct buf *ret_position,
                        const char **ret_warning) ERR_MUST_USE;

/* Appends the target of the link with relation next (RFC 8288); nothing when there is none. */
enum err rest_link_next(const char *link, struct buf *out) ERR_MUST_USE;
