#pragma once
/* Dates in the databases, as SQLAlchemy writes them on SQLite: "YYYY-MM-DD HH:MM:SS.ffffff", UTC.
 * Pure; any thread. PostgreSQL's timestamps come and go as the same texts. */
#include "database/database.h"

#define DATABASE_DATE_BYTES 27

/* us: Unix time. What lies outside of the years 1 to 9999 becomes the nearest date inside. */
void database_date_format(int64_t us, char ret_text[DATABASE_DATE_BYTES]);
/* With or without fraction. NULL is the date 0. False: no date. */
bool database_date_parse(const struct database_value *value, int64_t *ret_us);
