/*
 * `ingestor lake verify`: reads every file again, and holds the journal ranges against each other,
 * and against the journal where it is there. That is read first: what it calls uploaded then is in
 * the lake when that is walked, whatever comes meanwhile.
 */
#include "app/lake_parts.h"
#include "app/terminal.h"
#include "journal/survey.h"
#include "lake/lake_hours.h"
#include "lake/lake_ranges.h"
#include "lake/lake_read.h"
#include "lake/object_key.h"
#include "lake/parquet_check.h"

#include <inttypes.h>

#define FAULTS_MAX    1000 /* kept for JSON; all are counted */
#define FOOTER_MEMORY ((size_t)256 * 1024 * 1024)

struct verify {
    struct lake_view *view;
    struct lake_ranges ranges;
    struct buf bytes;
    uint64_t files;
    uint64_t rows;
    uint64_t size_bytes;
    uint64_t faults;
    json_t *list;
    struct journal_survey survey;
    char unsurveyed[256]; /* why the journal was not looked at; empty: it was */
    uint64_t newest;      /* datasets whose newest cut was looked for */
    uint64_t gone;        /* datasets of the journal without any file */
};

static enum err on_fault(void *ctx, const char *key, const char *what)
{
    struct verify *verify = ctx;
    verify->faults++;
    verify->view->damaged = true;
    if (verify->view->command->json) {
        json_t *fault = json_pack("{s:o, s:o}", "file", lake_json_text(bytes_from_text(key)),
                                  "what", lake_json_text(bytes_from_text(what)));
        if (json_array_size(verify->list) >= FAULTS_MAX)
            json_decref(fault);
        else if (!fault || json_array_append_new(verify->list, fault) != 0)
            return ERR_NO_MEMORY;
        return ERR_OK;
    }
    terminal_text(stdout, key);
    fputs(": ", stdout);
    terminal_text(stdout, what);
    fputc('\n', stdout);
    return ERR_OK;
}

/* The file's bytes are there: where they belong, then all of them. */
static enum err check_bytes(struct verify *verify, const struct lake_file *file, struct diag *diag)
{
    struct arena arena;
    struct parquet_metadata metadata;
    arena_init(&arena, FOOTER_MEMORY);
    enum err err = parquet_metadata_read(&metadata, &arena, buf_bytes(&verify->bytes), diag);
    if (err == ERR_OK) {
        verify->rows += metadata.row_count;
        if (!verify->view->is_local)
            err = lake_ranges_add(&verify->ranges, file->key, &metadata, diag);
    }
    if (err == ERR_OK)
        err = parquet_check(buf_bytes(&verify->bytes), LAKE_READ_BYTES_MAX, diag);
    if (err == ERR_OK && !verify->view->is_local)
        err = lake_hours_check(file->key, buf_bytes(&verify->bytes), LAKE_READ_BYTES_MAX, diag);
    arena_fini(&arena);
    return err;
}

static enum err on_file(void *ctx, const struct lake_file *file)
{
    struct verify *verify = ctx;
    struct diag diag = {0};
    verify->files++;
    verify->size_bytes += file->size_bytes;
    enum err err = lake_read_file(verify->view->store, file, &verify->bytes, &diag);
    if (err == ERR_OK)
        err = check_bytes(verify, file, &diag);
    if (lake_is_file_fault(err))
        return on_fault(verify, file->key, diag.text[0] ? diag.text : err_text(err));
    return lake_view_file_read(verify->view, file, err, &diag);
}

/* --- the newest cuts ----------------------------------------------------------------------- */

/* Of the whole lake: dead letters lie in a folder of their own. */
static void survey_read(struct verify *verify)
{
    struct diag diag = {0};
    enum err err = ERR_OK;
    if (verify->view->command->target)
        snprintf(verify->unsurveyed, sizeof(verify->unsurveyed), "not of the whole lake");
    else
        err = journal_survey_read(&fs_posix, verify->view->journal_dir, &verify->survey, &diag);
    if (err != ERR_OK)
        snprintf(verify->unsurveyed, sizeof(verify->unsurveyed), "%.250s",
                 diag.text[0] ? diag.text : err_text(err));
}

static enum err newest_check_one(struct verify *verify,
                                 const struct journal_survey_dataset *dataset)
{
    char what[160];
    struct buf folder;
    uint64_t end = lake_ranges_end(&verify->ranges, dataset->id, verify->survey.uuid);
    if (dataset->is_on_its_way)
        return ERR_OK;
    verify->newest++;
    verify->gone += end == 0;
    if (end == 0 || end >= dataset->filed_through)
        return ERR_OK;
    snprintf(what, sizeof(what),
             "missing: its newest cut; it landed through block %" PRIu64
             " of the journal, and the lake ends at %" PRIu64,
             dataset->filed_through, end);
    buf_init(&folder, LAKE_KEY_BYTES_MAX);
    buf_text(&folder, "bronze/ingestion_id=");
    (void)!object_key_encode_id(&folder, bytes_from_text(dataset->id));
    buf_byte(&folder, '/');
    const char *text = buf_cstr(&folder);
    enum err err = text ? on_fault(verify, text, what) : ERR_NO_MEMORY;
    buf_fini(&folder);
    return err;
}

static enum err newest_check(struct verify *verify)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < verify->survey.count && err == ERR_OK; i++)
        err = newest_check_one(verify, &verify->survey.datasets[i]);
    return err;
}

static void newest_print(const struct verify *verify)
{
    if (verify->unsurveyed[0] && verify->view->command->target)
        return;
    if (!verify->unsurveyed[0]) {
        printf("newest cuts of %" PRIu64 " datasets held against the journal; %" PRIu64
               " of them have no file left\n",
               verify->newest, verify->gone);
        return;
    }
    fputs("newest cuts not held against the journal: ", stdout);
    terminal_text(stdout, verify->unsurveyed);
    putchar('\n');
}

/* NULL where the journal was not looked at. */
static json_t *count_json(const struct verify *verify, uint64_t count)
{
    return verify->unsurveyed[0] ? json_null() : json_integer((json_int_t)count);
}

static enum err print_summary(const struct verify *verify)
{
    if (!verify->view->command->json) {
        printf("%" PRIu64 " files, %" PRIu64 " rows, %" PRIu64 " bytes read; %" PRIu64
               " fault%s; %" PRIu64 " files without a journal range; %" PRIu64
               " datasets that began earlier\n",
               verify->files, verify->rows, verify->size_bytes, verify->faults,
               verify->faults == 1 ? "" : "s", verify->ranges.without, verify->ranges.later);
        newest_print(verify);
        return ERR_OK;
    }
    json_t *answer = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:O}", "files", (json_int_t)verify->files, "rows",
        (json_int_t)verify->rows, "bytes", (json_int_t)verify->size_bytes, "without_range",
        (json_int_t)verify->ranges.without, "began_earlier", (json_int_t)verify->ranges.later,
        "newest_checked", count_json(verify, verify->newest), "gone",
        count_json(verify, verify->gone), "faults", (json_int_t)verify->faults, "found",
        verify->list);
    enum err err = answer ? ERR_OK : ERR_NO_MEMORY;
    if (answer && (json_dumpf(answer, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF))
        err = ERR_IO;
    json_decref(answer);
    return err;
}

enum err lake_check(struct lake_view *view)
{
    struct verify verify = {.view = view, .list = json_array()};
    lake_ranges_init(&verify.ranges);
    buf_init(&verify.bytes, LAKE_FILE_BYTES_MAX + 1);
    survey_read(&verify);
    enum err err = verify.list ? lake_view_walk(view, on_file, &verify) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = lake_ranges_check(&verify.ranges, view->command->target == NULL, on_fault, &verify);
    if (err == ERR_OK)
        err = newest_check(&verify);
    if (err == ERR_OK)
        err = print_summary(&verify);
    journal_survey_fini(&verify.survey);
    json_decref(verify.list);
    lake_ranges_fini(&verify.ranges);
    buf_fini(&verify.bytes);
    return err;
}
