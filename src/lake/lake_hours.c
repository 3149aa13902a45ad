#include "lake/lake_hours.h"

#include "base/limits.h"
#include "codec/timestamp.h"
#include "lake/parquet_reader.h"

#include <stdio.h>

#define HOUR_US (3600 * US_PER_S)

/* The columns by which a row may have been placed; of them a file has one or two. */
static const char *const time_names[] = {"_event_time", "_ingested_at", "received_at"};
#define TIMES_MAX (sizeof(time_names) / sizeof(time_names[0]))

struct hours {
    struct parquet_reader *reader;
    int64_t begin_us; /* of the folder's hour */
    struct parquet_column_data times[TIMES_MAX];
    size_t columns[TIMES_MAX];
    size_t time_count;
    uint64_t row; /* of the file, where the row group begins */
};

/* "…/date=2026-01-31/hour=07/…" */
static bool folder_hour(const char *key, int64_t *ret_begin_us)
{
    char text[32];
    const char *date = strstr(key, "/date=");
    if (!date || strlen(date) < sizeof("/date=2026-01-31/hour=07/") - 1 ||
        memcmp(date + 16, "/hour=", 6) != 0 || date[24] != '/')
        return false;
    int size = snprintf(text, sizeof(text), "%.10sT%.2s:00:00Z", date + 6, date + 22);
    return timestamp_parse(bytes_from(text, (size_t)size), ret_begin_us);
}

static bool is_named(const struct parquet_metadata *metadata, size_t column, const char *name)
{
    const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[column]];
    return element->parent == 0 && element->is_known && element->kind == PARQUET_TIMESTAMP_US &&
           element->repetition_level_max == 0 && bytes_equal_text(element->name, name);
}

static void columns_find(struct hours *hours)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(hours->reader);
    for (size_t i = 0; i < metadata->column_count; i++) {
        for (size_t k = 0; k < TIMES_MAX && hours->time_count < TIMES_MAX; k++) {
            if (is_named(metadata, i, time_names[k]))
                hours->columns[hours->time_count++] = i;
        }
    }
}

static bool is_within(const struct hours *hours, const struct parquet_column_data *times,
                      size_t value)
{
    int64_t instant_us = (int64_t)load_u64(times->values.data + value * 8);
    return instant_us >= hours->begin_us &&
           (uint64_t)instant_us - (uint64_t)hours->begin_us < (uint64_t)HOUR_US;
}

static enum err group_check(struct hours *hours, size_t group, struct diag *diag)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(hours->reader);
    uint64_t rows = metadata->row_groups[group].row_count;
    for (size_t i = 0; i < hours->time_count; i++) {
        enum err err =
            parquet_reader_read(hours->reader, group, hours->columns[i], &hours->times[i], diag);
        if (err != ERR_OK)
            return err;
        if (hours->times[i].value_count != rows)
            return diag_set(diag, ERR_CORRUPT, "a row has no time");
    }
    for (uint64_t row = 0; row < rows; row++) {
        bool found = false;
        for (size_t i = 0; i < hours->time_count && !found; i++)
            found = is_within(hours, &hours->times[i], (size_t)row);
        if (!found)
            return diag_set(diag, ERR_CORRUPT, "row %llu is of another hour than its folder",
                            (unsigned long long)hours->row + row);
    }
    hours->row += rows;
    return ERR_OK;
}

enum err lake_hours_check(const char *key, struct bytes file, size_t memory_max, struct diag *diag)
{
    struct hours hours = {0};
    if (!folder_hour(key, &hours.begin_us))
        return ERR_OK;
    enum err err = parquet_reader_new(file, memory_max, &hours.reader, diag);
    if (err != ERR_OK)
        return err;
    columns_find(&hours);
    for (size_t i = 0; i < hours.time_count; i++)
        parquet_column_data_init(&hours.times[i], memory_max);
    size_t groups = parquet_reader_metadata(hours.reader)->row_group_count;
    for (size_t i = 0; i < groups && hours.time_count > 0 && err == ERR_OK; i++)
        err = group_check(&hours, i, diag);
    for (size_t i = 0; i < hours.time_count; i++)
        parquet_column_data_fini(&hours.times[i]);
    parquet_reader_free(hours.reader);
    return err;
}
