#pragma once
/*
 * Reads a connector's configuration member by member: the first thing wrong stands in diag, the
 * rest is read all the same. The texts that are returned are copies in the arena. Absent and null
 * are the same. One thread; lives on the stack of a …_config_init.
 *
 * A member of an object inside is read through a reader of that object (config_reader_inside),
 * whose error is the outer one's.
 */
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct config_reader {
    struct arena *arena;
    const json_t *json;
    struct diag *diag;
    enum err *err;      /* the first error */
    const char *within; /* "oauth2.", or "" */
};

/* Notes the sentence unless an error stands already. */
void config_refuse(struct config_reader *reader, enum err err, const char *sentence);
/* "<name> must be <allowed>, not <what was found>". Not for secrets. */
void config_refuse_member(struct config_reader *reader, const char *name, const char *allowed);

/* NULL when absent or null. */
json_t *config_member(const struct config_reader *reader, const char *name);
/* A copy with a NUL after it; NULL and an error without memory. */
const char *config_keep(struct config_reader *reader, const char *text, size_t size);
/* UTF-8 without U+0000 of 1 to size_max bytes, or NULL when absent or refused. */
const char *config_text(struct config_reader *reader, const char *name, size_t size_max);
/* The same of what no error text may show. */
const char *config_secret(struct config_reader *reader, const char *name, size_t size_max);
uint64_t config_number(struct config_reader *reader, const char *name, uint64_t min, uint64_t max,
                       uint64_t otherwise);
bool config_flag(struct config_reader *reader, const char *name, bool otherwise);
/* One of the NULL-terminated words; their index, or otherwise when absent or refused. */
int config_word(struct config_reader *reader, const char *name, const char *const *words,
                int otherwise);
/* Whether the member is an object; then *ret_inside reads its members. within: "<name>.". */
bool config_reader_inside(struct config_reader *reader, const char *name, const char *within,
                          struct config_reader *ret_inside);
