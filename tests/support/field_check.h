#pragma once
/* What a dataset's metadata say of one field, in one line of a test. After cmocka.h. */
#include "metadata/change.h"

#include <stdio.h>

#define BIT(type) (1u << DATASET_##type)

/* samples: joined by bars. */
static inline void field_check(const struct change_field *field, const char *name, unsigned types,
                               bool nullable, const char *samples)
{
    char text[1024] = "";
    if (!field) {
        fail_msg("no field %s", name);
        return;
    }
    for (uint8_t i = 0; i < field->sample_count; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, "%s%.*s", i > 0 ? "|" : "",
                 (int)field->samples[i].size, (const char *)field->samples[i].data);
    }
    if (field->types != types || field->nullable != nullable || strcmp(text, samples) != 0)
        fail_msg("%s: types %x, nullable %d, samples %s", name, field->types, field->nullable,
                 text);
}
