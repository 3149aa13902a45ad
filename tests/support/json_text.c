#include "support/json_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

json_t *json_text_parse(const char *text)
{
    char copy[8192];
    json_error_t error;
    assert_true(strlen(text) < sizeof(copy));
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *at = copy; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_t *value = json_loads(copy, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg("%s: %s", text, error.text);
    return value;
}

void json_text_expect(const json_t *found, const char *text)
{
    json_t *wanted = json_text_parse(text);
    if (!json_equal(found, wanted))
        fail_msg("%s, not %s", json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY), text);
    json_decref(wanted);
}
