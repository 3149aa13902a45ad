/* JSON: both dialects, skipping, unescaping, rewriting. What was rewritten must be JSON again, and
 * rewriting it must change nothing. */
#include "base/buf.h"
#include "codec/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition)
{
    if (!condition)
        abort();
}

static void compact_again(struct bytes text, enum json_nan nan)
{
    struct buf once;
    struct buf twice;
    buf_init(&once, 8 * MIB);
    buf_init(&twice, 8 * MIB);
    check(json_compact(&once, text, nan) == ERR_OK);
    check(json_validate(buf_bytes(&once), true) == ERR_OK);
    check(json_compact(&twice, buf_bytes(&once), nan) == ERR_OK);
    check(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
    buf_fini(&once);
    buf_fini(&twice);
}

static void unique_again(struct bytes text)
{
    struct buf once;
    struct buf twice;
    bool repeated;
    buf_init(&once, 8 * MIB);
    buf_init(&twice, 8 * MIB);
    check(json_unique(&once, text, 17, &repeated) == ERR_OK);
    check(json_validate(buf_bytes(&once), false) == ERR_OK);
    check(json_unique(&twice, buf_bytes(&once), 17, &repeated) == ERR_OK);
    check(!repeated && bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
    buf_fini(&once);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = {data, size};
    bool strict = json_validate(text, true) == ERR_OK;
    bool device = json_validate(text, false) == ERR_OK;
    check(!strict || device);
    if (!device)
        return 0;
    compact_again(text, JSON_NAN_TEXT);
    compact_again(text, JSON_NAN_NULL);
    unique_again(text);
    return 0;
}
