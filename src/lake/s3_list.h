#pragma once
/*
 * ListObjectsV2: what stands right below a prefix of the bucket, page after page. Any thread.
 *
 * The answer is taken for hostile: at most S3_LIST_PAGE_BYTES a page and STORE_LIST_MAX entries in
 * all, names that do not begin with the prefix are an error, and a page that repeats itself cannot
 * go on for ever. Errors: the transport's, those of s3_error, ERR_PROTOCOL, ERR_TOO_MANY.
 */
#include "lake/s3_request.h"

#define S3_LIST_PAGE_BYTES ((size_t)4 * 1024 * 1024)

enum err s3_list(struct s3 *s3, const char *prefix,
                 enum err (*on_entry)(void *ctx, const struct store_entry *entry), void *ctx,
                 struct diag *diag) ERR_MUST_USE;

/* One page's XML; *count is raised by its entries. ret_token is empty on the last page. Pure. */
enum err s3_list_page(struct bytes xml, const char *prefix,
                      enum err (*on_entry)(void *ctx, const struct store_entry *entry), void *ctx,
                      size_t *count, struct buf *ret_token) ERR_MUST_USE;
