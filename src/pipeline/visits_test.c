#include "pipeline/visits.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BLOCKS 3
#define ROUTES 500

static uint64_t hash_of(uint32_t route)
{
    return (route + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

/* Blocks with routes in different orders; every seventh has no message. */
static void blocks_make(struct block *blocks, struct block_route routes[BLOCKS][ROUTES])
{
    for (uint32_t b = 0; b < BLOCKS; b++) {
        for (uint32_t i = 0; i < ROUTES; i++)
            routes[b][i] = (struct block_route){.dataset_hash = hash_of((i * 7 + b * 11) % ROUTES),
                                                .message_count = i % 7 != 0};
        blocks[b] = (struct block){.routes = routes[b], .route_count = ROUTES};
    }
}

static void check_share(const struct visits *visits, struct block *blocks, uint32_t worker)
{
    static bool seen[BLOCKS][ROUTES];
    size_t expected = 0;
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < visits->count; i++) {
        const struct visit *visit = &visits->ordered[i];
        assert_false(seen[visit->block][visit->route]);
        seen[visit->block][visit->route] = true;
    }
    for (uint32_t b = 0; b < BLOCKS; b++) {
        for (uint32_t i = 0; i < ROUTES; i++) {
            bool ours = blocks[b].routes[i].message_count > 0 &&
                        blocks[b].routes[i].dataset_hash % 2 == worker;
            assert_int_equal(seen[b][i], ours);
            expected += ours;
        }
    }
    assert_int_equal(visits->count, expected);
}

static void test_order(void **state)
{
    (void)state;
    static struct block_route routes[BLOCKS][ROUTES];
    struct block blocks[BLOCKS];
    struct visits visits;
    blocks_make(blocks, routes);
    visits_init(&visits);
    for (uint32_t worker = 0; worker < 2; worker++) {
        visits_clear(&visits);
        for (uint16_t b = 0; b < BLOCKS; b++)
            assert_int_equal(visits_add(&visits, &blocks[b], b, worker, 2), ERR_OK);
        visits_order(&visits);
        check_share(&visits, blocks, worker);
        for (size_t bucket = 0, i = 0; bucket < VISITS_BUCKETS; bucket++) {
            size_t begin = i;
            for (; i < visits.ends[bucket]; i++) {
                assert_int_equal(visits.ordered[i].bucket, bucket);
                if (i == begin)
                    continue;
                const struct visit *before = &visits.ordered[i - 1];
                const struct visit *visit = &visits.ordered[i];
                assert_true(before->block < visit->block ||
                            (before->block == visit->block && before->route < visit->route));
            }
        }
        assert_int_equal(visits.ends[VISITS_BUCKETS - 1], visits.count);
    }
    visits_fini(&visits);
}

static void test_no_memory(void **state)
{
    (void)state;
    static struct block_route routes[BLOCKS][ROUTES];
    struct block blocks[BLOCKS];
    struct visits visits;
    blocks_make(blocks, routes);
    for (uint64_t k = 1;; k++) {
        visits_init(&visits);
        assert_int_equal(visits_add(&visits, &blocks[0], 0, 0, 1), ERR_OK);
        size_t before = visits.count;
        mem_fail_at(k);
        enum err err = visits_add(&visits, &blocks[1], 1, 0, 1);
        bool failed = mem_failed();
        mem_fail_at(0);
        assert_int_equal(err, failed ? ERR_NO_MEMORY : ERR_OK);
        if (failed)
            assert_int_equal(visits.count, before);
        visits_order(&visits);
        assert_int_equal(visits.ends[VISITS_BUCKETS - 1], visits.count);
        visits_fini(&visits);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
