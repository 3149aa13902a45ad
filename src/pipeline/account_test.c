#include "pipeline/account.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define DATASET BYTES_LITERAL("plant_a")

static const struct account_part parts[] = {{{(const uint8_t *)"one", 3}, 10, 2},
                                            {{(const uint8_t *)"two", 3}, 5, 0}};
static const struct account_part whole = {{(const uint8_t *)"one", 3}, 15, 2};

static void expect(struct account_book *book, const char *id, uint64_t stored, uint64_t rejected)
{
    struct account *account;
    assert_int_equal(account_get(book, bytes_from_text(id), &account), ERR_OK);
    assert_int_equal(account->stored, stored);
    assert_int_equal(account->rejected, rejected);
}

static void test_what_was_told_counts_once(void **state)
{
    struct account_book *book;
    (void)state;
    assert_int_equal(account_book_new(&book), ERR_OK);
    assert_int_equal(account_cut_tell(book, DATASET, 7, parts, 2), ERR_OK);
    account_uploaded(book, BYTES_LITERAL("plant_b"), 7, &whole);
    expect(book, "one", 13, 2);
    account_uploaded(book, DATASET, 7, &whole);
    expect(book, "one", 21, 4);
    expect(book, "two", 5, 0);
    account_uploaded(book, DATASET, 7, &whole);
    expect(book, "one", 34, 6);
    expect(book, "two", 5, 0);
    account_book_free(book);
}

static void test_what_was_forgotten_does_not(void **state)
{
    struct account_book *book;
    (void)state;
    assert_int_equal(account_book_new(&book), ERR_OK);
    assert_int_equal(account_cut_tell(book, DATASET, 7, parts, 2), ERR_OK);
    account_cut_forget(book, DATASET, 7);
    account_uploaded(book, DATASET, 7, &whole);
    expect(book, "one", 13, 2);
    expect(book, "two", 0, 0);
    assert_int_equal(account_cut_tell(book, DATASET, 8, parts, 2),
                     ERR_OK); /* freed with the book */
    account_book_free(book);
}

static void test_no_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        struct account_book *book;
        mem_fail_at(0);
        assert_int_equal(account_book_new(&book), ERR_OK);
        mem_fail_at(k);
        enum err err = account_cut_tell(book, DATASET, 7, parts, 2);
        failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        account_book_free(book);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_told_counts_once),
        cmocka_unit_test(test_what_was_forgotten_does_not),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
