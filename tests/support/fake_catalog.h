#pragma once
/* A catalog in memory, that can be made to fail, to be away, and to be overtaken by another
 * replica. */
#include "lake/catalog.h"

#include <stdbool.h>

struct fake_catalog_row;

struct fake_catalog {
    struct catalog catalog;
    struct fake_catalog_row *rows;
    size_t count;
    _Atomic bool away; /* every call: ERR_BUSY */
    unsigned pin_calls;
    unsigned pin_many_calls;
    bool pin_many_fails;
    /* Called once before the next pin: what another replica does in between. */
    void (*before_pin)(struct fake_catalog *fake);
};

void fake_catalog_init(struct fake_catalog *fake);
void fake_catalog_fini(struct fake_catalog *fake);
/* Adds a row as it is. */
void fake_catalog_put(struct fake_catalog *fake, const char *dataset_id, const char *path,
                      const char *name, const char *type, int field_id);
/* The type of a path, or NULL. */
const char *fake_catalog_type(const struct fake_catalog *fake, const char *path);
const char *fake_catalog_name(const struct fake_catalog *fake, const char *path);
int fake_catalog_field_id(const struct fake_catalog *fake, const char *path);
