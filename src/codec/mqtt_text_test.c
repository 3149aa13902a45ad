#include "codec/mqtt_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct bytes text(const char *from)
{
    return bytes_from_text(from);
}

static void test_text(void **state)
{
    (void)state;
    assert_true(mqtt_text_valid(text("")));
    assert_true(mqtt_text_valid(text("plain ascii of more than eight bytes")));
    assert_true(mqtt_text_valid(text("Straßenlärm 12 µg/m³ 🐦 \xef\xbf\xbf")));
    assert_true(mqtt_text_valid(text("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf")));
    assert_false(mqtt_text_valid(BYTES_LITERAL("12345678\0abcdefg")));
    assert_false(mqtt_text_valid(BYTES_LITERAL("1234567\0")));
    assert_false(mqtt_text_valid(text("\x80")));
    assert_false(mqtt_text_valid(text("\xc1\xbf")));
    assert_false(mqtt_text_valid(text("\xe0\x9f\xbf")));
    assert_false(mqtt_text_valid(text("\xed\xbf\xbf")));
    assert_false(mqtt_text_valid(text("\xf0\x8f\xbf\xbf")));
    assert_false(mqtt_text_valid(text("\xf5\x80\x80\x80")));
    assert_false(mqtt_text_valid(text("12345678ab\xe2\x82")));
    static uint8_t large[65536];
    memset(large, 'x', sizeof(large));
    assert_true(mqtt_text_valid(bytes_from(large, 65535)));
    assert_false(mqtt_text_valid(bytes_from(large, 65536)));
}

/* Every place that a bad byte can stand in, so that the word-wise pass is checked at each offset.
 */
static void test_topic_each_place(void **state)
{
    (void)state;
    static const char bad[] = {'+', '#', '\0', '\xff'};
    for (size_t size = 1; size < 40; size++) {
        char topic[40];
        for (size_t place = 0; place < size; place++) {
            memset(topic, 'a', sizeof(topic));
            assert_true(mqtt_topic_valid(bytes_from(topic, size)));
            for (size_t i = 0; i < sizeof(bad); i++) {
                topic[place] = bad[i];
                assert_false(mqtt_topic_valid(bytes_from(topic, size)));
            }
        }
    }
    assert_false(mqtt_topic_valid(text("")));
    assert_true(mqtt_topic_valid(text("/")));
    assert_true(mqtt_topic_valid(text("städte/köln/lärm")));
}

static void test_filter(void **state)
{
    (void)state;
    static const char *const good[] = {"#",          "+",      "/",        "a",     "a/#",
                                       "+/+",        "/+",     "a//b",     "+/a/#", "$share/g/#",
                                       "$share/g//", "$SYS/#", "$shared/x"};
    static const char *const bad[] = {"",          "a#",          "#/a",        "a/#/b",
                                      "a+",        "+a",          "$share/g",   "$share//a",
                                      "$share/g/", "$share/g+/a", "$share/#/a", "$share/g/a#"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!mqtt_filter_valid(text(good[i])))
            fail_msg("%s is valid", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (mqtt_filter_valid(text(bad[i])))
            fail_msg("%s is not valid", bad[i]);
    struct bytes name;
    struct bytes filter;
    assert_true(mqtt_filter_shared(text("$share/group/a/#"), &name, &filter));
    assert_true(bytes_equal_text(name, "group"));
    assert_true(bytes_equal_text(filter, "a/#"));
    assert_false(mqtt_filter_shared(text("a/#"), &name, &filter));
}

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        const char *topic;
        bool matches;
    } cases[] = {
        /* §4.7.1.2, §4.7.1.3, §4.7.2 */
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"#", "$SYS/x", false},
        {"+/x", "$SYS/x", false},
        {"$SYS/#", "$SYS/x", true},
        {"a", "A", false},
        {"a", "a/", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (mqtt_filter_matches(text(cases[i].filter), text(cases[i].topic)) != cases[i].matches)
            fail_msg("%s against %s", cases[i].filter, cases[i].topic);
}

static void test_overlap(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool overlap;
    } cases[] = {
        {"a", "a", true},        {"a", "b", false},       {"a/#", "a", true},
        {"a/#", "a/b/c", true},  {"+/b", "a/+", true},    {"a/+", "a", false},
        {"a/+/c", "a/b", false}, {"#", "x/y", true},      {"#", "$SYS/x", false},
        {"+/x", "$a/x", false},  {"$a/+", "$a/x", true},  {"a/+/#", "a", false},
        {"a/b/#", "a/+", true},  {"a/b", "a/b/#", true},  {"a/b/#", "a/c/#", false},
        {"#", "#", true},        {"a/b/c", "a/b", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool one = mqtt_filters_overlap(text(cases[i].a), text(cases[i].b));
        bool other = mqtt_filters_overlap(text(cases[i].b), text(cases[i].a));
        if (one != cases[i].overlap || other != cases[i].overlap)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
    }
}

static void test_covers(void **state)
{
    (void)state;
    static const struct {
        const char *wide;
        const char *narrow;
        bool covers;
    } cases[] = {
        {"a", "a", true},       {"a", "b", false},           {"a/#", "a", true},
        {"a", "a/#", false},    {"a/#", "a/+/c", true},      {"a/+", "a/#", false},
        {"a/+", "a/b", true},   {"a/b", "a/+", false},       {"+/b", "a/+", false},
        {"a/+", "a/+", true},   {"#", "$SYS/x", false},      {"+/x", "$a/x", false},
        {"$a/#", "$a/x", true}, {"a/+/#", "a", false},       {"a/+/#", "a/#", false},
        {"#", "#", true},       {"a/b/c", "a/b", false},     {"a/b", "a/b/c", false},
        {"a/+", "a/", true},    {"a/+/c", "a/b/c/d", false}, {"#", "+/x", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (mqtt_filter_covers(text(cases[i].wide), text(cases[i].narrow)) != cases[i].covers)
            fail_msg("%s and %s", cases[i].wide, cases[i].narrow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_topic_each_place),
        cmocka_unit_test(test_filter),  cmocka_unit_test(test_matches),
        cmocka_unit_test(test_overlap), cmocka_unit_test(test_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
