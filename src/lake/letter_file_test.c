/* Dead letters read back: what was written, and from damaged files and failing memory. The walk
 * through a store: order, filters, pages. */
#include "lake/letter_file.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "lake/letter_search.h"
#include "lake/parquet_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define HOUR_US  (3600 * US_PER_S)
#define BEGIN_US (1767225600 * US_PER_S) /* 2026-01-01T00:00:00Z */
#define TEXTS    6
#define ROWS_MAX 40

static const struct parquet_node nodes[] = {
    {"ingestion_id", PARQUET_STRING, 1, 0}, {"source_type", PARQUET_STRING, 2, 0},
    {"topic", PARQUET_STRING, 3, 0},        {"reason", PARQUET_STRING, 4, 0},
    {"detail", PARQUET_STRING, 5, 0},       {"received_at", PARQUET_TIMESTAMP_US, 6, 0},
    {"payload", PARQUET_BINARY, 7, 0},      {"metadata", PARQUET_STRING, 8, 0},
};
#define NODES (sizeof(nodes) / sizeof(nodes[0]))

static const struct parquet_options options = {.codec = PARQUET_ZSTD,
                                               .zstd_level = 3,
                                               .page_bytes = MIB,
                                               .page_rows = 7,
                                               .created_by = "test"};

static enum err on_bytes(void *ctx, struct bytes bytes)
{
    return buf_append(ctx, bytes.data, bytes.size);
}

/* Row i of a file that begins at begin_us: text column c is "c-i", every fifth topic null. */
static void group_write(struct parquet_writer *writer, int64_t begin_us, size_t first, size_t rows)
{
    char texts[NODES][ROWS_MAX * 24];
    uint32_t offsets[NODES][ROWS_MAX + 1];
    uint8_t levels[NODES][ROWS_MAX];
    int64_t instants[ROWS_MAX];
    struct parquet_leaf leaves[NODES];
    for (size_t c = 0; c < NODES; c++) {
        size_t values = 0, size = 0;
        offsets[c][0] = 0;
        for (size_t i = 0; i < rows; i++) {
            size_t row = first + i;
            levels[c][i] = c != 2 || row % 5 != 0;
            instants[i] = begin_us + (int64_t)row * US_PER_S;
            if (!levels[c][i])
                continue;
            size += (size_t)snprintf(texts[c] + size, sizeof(texts[c]) - size, "%zu-%zu", c, row);
            offsets[c][++values] = (uint32_t)size;
        }
        leaves[c] = (struct parquet_leaf){.definition_levels = levels[c],
                                          .level_count = rows,
                                          .value_count = values,
                                          .offsets = offsets[c],
                                          .data = (const uint8_t *)texts[c]};
        if (nodes[c].kind == PARQUET_TIMESTAMP_US)
            leaves[c] = (struct parquet_leaf){.definition_levels = levels[c],
                                              .level_count = rows,
                                              .value_count = rows,
                                              .values = instants};
    }
    assert_int_equal(parquet_writer_row_group(writer, rows, leaves), ERR_OK);
}

static void file_write(struct buf *file, int64_t begin_us, size_t rows, size_t groups)
{
    struct parquet_writer *writer;
    buf_init(file, MIB);
    assert_int_equal(parquet_writer_new(&options, nodes, NODES, on_bytes, file, &writer), ERR_OK);
    for (size_t i = 0; i < groups; i++)
        group_write(writer, begin_us, i * rows, rows);
    assert_int_equal(parquet_writer_finish(writer, NULL, 0), ERR_OK);
    parquet_writer_free(writer);
}

static void check_text(struct bytes text, size_t column, size_t row)
{
    char expected[48];
    snprintf(expected, sizeof(expected), "%zu-%zu", column, row);
    assert_true(bytes_equal_text(text, expected));
}

static void test_what_was_written(void **state)
{
    (void)state;
    struct buf bytes;
    struct letter_file *file;
    struct diag diag = {0};
    file_write(&bytes, BEGIN_US, 15, 3);
    assert_int_equal(letter_file_read(buf_bytes(&bytes), &file, &diag), ERR_OK);
    assert_int_equal(letter_file_count(file), 45);
    for (size_t i = 0; i < 45; i++) {
        struct letter_view letter;
        letter_file_get(file, i, &letter);
        check_text(letter.ingestion_id, 0, i);
        check_text(letter.source_type, 1, i);
        if (i % 5 == 0)
            assert_int_equal(letter.topic.size, 0);
        else
            check_text(letter.topic, 2, i);
        check_text(letter.reason, 3, i);
        check_text(letter.detail, 4, i);
        check_text(letter.payload, 6, i);
        check_text(letter.metadata, 7, i);
        assert_int_equal(letter.received_us, BEGIN_US + (int64_t)i * US_PER_S);
    }
    letter_file_free(file);
    buf_fini(&bytes);
}

/* Every single damaged byte, every prefix: an error or letters, never a read outside. */
static void test_damaged(void **state)
{
    (void)state;
    struct buf bytes;
    size_t noticed = 0;
    file_write(&bytes, BEGIN_US, 15, 2);
    for (size_t i = 0; i < bytes.size * 2; i++) {
        struct letter_file *file;
        struct diag diag = {0};
        size_t at = i / 2;
        uint8_t before = bytes.data[at];
        bytes.data[at] ^= i % 2 ? 0xff : 0x01;
        enum err err = letter_file_read(buf_bytes(&bytes), &file, &diag);
        bytes.data[at] = before;
        noticed += err != ERR_OK;
        if (err != ERR_OK) {
            assert_true(diag.text[0] != '\0');
            continue;
        }
        for (size_t row = 0; row < letter_file_count(file); row++) {
            struct letter_view letter;
            letter_file_get(file, row, &letter);
            const struct bytes texts[TEXTS] = {letter.ingestion_id, letter.source_type,
                                               letter.reason,       letter.detail,
                                               letter.payload,      letter.metadata};
            for (size_t text = 0; text < TEXTS; text++)
                for (size_t byte = 0; byte < texts[text].size; byte++)
                    noticed += texts[text].data[byte] == 0xfe;
        }
        letter_file_free(file);
    }
    assert_true(noticed > 100);
    for (size_t size = 0; size < bytes.size; size += 11) {
        struct letter_file *file;
        struct diag diag = {0};
        assert_int_not_equal(letter_file_read(bytes_from(bytes.data, size), &file, &diag), ERR_OK);
    }
    buf_fini(&bytes);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct buf bytes;
    file_write(&bytes, BEGIN_US, 15, 2);
    for (uint64_t k = 1;; k++) {
        struct letter_file *file = NULL;
        struct diag diag = {0};
        mem_fail_at(k);
        enum err err = letter_file_read(buf_bytes(&bytes), &file, &diag);
        int failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        letter_file_free(err == ERR_OK ? file : NULL);
        if (!failed)
            break;
    }
    buf_fini(&bytes);
}

static void test_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      ".",
                                      "x.1",
                                      "date=2026-01-01/hour=00/part-a",
                                      "date=2026-01-01/../../x.1",
                                      "date=a.-1",
                                      "date=a.1x",
                                      "date=a.4000000",
                                      "date=a b.1",
                                      "date=a%2f.1",
                                      "date=.99999999999"};
    struct letter_id id;
    char text[LETTER_ID_BYTES];
    assert_true(letter_id_parse(BYTES_LITERAL("date=2026-01-01/hour=00/part-a-b.17"), &id));
    assert_string_equal(id.key, "bronze/_dead_letters/date=2026-01-01/hour=00/part-a-b.parquet");
    assert_int_equal(id.row, 17);
    letter_id_format(id.key, id.row, text);
    assert_string_equal(text, "date=2026-01-01/hour=00/part-a-b.17");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(letter_id_parse(bytes_from_text(bad[i]), &id));
    char huge[400];
    int size = snprintf(huge, sizeof(huge), "date=%0300d.1", 0);
    assert_false(letter_id_parse(bytes_from(huge, (size_t)size), &id));
}

/* --- a store of four files, one of them damaged -------------------------------------------- */

#define FILES 4

struct shelf {
    struct store store;
    struct buf files[FILES];
};

static const char *const keys[FILES] = {
    "bronze/_dead_letters/date=2026-01-01/hour=00/part-a.parquet",
    "bronze/_dead_letters/date=2026-01-01/hour=01/part-b.parquet",
    "bronze/_dead_letters/date=2026-01-01/hour=01/part-c.parquet",
    "bronze/_dead_letters/date=2026-01-02/hour=00/part-d.parquet",
};

static enum err shelf_list(struct store *store, const char *prefix,
                           enum err (*on_entry)(void *ctx, const struct store_entry *entry),
                           void *ctx, struct diag *diag)
{
    struct shelf *shelf = (struct shelf *)store;
    struct bytes last = {0};
    (void)diag;
    for (size_t i = 0; i < FILES; i++) {
        if (strncmp(keys[i], prefix, strlen(prefix)) != 0)
            continue;
        const char *name = keys[i] + strlen(prefix);
        size_t size = strcspn(name, "/");
        struct store_entry entry = {.name = bytes_from(name, size),
                                    .is_folder = name[size] == '/',
                                    .size_bytes = shelf->files[i].size};
        if (bytes_equal(entry.name, last))
            continue;
        last = entry.name;
        enum err err = on_entry(ctx, &entry);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err shelf_read(struct store *store, const char *key, uint64_t offset, void *buffer,
                           size_t size, struct diag *diag)
{
    struct shelf *shelf = (struct shelf *)store;
    (void)diag;
    for (size_t i = 0; i < FILES; i++) {
        if (strcmp(keys[i], key) != 0)
            continue;
        if (offset + size > shelf->files[i].size)
            return ERR_TRUNCATED;
        memcpy(buffer, shelf->files[i].data + offset, size);
        return ERR_OK;
    }
    return ERR_NOT_FOUND;
}

static const struct store_ops shelf_ops = {.list = shelf_list, .read = shelf_read};

struct seen {
    struct letter_id ids[200];
    size_t count;
};

static enum err on_file(void *ctx, const char *key, const struct letter_file *file,
                        const uint32_t *rows, size_t count)
{
    struct seen *seen = ctx;
    for (size_t i = 0; i < count; i++) {
        assert_true(rows[i] < letter_file_count(file));
        snprintf(seen->ids[seen->count].key, LETTER_KEY_BYTES, "%s", key);
        seen->ids[seen->count++].row = rows[i];
    }
    return ERR_OK;
}

static void shelf_fill(struct shelf *shelf)
{
    shelf->store.ops = &shelf_ops;
    file_write(&shelf->files[0], BEGIN_US, 10, 1);
    file_write(&shelf->files[1], BEGIN_US + HOUR_US, 10, 1);
    file_write(&shelf->files[2], BEGIN_US + HOUR_US, 10, 1);
    file_write(&shelf->files[3], BEGIN_US + 24 * HOUR_US, 10, 1);
    memset(shelf->files[1].data, 0, shelf->files[1].size);
}

static size_t search_run(struct shelf *shelf, const struct letter_filter *filter,
                         const struct letter_id *after, size_t limit, struct seen *seen,
                         struct letter_found *found)
{
    struct diag diag = {0};
    seen->count = 0;
    assert_int_equal(letter_search(
                         &(struct letter_search){
                             .store = &shelf->store,
                             .filter = filter,
                             .after = after,
                             .limit = limit,
                             .clock = &clock_system,
                             .deadline_ns = INT64_MAX,
                             .on_file = on_file,
                             .ctx = seen,
                         },
                         found, &diag),
                     ERR_OK);
    assert_int_equal(found->count, seen->count);
    return seen->count;
}

static void test_search(void **state)
{
    (void)state;
    static struct shelf shelf;
    static struct seen all, page;
    struct letter_found found;
    struct letter_filter filter = {0};
    shelf_fill(&shelf);
    assert_int_equal(search_run(&shelf, &filter, NULL, 100, &all, &found), 30);
    assert_int_equal(found.unread_files, 1);
    assert_false(found.more);
    for (size_t i = 0; i < 30; i++) {
        static const size_t order[] = {3, 2, 0};
        assert_string_equal(all.ids[i].key, keys[order[i / 10]]);
        assert_int_equal(all.ids[i].row, 9 - i % 10);
    }
    /* Pages of every size are the same letters. */
    for (size_t limit = 1; limit < 32; limit++) {
        struct letter_id after;
        size_t done = 0;
        for (bool more = true; more; more = found.more) {
            search_run(&shelf, &filter, done > 0 ? &after : NULL, limit, &page, &found);
            for (size_t i = 0; i < page.count; i++, done++) {
                assert_string_equal(page.ids[i].key, all.ids[done].key);
                assert_int_equal(page.ids[i].row, all.ids[done].row);
            }
            after = found.last;
        }
        assert_int_equal(done, 30);
    }
    filter = (struct letter_filter){.since_us = BEGIN_US + HOUR_US + 4 * US_PER_S,
                                    .until_us = BEGIN_US + HOUR_US + 6 * US_PER_S};
    assert_int_equal(search_run(&shelf, &filter, NULL, 100, &page, &found), 3);
    assert_string_equal(page.ids[0].key, keys[2]);
    filter = (struct letter_filter){.reason = BYTES_LITERAL("3-4")};
    assert_int_equal(search_run(&shelf, &filter, NULL, 100, &page, &found), 3);
    filter = (struct letter_filter){.ingestion_id = BYTES_LITERAL("0-4")};
    assert_int_equal(search_run(&shelf, &filter, NULL, 2, &page, &found), 2);
    assert_true(found.more);
    filter = (struct letter_filter){.source = BYTES_LITERAL("0")};
    assert_int_equal(search_run(&shelf, &filter, NULL, 100, &page, &found), 0);
    for (size_t i = 0; i < FILES; i++)
        buf_fini(&shelf.files[i]);
}

static void test_rows(void **state)
{
    (void)state;
    static struct shelf shelf;
    struct seen seen = {.count = 0};
    struct diag diag = {0};
    const uint32_t rows[] = {4000, 9, 3};
    const struct letter_search search = {.store = &shelf.store, .on_file = on_file, .ctx = &seen};
    shelf_fill(&shelf);
    assert_int_equal(letter_search_rows(&search, keys[2], rows, 3, &diag), ERR_OK);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.ids[0].row, 9);
    assert_int_equal(
        letter_search_rows(&search, "bronze/_dead_letters/date=2026-01-01/hour=01/part-x.parquet",
                           rows, 3, &diag),
        ERR_NOT_FOUND);
    assert_int_equal(err_class(letter_search_rows(&search, keys[1], rows, 3, &diag)),
                     ERR_CLASS_CORRUPT);
    for (size_t i = 0; i < FILES; i++)
        buf_fini(&shelf.files[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_no_memory),        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_search),           cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
