/*
 * The promise of contract/data.md "Columns" as a property: whatever records come, column values and
 * _rescued_data together give each record back. Random records with nested, flipping, missing,
 * hostile fields; jansson is the model.
 */
#include "lake/decode.h"

#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RECORDS_PER_BLOCK 12

static uint64_t seed;

static unsigned random_below(unsigned limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % limit;
}

static const char *const keys[] = {"a",   "bb",  "c c", "D",     "e\xc3\xa9", "long_field_name_f",
                                   "g\n", "h\"", "i\\", "topic", "nul",       "z"};

static json_t *random_string(void)
{
    static const char *const texts[] = {"",
                                        "ok",
                                        "a longer text, over sixteen bytes",
                                        "\xe2\x82\xac \xf0\x9f\x98\x80",
                                        "quote \" and \\ and \n",
                                        "N/A",
                                        "123",
                                        "null",
                                        "text with a control \x01 in the middle of it"};
    return json_string(texts[random_below(sizeof(texts) / sizeof(texts[0]))]);
}

static json_t *random_value(unsigned kind, unsigned depth);

static json_t *random_object(unsigned depth)
{
    json_t *object = json_object();
    for (unsigned i = random_below(4); i > 0; i--) {
        unsigned key = random_below(sizeof(keys) / sizeof(keys[0]));
        json_object_set_new(object, keys[key], random_value(key, depth + 1));
    }
    return object;
}

static json_t *random_array(unsigned kind, unsigned depth)
{
    json_t *array = json_array();
    for (unsigned i = random_below(4); i > 0; i--)
        json_array_append_new(array, random_value(kind + 1, depth + 1));
    return array;
}

/* A field mostly has its own kind. */
static json_t *random_value(unsigned kind, unsigned depth)
{
    if (random_below(6) == 0)
        kind = random_below(12);
    if (depth > 4 && random_below(20) > 0)
        kind %= 5;
    switch (kind % 10) {
    case 0:
        return json_integer((json_int_t)random_below(100000) - 50000);
    case 1:
        return json_real((double)random_below(1000000) / 997.0);
    case 2:
        return random_string();
    case 3:
        return json_boolean(random_below(2));
    case 4:
        return random_below(2) ? json_null() : json_integer(9007199254740993 + random_below(5));
    case 5:
    case 6:
        return random_object(depth);
    case 7:
    case 8:
        return random_array(kind, depth);
    default:
        return json_real(1e300 * random_below(10));
    }
}

static bool value_matches(const json_t *value, const json_t *column, const char *path,
                          const json_t *rescued, bool in_list);

/* Whether everything in a column's value is null. */
static bool all_null(const json_t *column)
{
    if (!json_is_object(column))
        return !column || json_is_null(column);
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)column, key, child) if (!all_null(child)) return false;
    return true;
}

static const char *column_key(const char *key)
{
    return strcmp(key, "c c") == 0 ? "c_c" : strcmp(key, "g\n") == 0 ? "g_" : key;
}

static bool object_matches(const json_t *value, const json_t *column, const char *path,
                           const json_t *rescued, bool in_list)
{
    const char *key;
    json_t *child;
    if (!json_is_object(column))
        return false;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        char name[512];
        snprintf(name, sizeof(name), "%s%s%s", path, path[0] ? "." : "", key);
        if (!value_matches(child, json_object_get(column, column_key(key)), name, rescued, in_list))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)column, key, child)
    {
        bool sent = false;
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            sent =
                sent || (strcmp(column_key(keys[i]), key) == 0 && json_object_get(value, keys[i]));
        if (!sent && !json_is_null(child))
            return false;
    }
    return true;
}

/* A column that is a text holds any value as its JSON text. */
static bool text_matches(const json_t *value, const char *text)
{
    if (json_is_string(value))
        return strcmp(json_string_value(value), text) == 0;
    json_t *parsed = json_loads(text, JSON_DECODE_ANY, NULL);
    bool same = parsed && json_equal(parsed, value);
    json_decref(parsed);
    return same;
}

static bool value_matches(const json_t *value, const json_t *column, const char *path,
                          const json_t *rescued, bool in_list)
{
    json_t *aside = in_list ? NULL : json_object_get(rescued, path);
    if (aside) {
        /* Out of a list only the value that does not fit is null. */
        return json_equal(aside, value) && (all_null(column) || json_is_array(column));
    }
    if (json_is_null(value))
        return !column || json_is_null(column);
    if (json_is_string(column))
        return text_matches(value, json_string_value(column));
    if (json_is_number(value))
        return json_is_real(column) && json_real_value(column) == json_number_value(value);
    if (json_is_boolean(value))
        return column && json_equal(column, value);
    if (json_is_object(value))
        return object_matches(value, column, path, rescued, in_list);
    if (!json_is_array(value) || !json_is_array(column) ||
        json_array_size(value) != json_array_size(column))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!value_matches(json_array_get(value, i), json_array_get(column, i), path, rescued,
                           true))
            return false;
    return true;
}

static void check_record(const json_t *record, const json_t *row)
{
    const json_t *text = json_object_get(row, "_rescued_data");
    json_t *rescued =
        json_is_string(text) ? json_loads(json_string_value(text), 0, NULL) : json_object();
    assert_non_null(rescued);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)record, key, value)
    {
        bool ours = strcmp(key, "topic") == 0;
        const json_t *column = ours ? NULL : json_object_get(row, column_key(key));
        if (!value_matches(value, column, key, rescued, false)) {
            char *sent = json_dumps(record, 0);
            char *got = json_dumps(row, 0);
            fail_msg("%s:\n  sent %s\n  got  %s", key, sent, got);
        }
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!json_object_get(record, keys[i]) && strcmp(keys[i], "topic") != 0)
            assert_true(all_null(json_object_get(row, column_key(keys[i]))));
    json_decref(rescued);
}

static void records_send(struct rig *rig, json_t *sent, int *id)
{
    assert_int_equal(rig_block(rig), ERR_OK);
    for (int i = 0; i < RECORDS_PER_BLOCK; i++) {
        json_t *record = random_object(0);
        json_object_set_new(record, "id", json_integer((*id)++));
        if (random_below(30) == 0) {
            json_t *deep = json_integer(7);
            for (int k = 0; k < 20; k++) {
                json_t *outer =
                    random_below(2) ? json_pack("{s:o}", "deep", deep) : json_pack("[o]", deep);
                deep = outer;
            }
            json_object_set_new(record, "deep", deep);
        }
        char *text = json_dumps(record, random_below(2) ? JSON_COMPACT : JSON_INDENT(1));
        assert_int_equal(rig_message(rig, bytes_from_text(text), 0), ERR_OK);
        json_array_append_new(sent, record);
        free(text);
    }
    assert_int_equal(rig_append(rig), ERR_OK);
}

static void cut_check(struct rig *rig, json_t *sent)
{
    struct cut cut;
    assert_int_equal(batch_cut(rig->batch, &cut, NULL), ERR_OK);
    json_t *rows = rig_rows(&cut, false);
    assert_int_equal(json_array_size(rows), json_array_size(sent));
    int first = (int)json_integer_value(json_object_get(json_array_get(sent, 0), "id"));
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        json_t *id = json_object_get(row, "id");
        assert_true(json_is_real(id));
        json_t *record = json_array_get(sent, (size_t)((int)json_real_value(id) - first));
        assert_non_null(record);
        check_record(record, row);
    }
    json_decref(rows);
    cut_fini(&cut);
}

static void test_records_come_back(void **state)
{
    (void)state;
    for (uint64_t life = 1; life <= 150; life++) {
        seed = life * 0x9e3779b97f4a7c15u;
        struct rig rig;
        assert_int_equal(rig_init(&rig), ERR_OK);
        assert_int_equal(rig_batch(&rig), ERR_OK);
        int id = 0;
        for (int round = 0; round < 5; round++) {
            json_t *sent = json_array();
            for (unsigned blocks = 1 + random_below(3); blocks > 0; blocks--)
                records_send(&rig, sent, &id);
            cut_check(&rig, sent);
            json_decref(sent);
        }
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records_come_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
