#include "database/database_date.h"

#include "base/limits.h"
#include "codec/timestamp.h"

#include <stdio.h>

#define DATE_MIN_US (-62135596800LL * US_PER_S)     /* 0001-01-01 00:00:00 */
#define DATE_MAX_US (253402300800LL * US_PER_S - 1) /* the last of 9999 */

void database_date_format(int64_t us, char ret_text[DATABASE_DATE_BYTES])
{
    char text[TIMESTAMP_TEXT_BYTES];
    us = us < DATE_MIN_US ? DATE_MIN_US : us > DATE_MAX_US ? DATE_MAX_US : us;
    (void)timestamp_format(us, text);
    text[10] = ' ';
    /* Always six digits: texts are compared as texts. */
    if (text[19] != '.')
        memcpy(text + 19, ".000000", sizeof(".000000"));
    memcpy(ret_text, text, DATABASE_DATE_BYTES - 1);
    ret_text[DATABASE_DATE_BYTES - 1] = 0;
}

bool database_date_parse(const struct database_value *value, int64_t *ret_us)
{
    *ret_us = 0;
    if (value->kind == DATABASE_NULL)
        return true;
    /* Digits alone would be a Unix time to timestamp_parse: no date of anybody's here. */
    return value->kind == DATABASE_TEXT && value->bytes.size >= 10 && value->bytes.data[4] == '-' &&
           timestamp_parse(value->bytes, ret_us);
}
