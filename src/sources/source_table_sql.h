#pragma once
/* What the parts of source_table share: values from and for the database. Any thread. */
#include "base/buf.h"
#include "database/database_date.h"
#include "sources/source_table.h"

#define SOURCE_TABLE_JSON_BYTES_MAX (4 * MIB) /* a config or a schema; larger is not read */

/* NULL is NULL. */
static inline struct database_value source_table_text(const char *text)
{
    return text ? database_text(bytes_from_text(text)) : database_null();
}

/* buffer lives as long as the value. 0 is NULL. */
static inline struct database_value source_table_date(int64_t us, char buffer[DATABASE_DATE_BYTES])
{
    if (us == 0)
        return database_null();
    database_date_format(us, buffer);
    return database_text(bytes_from_text(buffer));
}

/* ERR_CORRUPT when the value is no JSON object. */
enum err source_table_read_object(const struct database_value *value,
                                  json_t **ret_object) ERR_MUST_USE;
/* A text in UTF-8 without NULs. */
bool source_table_is_text(const struct database_value *value);

/* on_row of a query for one integer; NULL leaves *ctx (an int64_t) as it is. */
enum err source_table_on_integer(void *ctx, const struct database_value *columns, size_t count);

/* Brings data_source_types up to date with the build's connectors. */
enum err source_table_prepare_types(struct database *database, struct diag *diag) ERR_MUST_USE;
