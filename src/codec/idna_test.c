#include "codec/idna.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static enum err answer_to(const char *punycode)
{
    /* An exact copy, so that a sanitizer sees a read past the end. */
    size_t size = strlen(punycode);
    uint8_t *copy = mem_alloc(size);
    assert_non_null(copy);
    memcpy(copy, punycode, size);
    enum err err = idna_label_check(bytes_from(copy, size));
    mem_free(copy);
    return err;
}

static void real_labels_are_good(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "mnchen-3ya", "MNCHEN-3YA", "wgbh1c", "fiqs8s", "p1ai", "bcher-kva",
    };
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
        assert_int_equal(answer_to(labels[i]), ERR_OK);
}

static void others_are_not(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "",          /* nothing */
        "abc-",      /* plain ASCII */
        "X",         /* ends in a number */
        "99999999",  /* beyond 32 bits */
        "a-\x7f",    /* no digit */
        "-",         /* nothing */
        "n3h",       /* U+2603: a symbol */
        "hello-txk", /* begins with a mark */
        "al-0ea",    /* a middle dot that is not between l and l */
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-3ya",
    };
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
        assert_int_equal(answer_to(labels[i]), ERR_INVALID);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    for (uint64_t k = 1;; k++) {
        mem_fail_at(k);
        enum err err = idna_label_check(BYTES_LITERAL("mnchen-3ya"));
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_labels_are_good),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
