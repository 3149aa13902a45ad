#include "support/fake_catalog.h"

#include <stdlib.h>
#include <string.h>

struct fake_catalog_row {
    char *dataset;
    char *path;
    char *name;
    char *type;
    int field_id;
};

static char *text_dup(struct bytes bytes)
{
    char *copy = malloc(bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = '\0';
    return copy;
}

static void row_put(struct fake_catalog *fake, struct bytes dataset, struct bytes path,
                    struct bytes name, struct bytes type, int field_id)
{
    fake->rows = realloc(fake->rows, (fake->count + 1) * sizeof(*fake->rows));
    fake->rows[fake->count++] = (struct fake_catalog_row){text_dup(dataset), text_dup(path),
                                                          text_dup(name), text_dup(type), field_id};
}

void fake_catalog_put(struct fake_catalog *fake, const char *dataset_id, const char *path,
                      const char *name, const char *type, int field_id)
{
    row_put(fake, bytes_from_text(dataset_id), bytes_from_text(path), bytes_from_text(name),
            bytes_from_text(type), field_id);
}

static enum err fake_load(struct catalog *catalog, struct bytes dataset_id,
                          enum err (*on_column)(void *ctx, const struct catalog_column *column),
                          void *ctx, struct diag *diag)
{
    struct fake_catalog *fake = (struct fake_catalog *)catalog;
    if (fake->away)
        return diag_set(diag, ERR_BUSY, "the catalog is away");
    for (int id = 1; id < 100000; id++) {
        bool later = false;
        for (size_t i = 0; i < fake->count; i++) {
            const struct fake_catalog_row *row = &fake->rows[i];
            if (!bytes_equal_text(dataset_id, row->dataset))
                continue;
            later = later || row->field_id > id;
            if (row->field_id != id)
                continue;
            enum err err =
                on_column(ctx, &(struct catalog_column){bytes_from_text(row->path),
                                                        bytes_from_text(row->name),
                                                        bytes_from_text(row->type), row->field_id});
            if (err != ERR_OK)
                return err;
        }
        if (!later)
            break;
    }
    return ERR_OK;
}

static bool is_known(const struct fake_catalog *fake, struct bytes dataset, struct bytes path)
{
    for (size_t k = 0; k < fake->count; k++)
        if (bytes_equal_text(dataset, fake->rows[k].dataset) &&
            bytes_equal_text(path, fake->rows[k].path))
            return true;
    return false;
}

static bool is_same(const struct fake_catalog_row *row, const struct catalog_column *column)
{
    return bytes_equal_text(column->field_path, row->path) &&
           bytes_equal_text(column->column_name, row->name) &&
           bytes_equal_text(column->column_type, row->type) && column->field_id == row->field_id;
}

static enum err fake_pin(struct catalog *catalog, struct bytes dataset_id,
                         const struct catalog_column *columns, size_t count, struct diag *diag)
{
    struct fake_catalog *fake = (struct fake_catalog *)catalog;
    fake->pin_calls++;
    if (fake->before_pin) {
        void (*before)(struct fake_catalog *) = fake->before_pin;
        fake->before_pin = NULL;
        before(fake);
    }
    if (fake->away)
        return diag_set(diag, ERR_BUSY, "the catalog is away");
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < fake->count; k++)
            if (bytes_equal_text(dataset_id, fake->rows[k].dataset) &&
                !is_same(&fake->rows[k], &columns[i]) &&
                (bytes_equal_text(columns[i].field_path, fake->rows[k].path) ||
                 bytes_equal_text(columns[i].column_name, fake->rows[k].name) ||
                 columns[i].field_id == fake->rows[k].field_id))
                return ERR_CONFLICT;
    for (size_t i = 0; i < count; i++)
        if (!is_known(fake, dataset_id, columns[i].field_path))
            row_put(fake, dataset_id, columns[i].field_path, columns[i].column_name,
                    columns[i].column_type, columns[i].field_id);
    return ERR_OK;
}

static enum err fake_pin_many(struct catalog *catalog, const struct catalog_pin *pins, size_t count,
                              struct diag *diag)
{
    struct fake_catalog *fake = (struct fake_catalog *)catalog;
    fake->pin_many_calls++;
    if (fake->away || fake->pin_many_fails)
        return diag_set(diag, ERR_BUSY, "the catalog is away");
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < pins[i].count; k++) {
            const struct catalog_column *column = &pins[i].columns[k];
            if (!is_known(fake, pins[i].dataset_id, column->field_path))
                row_put(fake, pins[i].dataset_id, column->field_path, column->column_name,
                        column->column_type, column->field_id);
        }
    return ERR_OK;
}

static void fake_close(struct catalog *catalog)
{
    (void)catalog;
}

void fake_catalog_init(struct fake_catalog *fake)
{
    static const struct catalog_ops ops = {
        .load = fake_load, .pin = fake_pin, .pin_many = fake_pin_many, .close = fake_close};
    *fake = (struct fake_catalog){.catalog = {&ops}};
}

void fake_catalog_fini(struct fake_catalog *fake)
{
    for (size_t i = 0; i < fake->count; i++) {
        free(fake->rows[i].dataset);
        free(fake->rows[i].path);
        free(fake->rows[i].name);
        free(fake->rows[i].type);
    }
    free(fake->rows);
}

static const struct fake_catalog_row *row_find(const struct fake_catalog *fake, const char *path)
{
    for (size_t i = 0; i < fake->count; i++)
        if (strcmp(fake->rows[i].path, path) == 0)
            return &fake->rows[i];
    return NULL;
}

const char *fake_catalog_type(const struct fake_catalog *fake, const char *path)
{
    const struct fake_catalog_row *row = row_find(fake, path);
    return row ? row->type : NULL;
}

const char *fake_catalog_name(const struct fake_catalog *fake, const char *path)
{
    const struct fake_catalog_row *row = row_find(fake, path);
    return row ? row->name : NULL;
}

int fake_catalog_field_id(const struct fake_catalog *fake, const char *path)
{
    const struct fake_catalog_row *row = row_find(fake, path);
    return row ? row->field_id : 0;
}
