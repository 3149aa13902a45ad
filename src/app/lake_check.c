/* `ingestor lake verify`: reads every file again, and holds the journal ranges against each other.
 */
#include "app/lake_parts.h"
#include "app/terminal.h"
#include "lake/lake_hours.h"
#include "lake/lake_ranges.h"
#include "lake/lake_read.h"
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

static enum err print_summary(const struct verify *verify)
{
    if (!verify->view->command->json) {
        printf("%" PRIu64 " files, %" PRIu64 " rows, %" PRIu64 " bytes read; %" PRIu64
               " fault%s; %" PRIu64 " files without a journal range; %" PRIu64
               " datasets that began earlier\n",
               verify->files, verify->rows, verify->size_bytes, verify->faults,
               verify->faults == 1 ? "" : "s", verify->ranges.without, verify->ranges.later);
        return ERR_OK;
    }
    json_t *answer = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "files", (json_int_t)verify->files, "rows",
        (json_int_t)verify->rows, "bytes", (json_int_t)verify->size_bytes, "without_range",
        (json_int_t)verify->ranges.without, "began_earlier", (json_int_t)verify->ranges.later,
        "faults", (json_int_t)verify->faults, "found", verify->list);
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
    enum err err = verify.list ? lake_view_walk(view, on_file, &verify) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = lake_ranges_check(&verify.ranges, view->command->target == NULL, on_fault, &verify);
    if (err == ERR_OK)
        err = print_summary(&verify);
    json_decref(verify.list);
    lake_ranges_fini(&verify.ranges);
    buf_fini(&verify.bytes);
    return err;
}
