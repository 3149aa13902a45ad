/* Expected instants are Python's (datetime.fromisoformat of 3.11), taken once. */
#include "codec/timestamp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void test_iso_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"2024-01-31T10:15:30Z", 1706696130000000LL},
        {"2024-01-31T10:15:30", 1706696130000000LL},
        {"2024-01-31 10:15:30", 1706696130000000LL},
        {"2024-01-31T10:15:30+00:00", 1706696130000000LL},
        {"2024-01-31T10:15:30.123456Z", 1706696130123456LL},
        {"2024-01-31T10:15:30.1Z", 1706696130100000LL},
        {"2024-01-31T10:15:30,25+02:00", 1706688930250000LL},
        {"2024-01-31T10:15:30.123456789Z", 1706696130123456LL},
        {"2024-01-31T10:15:30+0530", 1706676330000000LL},
        {"2024-01-31T10:15:30-08", 1706724930000000LL},
        {"2024-01-31T10:15:30-08:00", 1706724930000000LL},
        {"2024-01-31T10:15", 1706696100000000LL},
        {"2024-01-31T10:15Z", 1706696100000000LL},
        {"2024-01-31T10", 1706695200000000LL},
        {"2024-01-31", 1706659200000000LL},
        {"20240131", 1706659200000000LL},
        {"20240131T101530Z", 1706696130000000LL},
        {"20240131T1015", 1706696100000000LL},
        {"20240131T10", 1706695200000000LL},
        {"20240131T101530.5+0100", 1706692530500000LL},
        {"20240131T10:15:30", 1706696130000000LL},
        {"2024-01-31T101530", 1706696130000000LL},
        {"2024-W05-3", 1706659200000000LL},
        {"2024-W05", 1706486400000000LL},
        {"2024W053", 1706659200000000LL},
        {"2024W05", 1706486400000000LL},
        {"2024-W05-3T10:15:30Z", 1706696130000000LL},
        {"2020-W53-7", 1609632000000000LL},
        {"2024W053T101530+01", 1706692530000000LL},
        {"2024-W01-1", 1704067200000000LL},
        {"2021-W01-1", 1609718400000000LL},
        {"0001-01-01T00:00:00Z", -62135596800000000LL},
        {"9999-12-31T23:59:59.999999Z", 253402300799999999LL},
        {"2000-02-29", 951782400000000LL},
        {"1969-12-31T23:59:59.999999Z", -1LL},
        {"1900-03-01T00:00:00Z", -2203891200000000LL},
        {"2024-02-29T23:59:59+23:59", 1709164859000000LL},
        {"1582-10-15T00:00:00Z", -12219292800000000LL},
        {"2024-01-31T10:15:30+01:02:03", 1706692407000000LL},
        /* beyond Python */
        {"2024-01-31t10:15:30z", 1706696130000000LL},
        {"2024-01-31t10:15z", 1706696100000000LL},
        {"2024-01-31T10:15:30.Z", 1706696130000000LL},
        {"2024-01-31T10:15:30.", 1706696130000000LL},
        {"2024-01-31 10:15:30 +0000", 1706696130000000LL},
        {"2024-01-31T10:15:30-00:00", 1706696130000000LL},
        {"2024-01-31T24:00:00Z", 1706745600000000LL},
        {"2024-01-31T24:00Z", 1706745600000000LL},
        {"2024-01-31T24:00:00.000Z", 1706745600000000LL},
        {"2016-12-31T23:59:60Z", 1483228799999999LL},
        {"2016-12-31T23:59:60.5Z", 1483228799999999LL},
        {"2017-01-01T00:59:60+01:00", 1483228799999999LL},
        /* digits: a Unix time in the unit of its magnitude */
        {"0", 0},
        {"1700000000", 1700000000000000LL},
        {"1700000000.25", 1700000000250000LL},
        {"1700000000123", 1700000000123000LL},
        {"1700000000123.5", 1700000000123500LL},
        {"1700000000123456", 1700000000123456LL},
        {"1700000000123456789", 1700000000123456LL},
        {"99999999999", 99999999999000000LL},
        {"100000000000", 100000000000000LL},
        {"-86400", -86400000000LL},
        {"99999999", 99999999000000LL}, /* no date */
        {"20241301", 20241301000000LL}, /* no date either */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us = 42;
        bool good = timestamp_parse(bytes_from_text(cases[i].text), &us);
        if (!good || us != cases[i].us)
            fail_msg("\"%s\": %d %lld, expected %lld", cases[i].text, good, (long long)us,
                     (long long)cases[i].us);
    }
}

static void test_unusable(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "-",
        ".",
        "T",
        "now",
        "N/A",
        "null",
        "2024-",
        "2024-1-1",
        "2024-01-",
        "2024-13-01",
        "2024-00-01",
        "2024-01-00",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "0000-01-01",
        "2024-031",
        "2024-W00-1",
        "2024-W53-1",
        "2024-W54-1",
        "2024-W05-0",
        "2024-W05-8",
        "2024-W5",
        "2024-01-31T",
        "2024-01-31X10:15:30",
        "2024-01-31T1",
        "2024-01-31T25:00:00",
        "2024-01-31T24:00:01",
        "2024-01-31T24:00:00.1",
        "2024-01-31T10:60",
        "2024-01-31T10:15:61",
        "2024-01-31T24:00:60",
        "2024-01-31T10:15:",
        "2024-01-31T10:15:3",
        "2024-01-31T10:15:30ZZ",
        "2024-01-31T10:15:30X",
        "2024-01-31T10:15:30+",
        "2024-01-31T10:15:30+1",
        "2024-01-31T10:15:30+24:00",
        "2024-01-31T10:15:30+01:60",
        "2024-01-31T10:15:30+01:",
        "2024-01-31T10:15:30+01:00 ",
        "2024-01-31Z",
        "2024-01-31T10:15.5",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T24:00:00Z",
        "2024/01/31",
        "31.01.2024",
        "+1700000000",
        "1e9",
        "--5",
        "0x10",
        "18446744073709551616",
        "99999999999999999999999999",
        "-99999999999",
        "1,5",
        " 2024-01-31",
        "2024-01-31T10:15:30.123456789012345678901234567890123456789012345678901234567890Z",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us;
        if (timestamp_parse(bytes_from_text(cases[i]), &us))
            fail_msg("\"%s\" was taken as %lld", cases[i], (long long)us);
    }
    int64_t us;
    assert_false(timestamp_parse(bytes_from("2024-01-31\0T10", 14), &us));
    assert_false(timestamp_parse(bytes_from("2024-01-31T10:15:30\xff", 20), &us));
}

/* Each form cut at every length: never reads past its end (the sanitizer watches), and agrees with
 * what the same bytes say elsewhere. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    const char text[] = "2024-01-31T10:15:30.123456+01:00";
    for (size_t size = 0; size < sizeof(text); size++) {
        char *copy = test_malloc(size + (size == 0));
        memcpy(copy, text, size);
        int64_t us;
        bool good = timestamp_parse(bytes_from(copy, size), &us);
        bool usable = (size >= 1 && size <= 4) || size == 10 || size == 13 || size == 16 ||
                      (size >= 19 && size <= 26) || size == 29 || size == 32;
        if (good != usable)
            fail_msg("cut at %zu: %d", size, good);
        test_free(copy);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double number;
        int64_t us;
    } cases[] = {
        {0, 0},
        {-1, -1000000},
        {1700000000, 1700000000000000LL},
        {1700000000.5, 1700000000500000LL},
        {1700000000.123456, 1700000000123456LL},
        {1700000000123.0, 1700000000123000LL},
        {1700000000123456.0, 1700000000123456LL},
        {1700000000123456000.0, 1700000000123456LL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us = 42;
        assert_true(timestamp_from_number(cases[i].number, &us));
        assert_int_equal(us, cases[i].us);
    }
    static const double bad[] = {(double)NAN, HUGE_VAL, -HUGE_VAL,     1e20,
                                 -1e20,       1e300,    -99999999999.0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t us;
        assert_false(timestamp_from_number(bad[i], &us));
    }
}

/* Every day of the 9,999 years, counted on by a calendar that knows nothing of the formulas,
 * through format, date and both parsers. */
static void test_every_day(void **state)
{
    (void)state;
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t us = -62135596800000000LL;
    for (int year = 1; year <= 9999; year++) {
        bool leap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= lengths[month - 1] + (leap && month == 2); day++) {
                char expected[64], text[TIMESTAMP_TEXT_BYTES], date[11];
                int hour;
                int64_t parsed;
                (void)snprintf(expected, sizeof(expected), "%04d-%02d-%02dT23:59:59+00:00", year,
                               month, day);
                assert_int_equal(timestamp_format(us + 86399000000LL, text), 25);
                assert_string_equal(text, expected);
                assert_true(timestamp_parse(bytes_from(text, 25), &parsed));
                assert_int_equal(parsed, us + 86399000000LL);
                timestamp_date_hour(us + 86399999999LL, date, &hour);
                assert_memory_equal(date, expected, 10);
                assert_int_equal(hour, 23);
                assert_true(timestamp_parse(bytes_from(date, 10), &parsed));
                assert_int_equal(parsed, us);
                us += 86400000000LL;
            }
        }
    }
    assert_int_equal(us, 253402300800000000LL);
}

/* ISO weeks, walked on from a Monday that is week 1 of year 1. */
static void test_every_week(void **state)
{
    (void)state;
    int64_t us = -62135596800000000LL; /* 0001-01-01 was a Monday */
    for (int year = 1; year < 9999;) {
        for (int week = 1;; week++) {
            char text[32];
            int64_t parsed;
            (void)snprintf(text, sizeof(text), "%04d-W%02d-4", year, week);
            int64_t thursday = us + 3 * 86400000000LL;
            char date[11];
            int hour;
            timestamp_date_hour(thursday, date, &hour);
            int thursday_year = (date[0] - '0') * 1000 + (date[1] - '0') * 100 +
                                (date[2] - '0') * 10 + date[3] - '0';
            bool good = timestamp_parse(bytes_from(text, 10), &parsed);
            assert_int_equal(good, thursday_year == year);
            if (!good) {
                year++;
                break;
            }
            assert_int_equal(parsed, thursday);
            us += 7 * 86400000000LL;
        }
    }
}

static void test_format(void **state)
{
    (void)state;
    char text[TIMESTAMP_TEXT_BYTES];
    assert_int_equal(timestamp_format(1706696130000001LL, text), 32);
    assert_string_equal(text, "2024-01-31T10:15:30.000001+00:00");
    assert_int_equal(timestamp_format(-1, text), 32);
    assert_string_equal(text, "1969-12-31T23:59:59.999999+00:00");
    (void)timestamp_format(INT64_MIN, text);
    assert_string_equal(text, "0001-01-01T00:00:00+00:00");
    (void)timestamp_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999999+00:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iso_forms),    cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_every_day),    cmocka_unit_test(test_every_week),
        cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
