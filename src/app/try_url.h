#pragma once
/* The URL of `ingestor try`, as a source's config. Pure. */
#include "base/err.h"

#include <jansson.h>

struct try_target {
    const char *type_name; /* static */
    char *name;
    json_t *config;
};

/* data_path: where the records are in an HTTP answer; NULL: not said. ERR_INVALID says what such a
 * URL looks like. */
enum err try_url_parse(const char *url, const char *data_path, struct try_target *ret_target,
                       struct diag *diag) ERR_MUST_USE;
void try_target_fini(struct try_target *target);
