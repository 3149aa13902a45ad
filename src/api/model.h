#pragma once
/*
 * The fields of a JSON body that is a model, read as pydantic reads them: what is wrong is added to
 * invalid, under its loc. Borrowed from the body.
 */
#include "api/envelope.h"

/* absent is returned when the field is not there (NULL: that is an error, "missing"). */
const char *model_text(const json_t *body, const char *name, const char *absent,
                       struct api_invalid *invalid);
/* NULL when it is wrong. */
const json_t *model_object(const json_t *body, const char *name, struct api_invalid *invalid);
bool model_boolean(const json_t *body, const char *name, bool absent, struct api_invalid *invalid);

/* Whether an optional field is there; null counts as absent. */
bool model_has(const json_t *body, const char *name);
