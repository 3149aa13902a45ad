/* Databases of many datasets with some of their pages overwritten: of every dataset whose pages are
 * whole all comes back, of one whose row and progress are on whole pages the counts, and never
 * another count than was. Which pages a dataset is on is told by its texts, which no other has.
 * More seeds: INGESTOR_SALVAGE_SEEDS. */
#include "base/alloc.h"
#include "journal/record.h"
#include "metadata/metadata_parts.h"
#include "metadata/metadata_repair.h"
#include "os/fs.h"
#include "support/database_rig.h"
#include "support/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

#define JOURNAL  "11111111-2222-4333-8444-555555555555"
#define DATASETS 1000
#define PAGE     4096
#define ID_CHARS 6 /* "d00042" */

struct known {
    int64_t records;
    int64_t bytes;
    int64_t sensors;
    int64_t position;
    char *fields;
    char *listed;
};

static struct known known[DATASETS];
static size_t known_count;
static char folder[256], path[300], copy[300];
static struct buf whole; /* the database's file */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- the database ---------------------------------------------------------------------------- */

static struct bytes text_of(char *room, size_t size, const char *format, size_t i, size_t k)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return bytes_from(room, (size_t)snprintf(room, size, format, i, k));
#pragma GCC diagnostic pop
}

static void change_fill(struct change *change, size_t i)
{
    char text[64];
    size_t sensors = i % 100 == 0 ? 1500 : i % 20 == 0 ? 400 : 3;
    change->records = 1000 + i;
    change->payload_bytes = 100000 + 7 * i;
    change->first_us = 1796000000 * US_PER_S;
    change->last_us = change->first_us + (int64_t)i;
    assert_int_equal(change_topic_set(change, text_of(text, 64, "d%05zu/topic", i, 0)), ERR_OK);
    for (size_t k = 0; k < 3 + i % 12; k++) {
        struct change_field *field;
        assert_int_equal(change_field_get(change, text_of(text, 64, "d%05zu_%zu", i, k), &field),
                         ERR_OK);
        field->types = k % 2 ? 1u << DATASET_DOUBLE : 1u << DATASET_STRING;
        for (size_t j = 0; j < 5; j++)
            assert_int_equal(
                change_sample_add(change, field, text_of(text, 64, "d%05zu sample %zu", i, j)),
                ERR_OK);
    }
    for (size_t k = 0; k < sensors; k++)
        assert_int_equal(change_sensor_add(change, text_of(text, 64, "d%05zu-%zu", i, k)), ERR_OK);
}

static enum err fill(struct database_transaction *into, void *ctx, struct diag *diag)
{
    size_t count = *(const size_t *)ctx;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct change change;
        char id[64];
        change_init(&change);
        change_fill(&change, i);
        err = metadata_table_apply(into, JOURNAL, text_of(id, 64, "d%05zu", i, 0), &change, 50 + i,
                                   diag);
        change_fini(&change);
    }
    return err;
}

static size_t number_of(const struct database_value *id)
{
    assert_int_equal(id->bytes.size, ID_CHARS);
    return strtoul((const char *)id->bytes.data + 1, NULL, 10);
}

static enum err on_known(void *ctx, const struct database_value *columns, size_t count)
{
    (void)ctx;
    assert_int_equal(count, 7);
    struct known *one = &known[number_of(&columns[0])];
    *one = (struct known){columns[1].integer,
                          columns[2].integer,
                          columns[3].integer,
                          columns[6].integer,
                          mem_strdup((const char *)columns[4].bytes.data),
                          mem_strdup((const char *)columns[5].bytes.data)};
    assert_non_null(one->fields);
    assert_non_null(one->listed);
    return ERR_OK;
}

#define ROWS_SQL                                                                                   \
    "SELECT d.ingestion_id, record_count, data_size_bytes, unique_sensor_count, schema_fields, "   \
    "unique_sensor_ids, coalesce(position, -1) FROM dataset_metadata d LEFT JOIN "                 \
    "metadata_progress p ON p.ingestion_id = d.ingestion_id"

static void rows_each(struct database *database, database_on_row on_row, void *ctx)
{
    struct diag diag = {0};
    if (database_query(database, ROWS_SQL, NULL, 0, on_row, ctx, NULL, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
}

static struct database *database_at(const char *at)
{
    char url[320];
    struct diag diag = {0};
    snprintf(url, sizeof(url), "sqlite:///%s", at);
    struct database *database = rig_open(url);
    assert_int_equal(metadata_table_prepare(database, &diag), ERR_OK);
    return database;
}

static void file_read(const char *at, struct buf *out)
{
    struct fs_file *file;
    struct fs_stat stat;
    size_t size;
    assert_int_equal(fs_stat(&fs_posix, at, &stat, NULL), ERR_OK);
    buf_clear(out);
    assert_int_equal(buf_reserve(out, stat.size_bytes), ERR_OK);
    assert_int_equal(fs_open(&fs_posix, at, FS_READ, &file, NULL), ERR_OK);
    assert_int_equal(fs_read(&fs_posix, file, 0, out->data, stat.size_bytes, &size, NULL), ERR_OK);
    out->size = size;
    fs_close(&fs_posix, file);
}

static void file_write(const char *at, struct bytes data)
{
    struct fs_file *file;
    assert_int_equal(fs_open(&fs_posix, at, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, NULL),
                     ERR_OK);
    assert_int_equal(fs_write(&fs_posix, file, 0, data.data, data.size, NULL), ERR_OK);
    fs_close(&fs_posix, file);
}

/* known and whole: count datasets, all in the file. */
static void make(size_t count)
{
    struct diag diag = {0};
    temp_folder_make(folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/metadata.db", folder);
    snprintf(copy, sizeof(copy), "%s/damaged.db", folder);
    known_count = count;
    struct database *database = database_at(path);
    assert_int_equal(database_transact(database, fill, &known_count, &diag), ERR_OK);
    rows_each(database, on_known, NULL);
    exec_ok(database, "PRAGMA wal_checkpoint(TRUNCATE)");
    buf_init(&whole, 256 * MIB);
    file_read(path, &whole);
    database_close(database);
}

static void unmake(void)
{
    for (size_t i = 0; i < known_count; i++) {
        mem_free(known[i].fields);
        mem_free(known[i].listed);
    }
    buf_fini(&whole);
    temp_folder_remove(folder);
}

/* --- the same -------------------------------------------------------------------------------- */

static const char *const dumps[] = {
    "SELECT * FROM dataset_metadata ORDER BY ingestion_id",
    "SELECT journal, ingestion_id, position FROM metadata_progress ORDER BY 1, 2",
    "SELECT ingestion_id, hex(sketch) FROM dataset_sensors ORDER BY 1",
    "SELECT * FROM dataset_quality ORDER BY ingestion_id",
    "SELECT * FROM schema_evolution ORDER BY id",
    "SELECT * FROM data_quality ORDER BY id",
    NULL,
};

static enum err on_dumped(void *ctx, const struct database_value *columns, size_t count)
{
    struct buf *out = ctx;
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%d:%lld:%a:", (int)columns[i].kind, (long long)columns[i].integer,
                   columns[i].number);
        buf_append(out, columns[i].bytes.data, columns[i].bytes.size);
    }
    return buf_byte(out, '\n');
}

static void assert_same(struct database *a, struct database *b, const char *const *queries)
{
    struct buf texts[2];
    struct diag diag = {0};
    buf_init(&texts[0], 256 * MIB);
    buf_init(&texts[1], 256 * MIB);
    for (size_t i = 0; queries[i]; i++) {
        buf_clear(&texts[0]);
        buf_clear(&texts[1]);
        assert_int_equal(database_query(a, queries[i], NULL, 0, on_dumped, &texts[0], NULL, &diag),
                         ERR_OK);
        assert_int_equal(database_query(b, queries[i], NULL, 0, on_dumped, &texts[1], NULL, &diag),
                         ERR_OK);
        assert_true(texts[0].size > 0);
        assert_true(bytes_equal(buf_bytes(&texts[0]), buf_bytes(&texts[1])));
    }
    buf_fini(&texts[0]);
    buf_fini(&texts[1]);
}

/* --- the salvage ----------------------------------------------------------------------------- */

static struct database *salvaged(const char *from, struct metadata_salvaged *ret_salvaged)
{
    struct diag diag = {0};
    struct database *into = rig_open("sqlite:///:memory:");
    assert_int_equal(metadata_table_prepare(into, &diag), ERR_OK);
    if (metadata_salvage(from, JOURNAL, into, ret_salvaged, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    return into;
}

struct seen {
    const bool *damaged;      /* pages */
    bool own_whole[DATASETS]; /* the pages of its row and its progress */
    bool all_whole[DATASETS];
    bool found[DATASETS];
    int64_t lacks[DATASETS];
    size_t counts, lists;
};

/* The page that has a dataset's row: its id and topic stand there one behind the other. */
static void pages_find(struct seen *seen)
{
    for (size_t i = 0; i < known_count; i++)
        seen->own_whole[i] = seen->all_whole[i] = true;
    for (size_t at = 0; at + 16 < whole.size; at++) {
        const char *text = (const char *)whole.data + at;
        size_t page = at / PAGE;
        if (text[0] != 'd' || strspn(text + 1, "0123456789") < 5)
            continue;
        bool own = text[ID_CHARS] == 'd' && memcmp(text, text + ID_CHARS, ID_CHARS) == 0 &&
                   memcmp(text + 2 * ID_CHARS, "/topic", 6) == 0;
        /* The next byte may be a digit, too. */
        size_t i =
            strtoul((const char[]){text[1], text[2], text[3], text[4], text[5], 0}, NULL, 10);
        bool progress = at >= 12 && memcmp(text - 12, &JOURNAL[24], 12) == 0;
        bool goes_on = whole.data[page * PAGE] == 0; /* the next page, or 0 */
        if (i >= known_count || !seen->damaged[page])
            continue;
        if (own || progress)
            seen->own_whole[i] = false;
        if (own || goes_on)
            seen->all_whole[i] = false;
    }
}

static enum err on_salvaged(void *ctx, const struct database_value *columns, size_t count)
{
    struct seen *seen = ctx;
    assert_int_equal(count, 7);
    size_t i = number_of(&columns[0]);
    assert_true(i < known_count && !seen->found[i]);
    const struct known *one = &known[i];
    seen->found[i] = true;
    seen->counts++;
    assert_int_equal(columns[1].integer, one->records);
    assert_int_equal(columns[3].integer, one->sensors);
    assert_true(columns[2].integer == one->bytes || columns[2].integer == 0);
    assert_int_equal(columns[6].integer, one->position);
    bool lists = columns[2].integer == one->bytes &&
                 bytes_equal_text(columns[4].bytes, one->fields) &&
                 bytes_equal_text(columns[5].bytes, one->listed);
    seen->lists += lists;
    if (seen->all_whole[i])
        assert_true(lists);
    return ERR_OK;
}

static const char *const mended[] = {
    "SELECT ingestion_id, topic, record_count, first_seen, last_seen, unique_sensor_count, "
    "unique_sensor_ids, data_size_bytes, schema_fields FROM dataset_metadata ORDER BY 1",
    "SELECT journal, ingestion_id, position FROM metadata_progress ORDER BY 1, 2",
    "SELECT ingestion_id, hex(sketch) FROM dataset_sensors ORDER BY 1",
    "SELECT ingestion_id, field_name, field_type, first_seen, sample_values FROM "
    "schema_evolution ORDER BY 1, 2, 3",
    NULL,
};

static enum err mend(struct database_transaction *into, void *ctx, struct diag *diag)
{
    const struct seen *seen = ctx;
    enum err err = ERR_OK;
    for (size_t i = 0; i < known_count && err == ERR_OK; i++) {
        struct change change;
        struct buf encoded, changes;
        char room[64];
        struct bytes id = text_of(room, 64, "d%05zu", i, 0);
        change_init(&change);
        change_fill(&change, i);
        buf_init(&encoded, 16 * MIB);
        buf_init(&changes, 16 * MIB);
        change_encode(&change, &encoded);
        record_append_text32(&changes, buf_bytes(&encoded));
        if (!seen->found[i])
            err = metadata_table_apply(into, JOURNAL, id, &change, 50 + i, diag);
        else if (seen->lacks[i] != 0)
            err = metadata_repair_write(into, id, buf_bytes(&changes), seen->lacks[i], diag);
        buf_fini(&encoded);
        buf_fini(&changes);
        change_fini(&change);
    }
    return err;
}

/* What the footers of the lake tell makes it the database that it was. */
static void mend_and_check(struct database *into, struct seen *seen)
{
    struct diag diag = {0};
    struct database *before = database_at(path);
    for (size_t i = 0; i < known_count; i++) {
        char id[64];
        assert_int_equal(
            metadata_repair_lacks(into, text_of(id, 64, "d%05zu", i, 0), &seen->lacks[i], &diag),
            ERR_OK);
    }
    if (database_transact(into, mend, seen, &diag) != ERR_OK)
        fail_msg("%s", diag.text);
    assert_int_equal(get_integer(into, "SELECT count(*) FROM metadata_repairs"), 0);
    assert_same(before, into, mended);
    database_close(before);
}

static void damage_and_check(uint64_t seed, size_t damaged_pages)
{
    size_t pages = whole.size / PAGE, bad = 0;
    bool *damaged = mem_zalloc(pages, sizeof(bool));
    struct seen *seen = mem_zalloc(1, sizeof(*seen));
    uint8_t *data = mem_dup(whole.data, whole.size);
    struct metadata_salvaged result;
    assert_true(damaged && seen && data);
    for (; bad < damaged_pages; bad++) {
        size_t page = random_next(&seed) % pages;
        damaged[page] = true;
        for (size_t i = 0; i < PAGE; i += 8)
            store_u64(data + page * PAGE + i, random_next(&seed));
    }
    file_write(copy, bytes_from(data, whole.size));
    seen->damaged = damaged;
    pages_find(seen);
    struct database *into = salvaged(copy, &result);
    rows_each(into, on_salvaged, seen);
    for (size_t i = 0; i < known_count; i++)
        if (seen->own_whole[i])
            assert_true(seen->found[i]);
    assert_int_equal(result.datasets, seen->counts);
    print_message("%zu of %zu pages damaged: %zu of %zu datasets, %zu of them whole\n",
                  damaged_pages, pages, seen->counts, known_count, seen->lists);
    mend_and_check(into, seen);
    database_close(into);
    mem_free(data);
    mem_free(seen);
    mem_free(damaged);
}

static void test_damaged_pages(void **state)
{
    const char *more = getenv("INGESTOR_SALVAGE_SEEDS");
    size_t seeds = more ? strtoul(more, NULL, 10) : 1;
    (void)state;
    make(DATASETS);
    size_t pages = whole.size / PAGE;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        damage_and_check(seed * 7919, 1);
        damage_and_check(seed * 7919 + 1, pages / 100);
        damage_and_check(seed * 7919 + 2, pages / 10);
        damage_and_check(seed * 7919 + 3, pages * 3 / 10);
    }
    unmake();
}

/* --- the others ------------------------------------------------------------------------------ */

/* All of it, also what stands in the log only, and of each kind of number. */
static void test_nothing_damaged(void **state)
{
    struct metadata_salvaged result;
    struct buf log;
    char name[320];
    (void)state;
    make(300);
    buf_init(&log, 64 * MIB);
    struct database *database = database_at(path);
    exec_ok(database, "PRAGMA wal_autocheckpoint = 0; UPDATE dataset_metadata SET record_count = "
                      "record_count + 5000000000, first_seen = NULL WHERE record_count % 3 = 0;"
                      "DELETE FROM dataset_metadata WHERE record_count < 1050;"
                      "DELETE FROM metadata_progress WHERE position < 100;"
                      "DELETE FROM dataset_sensors WHERE ingestion_id < 'd00050';"
                      "DELETE FROM dataset_quality WHERE ingestion_id < 'd00050';"
                      "INSERT INTO data_quality (ingestion_id, metric_name, metric_value) VALUES "
                      "('a', 'm', 1), ('b', 'm', -0.5), ('c', 'm', 1e300), ('d', 'm', -300)");
    exec_ok(database,
            "UPDATE dataset_metadata SET schema_fields = replace(schema_fields, "
            "' sample ', 'a\\u0000b'), unique_sensor_ids = replace(unique_sensor_ids, '-', "
            "'\\ud800') WHERE ingestion_id > 'd00200'");
    exec_ok(database, "DELETE FROM metadata_progress WHERE ingestion_id NOT IN (SELECT "
                      "ingestion_id FROM dataset_metadata); DELETE FROM dataset_sensors WHERE "
                      "ingestion_id NOT IN (SELECT ingestion_id FROM dataset_metadata); DELETE "
                      "FROM dataset_quality WHERE ingestion_id NOT IN (SELECT ingestion_id FROM "
                      "dataset_metadata)");
    file_read(path, &whole);
    file_write(copy, buf_bytes(&whole));
    snprintf(name, sizeof(name), "%s-wal", path);
    file_read(name, &log);
    assert_true(log.size > 10 * PAGE);
    snprintf(name, sizeof(name), "%s-wal", copy);
    file_write(name, buf_bytes(&log));
    struct database *into = salvaged(copy, &result);
    assert_int_equal(result.partial, 0);
    assert_same(database, into, dumps);
    database_close(into);
    database_close(database);
    buf_fini(&log);
    unmake();
}

/* A kill came before its name said that it was read: it is not read twice, whatever came since. */
static void test_once(void **state)
{
    struct metadata_salvaged result;
    struct diag diag = {0};
    (void)state;
    make(20);
    file_write(copy, buf_bytes(&whole));
    struct database *into = salvaged(copy, &result);
    assert_false(result.before);
    exec_ok(into, "DELETE FROM dataset_metadata WHERE ingestion_id = 'd00003'");
    assert_int_equal(metadata_salvage(copy, JOURNAL, into, &result, &diag), ERR_OK);
    assert_true(result.before);
    assert_int_equal(result.datasets, 19);
    database_close(into);
    unmake();
}

/* Random bytes over each page that has the text. */
static void overwrite_with(const char *text)
{
    uint64_t random = 5;
    size_t count = 0;
    for (size_t page = 0; page < whole.size / PAGE; page++) {
        uint8_t *at = whole.data + page * PAGE;
        if (!memmem(at, PAGE, text, strlen(text)))
            continue;
        for (size_t i = 0; i < PAGE; i += 8)
            store_u64(at + i, random_next(&random));
        count++;
    }
    assert_true(count > 0);
    file_write(copy, buf_bytes(&whole));
}

/* Counts whose progress is lost are counted anew by others, and must not be there then. */
static void test_progress_lost(void **state)
{
    struct metadata_salvaged result;
    (void)state;
    make(300);
    overwrite_with(JOURNAL "d00007");
    struct database *into = salvaged(copy, &result);
    assert_int_equal(result.datasets, get_integer(into, "SELECT count(*) FROM metadata_progress"));
    assert_true(result.datasets > 0 && result.datasets < 300);
    assert_int_equal(get_integer(into, "SELECT count(*) FROM dataset_sensors WHERE ingestion_id "
                                       "NOT IN (SELECT ingestion_id FROM dataset_metadata)"),
                     0);
    database_close(into);
    unmake();
}

/* The header and the names of the tables: SQLite knows nothing of such a file. */
static void test_first_page_lost(void **state)
{
    struct metadata_salvaged result;
    (void)state;
    make(300);
    overwrite_with("CREATE TABLE");
    struct database *into = salvaged(copy, &result);
    assert_int_equal(result.datasets, 300);
    assert_int_equal(result.partial, 300); /* whether a row of the evolution is lost nobody knows */
    database_close(into);
    unmake();
}

/* The counts of a dataset whose lists are lost; its fields are known from their evolution. */
static void test_lists_lost(void **state)
{
    struct metadata_salvaged result;
    (void)state;
    make(300);
    overwrite_with("d00100-700\"");
    struct database *into = salvaged(copy, &result);
    assert_int_equal(result.datasets, 300);
    assert_int_equal(result.partial, 1);
    assert_int_equal(get_integer(into, "SELECT record_count FROM dataset_metadata WHERE "
                                       "ingestion_id = 'd00100'"),
                     1100);
    assert_int_equal(get_integer(into, "SELECT unique_sensor_count FROM dataset_metadata WHERE "
                                       "ingestion_id = 'd00100'"),
                     known[100].sensors);
    assert_int_equal(get_integer(into, "SELECT json_array_length(schema_fields) FROM "
                                       "dataset_metadata WHERE ingestion_id = 'd00100'"),
                     3 + 100 % 12);
    assert_int_equal(get_integer(into, "SELECT json_array_length(schema_fields, "
                                       "'$[0].sample_values') FROM dataset_metadata WHERE "
                                       "ingestion_id = 'd00100'"),
                     5);
    database_close(into);
    unmake();
}

/* Pages that are free hold rows of long ago where SQLite was not told to wipe them. */
static void test_free_pages(void **state)
{
    struct metadata_salvaged result;
    (void)state;
    make(300);
    struct database *database = database_at(path);
    exec_ok(database, "PRAGMA secure_delete = OFF; DELETE FROM dataset_metadata WHERE rowid > 100;"
                      "PRAGMA wal_checkpoint(TRUNCATE)");
    database_close(database);
    file_read(path, &whole);
    assert_non_null(memmem(whole.data, whole.size, "d00250d00250/topic", 18));
    file_write(copy, buf_bytes(&whole));
    struct database *into = salvaged(copy, &result);
    assert_int_equal(result.datasets, 100);
    database_close(into);
    unmake();
}

/* Bytes changed anywhere: whatever comes of it, it comes to an end. */
static void test_any_bytes(void **state)
{
    uint64_t random = 99;
    (void)state;
    make(40);
    for (int round = 0; round < 60; round++) {
        struct metadata_salvaged result;
        uint8_t *data = mem_dup(whole.data, whole.size);
        assert_non_null(data);
        for (size_t page = 0; page < whole.size / PAGE; page++)
            for (uint64_t i = random_next(&random) % 4; i > 0; i--)
                data[page * PAGE + random_next(&random) % (i % 2 ? 64 : PAGE)] =
                    (uint8_t)random_next(&random);
        file_write(copy, bytes_from(data, whole.size - random_next(&random) % PAGE));
        database_close(salvaged(copy, &result));
        mem_free(data);
    }
    unmake();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_damaged), cmocka_unit_test(test_damaged_pages),
        cmocka_unit_test(test_progress_lost),   cmocka_unit_test(test_first_page_lost),
        cmocka_unit_test(test_lists_lost),      cmocka_unit_test(test_free_pages),
        cmocka_unit_test(test_any_bytes),       cmocka_unit_test(test_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
