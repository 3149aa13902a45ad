#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "sources/source_table_sql.h"

#include <math.h>
#include <stdlib.h>

#define ROWS_PER_INSERT   9
#define VALUES_PER_ROW    7
#define OLD_ROWS_MIN      10000 /* deleted at a time: a long neglected table holds up nobody */
#define OLD_ROWS_PER_ROW  4
#define KNOWN_SOURCES_MAX 1000000

struct id_list {
    int64_t *ids; /* ascending */
    size_t count;
    size_t capacity;
};

static enum err on_id(void *ctx, const struct database_value *columns, size_t count)
{
    struct id_list *list = ctx;
    if (count != 1 || columns[0].kind != DATABASE_INTEGER)
        return ERR_OK;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        if (capacity > KNOWN_SOURCES_MAX)
            return ERR_TOO_MANY;
        int64_t *ids = mem_realloc(list->ids, capacity * sizeof(*ids));
        if (!ids)
            return ERR_NO_MEMORY;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = columns[0].integer;
    return ERR_OK;
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t *left = a;
    const int64_t *right = b;
    return *left < *right ? -1 : *left > *right;
}

static bool is_known(const struct id_list *list, int64_t id)
{
    return list->count > 0 &&
           bsearch(&id, list->ids, list->count, sizeof(*list->ids), compare_ids) != NULL;
}

/* One INSERT being gathered. */
struct insert {
    struct database_value values[ROWS_PER_INSERT * VALUES_PER_ROW];
    char dates[ROWS_PER_INSERT][2][DATABASE_DATE_BYTES];
    size_t row_count;
};

_Static_assert(ROWS_PER_INSERT *VALUES_PER_ROW <= DATABASE_PARAMETERS_MAX, "too many values");

/* The Python service's columns are 32 bits wide on PostgreSQL. */
static struct database_value count_value(int64_t count)
{
    return database_integer(count < 0 ? 0 : count > INT32_MAX ? INT32_MAX : count);
}

static void insert_add(struct insert *insert, const struct source_metrics_row *row)
{
    struct database_value *value = insert->values + insert->row_count * VALUES_PER_ROW;
    char(*dates)[DATABASE_DATE_BYTES] = insert->dates[insert->row_count++];
    double latency_ms = row->processing_latency_ms;
    value[0] = database_integer(row->data_source_id);
    value[1] = count_value(row->messages_received);
    value[2] = count_value(row->messages_processed);
    value[3] = source_table_date(row->last_processed_us, dates[0]);
    value[4] = isfinite(latency_ms) ? database_number(latency_ms) : database_null();
    value[5] = count_value(row->error_count);
    database_date_format(row->recorded_at_us, dates[1]);
    value[6] = database_text(bytes_from_text(dates[1]));
}

static enum err insert_flush(struct database_transaction *transaction, struct insert *insert,
                             struct diag *diag)
{
    struct buf sql;
    if (insert->row_count == 0)
        return ERR_OK;
    buf_init(&sql, 4 * KIB);
    buf_text(&sql, "INSERT INTO data_source_metrics (data_source_id, messages_received, "
                   "messages_processed, last_processed, processing_latency_ms, error_count, "
                   "recorded_at) VALUES ");
    for (size_t row = 0; row < insert->row_count; row++) {
        for (size_t i = 0; i < VALUES_PER_ROW; i++)
            buf_printf(&sql, "%s$%zu", i ? ", " : row ? ", (" : "(", row * VALUES_PER_ROW + i + 1);
        buf_byte(&sql, ')');
    }
    const char *text = sql.err ? NULL : buf_cstr(&sql);
    enum err err = text ? database_transaction_query(transaction, text, insert->values,
                                                     insert->row_count * VALUES_PER_ROW, NULL, NULL,
                                                     NULL, diag)
                        : ERR_NO_MEMORY;
    buf_fini(&sql);
    insert->row_count = 0;
    return err;
}

struct addition {
    const struct source_metrics_row *rows;
    size_t count;
    int64_t keep_from_us;
    struct id_list known;
};

static enum err insert_known(struct database_transaction *transaction,
                             const struct addition *addition, struct diag *diag)
{
    struct insert insert = {.row_count = 0};
    enum err err = ERR_OK;
    for (size_t i = 0; i < addition->count && !err; i++) {
        if (!is_known(&addition->known, addition->rows[i].data_source_id))
            continue;
        insert_add(&insert, &addition->rows[i]);
        if (insert.row_count == ROWS_PER_INSERT)
            err = insert_flush(transaction, &insert, diag);
    }
    return err ? err : insert_flush(transaction, &insert, diag);
}

static enum err delete_old(struct database_transaction *transaction,
                           const struct addition *addition, struct diag *diag)
{
    char date[DATABASE_DATE_BYTES];
    database_date_format(addition->keep_from_us, date);
    struct database_value values[2] = {
        database_text(bytes_from_text(date)),
        database_integer((int64_t)(OLD_ROWS_MIN + OLD_ROWS_PER_ROW * addition->count)),
    };
    return database_transaction_query(
        transaction,
        "DELETE FROM data_source_metrics WHERE id IN (SELECT id FROM data_source_metrics "
        "WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2)",
        values, 2, NULL, NULL, NULL, diag);
}

static enum err add_all(struct database_transaction *transaction, void *ctx, struct diag *diag)
{
    struct addition *addition = ctx;
    enum err err =
        database_transaction_query(transaction, "SELECT id FROM data_sources ORDER BY id", NULL, 0,
                                   on_id, &addition->known, NULL, diag);
    if (!err)
        err = insert_known(transaction, addition, diag);
    return err ? err : delete_old(transaction, addition, diag);
}

enum err source_table_add_metrics(struct database *database, const struct source_metrics_row *rows,
                                  size_t count, int64_t keep_from_us, struct diag *diag)
{
    struct addition addition = {.rows = rows, .count = count, .keep_from_us = keep_from_us};
    enum err err = database_transact(database, add_all, &addition, diag);
    mem_free(addition.known.ids);
    return err;
}

static json_t *number_of(const struct database_value *value)
{
    if (value->kind == DATABASE_INTEGER)
        return json_integer(value->integer);
    return value->kind == DATABASE_NUMBER && isfinite(value->number) ? json_real(value->number)
                                                                     : json_null();
}

static json_t *date_of(const struct database_value *value)
{
    int64_t us;
    char text[TIMESTAMP_TEXT_BYTES];
    if (value->kind == DATABASE_NULL || !database_date_parse(value, &us))
        return json_null();
    size_t size = timestamp_format(us, text);
    return json_stringn(text, size);
}

static enum err on_metrics_row(void *ctx, const struct database_value *columns, size_t count)
{
    json_t *rows = ctx;
    if (count != 8)
        return ERR_BUG;
    json_t *row = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                            number_of(&columns[0]), "data_source_id", number_of(&columns[1]),
                            "messages_received", number_of(&columns[2]), "messages_processed",
                            number_of(&columns[3]), "last_processed", date_of(&columns[4]),
                            "processing_latency_ms", number_of(&columns[5]), "error_count",
                            number_of(&columns[6]), "recorded_at", date_of(&columns[7]));
    return row && json_array_append_new(rows, row) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err source_table_metrics(struct database *database, int64_t data_source_id, int64_t since_us,
                              uint32_t limit, json_t **ret_rows, struct diag *diag)
{
    char date[DATABASE_DATE_BYTES];
    database_date_format(since_us, date);
    struct database_value values[3] = {database_integer(data_source_id),
                                       database_text(bytes_from_text(date)),
                                       database_integer(limit)};
    json_t *rows = json_array();
    if (!rows)
        return ERR_NO_MEMORY;
    enum err err = database_query(
        database,
        "SELECT id, data_source_id, messages_received, messages_processed, last_processed, "
        "processing_latency_ms, error_count, recorded_at FROM data_source_metrics "
        "WHERE data_source_id = $1 AND recorded_at >= $2 ORDER BY recorded_at DESC, id DESC "
        "LIMIT $3",
        values, 3, on_metrics_row, rows, NULL, diag);
    if (err) {
        json_decref(rows);
        return err;
    }
    *ret_rows = rows;
    return ERR_OK;
}
