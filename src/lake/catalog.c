#include "lake/catalog.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "database/database.h"
#include "database/migrations.h"
#include "os/clock.h"

#define PINNED_AT_BYTES 27 /* "YYYY-MM-DD HH:MM:SS.ffffff" and a NUL */

/* A worker that waits for a lock does nothing else: it waits briefly, and after a failure it asks
 * again only after a while, whichever dataset it is for. */
#define PATIENCE_MS 250
#define AWAY_NS     (2 * NS_PER_S)

struct sql_catalog {
    struct catalog base;
    char *url;
    struct mutex mutex; /* guards the rest; the database has its own */
    struct database *database;
    int64_t away_until_ns;
    enum err away_err;
    struct diag away_diag;
};

/* What the last failure was, as long as the database is not asked again. */
static enum err away(struct sql_catalog *catalog, struct diag *diag)
{
    enum err err = ERR_OK;
    mutex_lock(&catalog->mutex);
    if (clock_monotonic_ns(&clock_system) < catalog->away_until_ns) {
        err = catalog->away_err;
        (void)diag_set(diag, err, "%s", catalog->away_diag.text);
    }
    mutex_unlock(&catalog->mutex);
    return err;
}

static enum err remember(struct sql_catalog *catalog, enum err err, const struct diag *why,
                         struct diag *diag)
{
    if (err == ERR_OK)
        return err;
    mutex_lock(&catalog->mutex);
    if (err_class(err) == ERR_CLASS_RETRY && err != ERR_NO_MEMORY) {
        catalog->away_until_ns = clock_monotonic_ns(&clock_system) + AWAY_NS;
        catalog->away_err = err;
        catalog->away_diag = *why;
    }
    mutex_unlock(&catalog->mutex);
    return diag_set(diag, err, "%s", why->text[0] ? why->text : err_text(err));
}

/* The lock is held while opening, so that two callers do not open twice. */
static enum err get_database(struct sql_catalog *catalog, struct database **ret_database,
                             struct diag *diag)
{
    enum err err = ERR_OK;
    mutex_lock(&catalog->mutex);
    if (!catalog->database) {
        struct database *database;
        err = database_open(catalog->url, &database, diag);
        if (!err) {
            err = migrations_apply(database, &migrations_sources, diag);
            if (err)
                database_close(database);
            else
                catalog->database = database;
            if (!err)
                database_set_patience(database, PATIENCE_MS);
        }
    }
    *ret_database = catalog->database;
    mutex_unlock(&catalog->mutex);
    return err;
}

struct load {
    enum err (*on_column)(void *ctx, const struct catalog_column *column);
    void *ctx;
    struct diag *diag;
};

static enum err on_load_row(void *ctx, const struct database_value *columns, size_t count)
{
    const struct load *load = ctx;
    if (count != 4 || columns[0].kind != DATABASE_TEXT || columns[1].kind != DATABASE_TEXT ||
        columns[2].kind != DATABASE_TEXT || columns[3].kind != DATABASE_INTEGER ||
        columns[3].integer < 1 || columns[3].integer > INT32_MAX)
        return diag_set(load->diag, ERR_CORRUPT,
                        "the table dataset_columns holds a row that is no column");
    struct catalog_column column = {
        .field_path = columns[0].bytes,
        .column_name = columns[1].bytes,
        .column_type = columns[2].bytes,
        .field_id = (int32_t)columns[3].integer,
    };
    return load->on_column(load->ctx, &column);
}

static enum err sql_catalog_load(struct catalog *base, struct bytes dataset_id,
                                 enum err (*on_column)(void *ctx,
                                                       const struct catalog_column *column),
                                 void *ctx, struct diag *diag)
{
    struct sql_catalog *catalog = (struct sql_catalog *)base;
    struct diag why = {0};
    struct load load = {on_column, ctx, &why};
    struct database_value id = database_text(dataset_id);
    struct database *database;
    enum err err = away(catalog, diag);
    if (err)
        return err;
    err = get_database(catalog, &database, &why);
    if (!err)
        err = database_query(database,
                             "SELECT field_path, column_name, column_type, field_id "
                             "FROM dataset_columns WHERE ingestion_id = $1 ORDER BY field_id",
                             &id, 1, on_load_row, &load, NULL, &why);
    return remember(catalog, err, &why, diag);
}

struct pins {
    const struct catalog_pin *pins;
    size_t count;
    char pinned_at[PINNED_AT_BYTES];
};

/* What the table says of one field_path, against what we want it to say. */
struct known {
    const struct catalog_column *wanted;
    bool is_known;
    bool is_same;
};

static enum err on_known_row(void *ctx, const struct database_value *columns, size_t count)
{
    struct known *known = ctx;
    known->is_known = true;
    known->is_same = count == 3 && columns[2].kind == DATABASE_INTEGER &&
                     bytes_equal(columns[0].bytes, known->wanted->column_name) &&
                     bytes_equal(columns[1].bytes, known->wanted->column_type) &&
                     columns[2].integer == known->wanted->field_id;
    return ERR_OK;
}

static enum err column_look(struct database_transaction *transaction, struct bytes dataset_id,
                            struct known *known, struct diag *diag)
{
    const struct database_value values[2] = {database_text(dataset_id),
                                             database_text(known->wanted->field_path)};
    return database_transaction_query(transaction,
                                      "SELECT column_name, column_type, field_id "
                                      "FROM dataset_columns "
                                      "WHERE ingestion_id = $1 AND field_path = $2",
                                      values, 2, on_known_row, known, NULL, diag);
}

static enum err pin_column(struct database_transaction *transaction, struct bytes dataset_id,
                           const struct catalog_column *column, const char *pinned_at,
                           struct diag *diag)
{
    struct known known = {.wanted = column};
    const struct database_value values[6] = {
        database_text(dataset_id),          database_text(column->field_path),
        database_text(column->column_name), database_text(column->column_type),
        database_integer(column->field_id), database_text(bytes_from_text(pinned_at)),
    };
    enum err err = column_look(transaction, dataset_id, &known, diag);
    if (err || (known.is_known && known.is_same))
        return err;
    if (known.is_known)
        return diag_set(diag, ERR_CONFLICT, "the column of %.*s is pinned already, otherwise",
                        column->field_path.size > 200 ? 200 : (int)column->field_path.size,
                        (const char *)column->field_path.data);
    return database_transaction_query(transaction,
                                      "INSERT INTO dataset_columns (ingestion_id, field_path, "
                                      "column_name, column_type, field_id, pinned_at) "
                                      "VALUES ($1, $2, $3, $4, $5, $6)",
                                      values, 6, NULL, NULL, NULL, diag);
}

static enum err pin_all(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    const struct pins *pins = ctx;
    enum err err = ERR_OK;
    for (size_t i = 0; i < pins->count && err == ERR_OK; i++)
        for (size_t k = 0; k < pins->pins[i].count && err == ERR_OK; k++)
            err = pin_column(transaction, pins->pins[i].dataset_id, &pins->pins[i].columns[k],
                             pins->pinned_at, diag);
    return err;
}

/* The database's form of dates: a space for T, no offset. */
static void format_pinned_at(char ret_text[PINNED_AT_BYTES])
{
    char text[TIMESTAMP_TEXT_BYTES];
    size_t size = timestamp_format(clock_realtime_us(&clock_system), text) - 6;
    memcpy(ret_text, text, size);
    ret_text[size] = 0;
    ret_text[10] = ' ';
}

static enum err pin_in_one(struct sql_catalog *catalog, const struct catalog_pin *pins,
                           size_t count, struct diag *diag)
{
    struct pins all = {.pins = pins, .count = count};
    struct diag why = {0};
    struct database *database;
    enum err err = away(catalog, diag);
    if (err)
        return err;
    err = get_database(catalog, &database, &why);
    if (!err) {
        format_pinned_at(all.pinned_at);
        err = database_transact(database, pin_all, &all, &why);
    }
    return remember(catalog, err, &why, diag);
}

static enum err sql_catalog_pin(struct catalog *base, struct bytes dataset_id,
                                const struct catalog_column *columns, size_t count,
                                struct diag *diag)
{
    const struct catalog_pin pin = {dataset_id, columns, count};
    return pin_in_one((struct sql_catalog *)base, &pin, 1, diag);
}

static enum err sql_catalog_pin_many(struct catalog *base, const struct catalog_pin *pins,
                                     size_t count, struct diag *diag)
{
    return pin_in_one((struct sql_catalog *)base, pins, count, diag);
}

static void sql_catalog_close(struct catalog *base)
{
    struct sql_catalog *catalog = (struct sql_catalog *)base;
    database_close(catalog->database);
    mutex_fini(&catalog->mutex);
    mem_free(catalog->url);
    mem_free(catalog);
}

static enum err sql_catalog_probe(struct catalog *base, struct diag *diag)
{
    struct database *database;
    enum err err = get_database((struct sql_catalog *)base, &database, diag);
    return err == ERR_OK ? database_probe(database, diag) : err;
}

static const struct catalog_ops sql_catalog_ops = {
    .load = sql_catalog_load,
    .pin = sql_catalog_pin,
    .pin_many = sql_catalog_pin_many,
    .close = sql_catalog_close,
    .probe = sql_catalog_probe,
};

enum err catalog_open(const char *database_url, struct catalog **ret_catalog, struct diag *diag)
{
    enum err err = database_url_check(database_url, diag);
    if (err)
        return err;
    struct sql_catalog *catalog = mem_zalloc(1, sizeof(*catalog));
    if (!catalog)
        return ERR_NO_MEMORY;
    catalog->url = mem_strdup(database_url);
    if (!catalog->url) {
        mem_free(catalog);
        return ERR_NO_MEMORY;
    }
    mutex_init(&catalog->mutex);
    catalog->base.ops = &sql_catalog_ops;
    *ret_catalog = &catalog->base;
    return ERR_OK;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog)
        catalog->ops->close(catalog);
}
