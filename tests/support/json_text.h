#pragma once
/* JSON in tests, with ' for ", to keep tables readable. A test fails when it is none. */
#include <jansson.h>

json_t *json_text_parse(const char *text);
/* Fails the test unless found is what text says. */
void json_text_expect(const json_t *found, const char *text);
