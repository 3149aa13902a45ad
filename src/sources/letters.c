/*
 * Each letter is sent again once, whatever happens to the service in between:
 *
 *   A letter that is sent again is emitted, as a new message of its old dataset, in the same atomic
 *   group of the journal as the mark that says so. So recovery finds both or neither; from there on
 *   the message is like any other (contract/data.md "Delivery promise"). A letter with a mark is
 *   never emitted.
 *
 * The marks are the state of a source of our own, LETTERS_SOURCE_ID: for each file one, by the name
 * of the file, a bit a row. They are read and written through one ingest_source that lives as long
 * as we do: what it put is read back at once, so that a letter whose group is still on its way to
 * the disk is marked too. Calls take turns, so nobody reads a mark between another's reading and
 * writing it.
 *
 * Another replica has another journal, and does not see our marks: its letters (the journal's uuid
 * is in the name of the file) are its own to send, unless who asks says that they are not.
 *
 * Marks stay in every checkpoint of the journal, for good, so all together are bounded
 * (LETTERS_MARKS_MAX): tens of thousands of files.
 */
#include "sources/letters_parts.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>

#define TIMEOUT_MS 20000
#define TOTAL_KEY  BYTES_LITERAL("total")

enum { MARK_BITS = 'B' };

/* --- life ---------------------------------------------------------------------------------- */

enum err letters_new(const struct letters_options *options, struct letters **ret_letters)
{
    struct letters *letters = mem_zalloc(1, sizeof(*letters));
    if (!letters)
        return ERR_NO_MEMORY;
    letters->options = *options;
    if (letters->options.timeout_ms == 0)
        letters->options.timeout_ms = TIMEOUT_MS;
    mutex_init(&letters->lock);
    condition_init(&letters->changed);
    *ret_letters = letters;
    return ERR_OK;
}

void letters_open(struct letters *letters)
{
    mutex_lock(&letters->lock);
    letters->opened = true;
    mutex_unlock(&letters->lock);
}

static void ports_close(void *ctx)
{
    struct letters *letters = ctx;
    for (size_t i = 0; i < letters->port_count; i++)
        ingest_source_close(letters->ports[i].source);
    letters->port_count = 0;
}

void letters_stop(struct letters *letters)
{
    mutex_lock(&letters->lock);
    letters->stopping = true;
    condition_broadcast(&letters->changed);
    while (letters->busy)
        condition_wait(&letters->changed, &letters->lock);
    mutex_unlock(&letters->lock);
    loop_call(letters->options.loop, ports_close, letters);
}

void letters_free(struct letters *letters)
{
    if (!letters)
        return;
    condition_fini(&letters->changed);
    mutex_fini(&letters->lock);
    mem_free(letters);
}

/* --- turns --------------------------------------------------------------------------------- */

int64_t letters_deadline_ns(const struct letters *letters)
{
    return clock_monotonic_ns(letters->options.clock) + letters->options.timeout_ms * NS_PER_MS;
}

bool letters_is_stopping(struct letters *letters)
{
    mutex_lock(&letters->lock);
    bool stopping = letters->stopping;
    mutex_unlock(&letters->lock);
    return stopping;
}

enum err letters_begin(struct letters *letters, int64_t deadline_ns, struct diag *diag)
{
    enum err err = ERR_OK;
    mutex_lock(&letters->lock);
    while (letters->busy && !letters->stopping && err == ERR_OK) {
        int64_t left_ns = deadline_ns - clock_monotonic_ns(letters->options.clock);
        if (left_ns <= 0)
            err = diag_set(diag, ERR_BUSY,
                           "another request is at the dead letters: try again in a moment");
        else
            condition_wait_for(&letters->changed, &letters->lock, left_ns);
    }
    if (letters->stopping)
        err = diag_set(diag, ERR_STOPPED, "the service is stopping: ask again later");
    if (err == ERR_OK)
        letters->busy = true;
    mutex_unlock(&letters->lock);
    return err;
}

void letters_end(struct letters *letters)
{
    mutex_lock(&letters->lock);
    letters->busy = false;
    condition_broadcast(&letters->changed);
    mutex_unlock(&letters->lock);
}

/* --- ports --------------------------------------------------------------------------------- */

static void on_durable(void *ctx, uint64_t sequence, uint64_t block_number)
{
    struct letters_port *port = ctx;
    (void)block_number;
    mutex_lock(&port->letters->lock);
    port->durable = sequence;
    condition_broadcast(&port->letters->changed);
    mutex_unlock(&port->letters->lock);
}

static void on_pause(void *ctx)
{
    atomic_store(&((struct letters_port *)ctx)->paused, true);
}

static void on_resume(void *ctx)
{
    atomic_store(&((struct letters_port *)ctx)->paused, false);
}

static const struct ingest_source_ops port_ops = {on_durable, on_pause, on_resume};

enum err letters_port_get(struct letters *letters, const char *type, struct letters_port **ret_port)
{
    for (size_t i = 0; i < letters->port_count; i++) {
        if (strcmp(letters->ports[i].type, type) == 0) {
            *ret_port = &letters->ports[i];
            return ERR_OK;
        }
    }
    if (letters->port_count == LETTERS_PORTS_MAX)
        return ERR_TOO_MANY;
    struct letters_port *port = &letters->ports[letters->port_count];
    *port = (struct letters_port){.letters = letters};
    snprintf(port->type, sizeof(port->type), "%s", type);
    enum err err = ingest_source_open(letters->options.ingest, BYTES_LITERAL(LETTERS_SOURCE_ID),
                                      bytes_from_text(port->type), &port_ops, port, &port->source);
    if (err != ERR_OK)
        return err;
    letters->port_count++;
    *ret_port = port;
    return ERR_OK;
}

/* --- marks --------------------------------------------------------------------------------- */

void letters_mark_init(struct letters_mark *mark)
{
    *mark = (struct letters_mark){0};
    buf_init(&mark->bits, LETTERS_MARK_MAX);
}

void letters_mark_fini(struct letters_mark *mark)
{
    buf_fini(&mark->bits);
}

/* The name alone: it holds the journal's uuid and the position of the first letter. */
static struct bytes mark_key(const char *key)
{
    const char *slash = strrchr(key, '/');
    return bytes_from_text(slash ? slash + 1 : key);
}

static enum err marks_source(struct letters *letters, struct ingest_source **ret_source)
{
    struct letters_port *port;
    enum err err = letters_port_get(letters, LETTERS_SOURCE_ID, &port);
    *ret_source = err == ERR_OK ? port->source : NULL;
    return err;
}

enum err letters_mark_get(struct letters *letters, const char *key, struct letters_mark *mark)
{
    struct ingest_source *source;
    struct buf value;
    buf_clear(&mark->bits);
    mark->stored_bytes = 0;
    buf_init(&value, LETTERS_MARK_MAX + 1);
    enum err err = marks_source(letters, &source);
    if (err == ERR_OK)
        err = ingest_state_get(source, mark_key(key), &value);
    if (err == ERR_OK && (value.size == 0 || value.data[0] != MARK_BITS))
        err = ERR_VERSION;
    if (err == ERR_OK) {
        err = buf_append(&mark->bits, value.data + 1, value.size - 1);
        mark->stored_bytes = value.size + mark_key(key).size;
    }
    buf_fini(&value);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err total_get(struct ingest_source *source, uint64_t *ret_bytes)
{
    struct buf value;
    buf_init(&value, 64);
    *ret_bytes = 0;
    enum err err = ingest_state_get(source, TOTAL_KEY, &value);
    if (err == ERR_OK && value.size == sizeof(*ret_bytes))
        *ret_bytes = load_u64(value.data);
    buf_fini(&value);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err letters_mark_put(struct letters *letters, const char *key, struct letters_mark *mark)
{
    struct ingest_source *source;
    struct buf value;
    uint64_t total_bytes = 0;
    uint8_t encoded[sizeof(total_bytes)];
    buf_init(&value, LETTERS_MARK_MAX + 1);
    buf_byte(&value, MARK_BITS);
    enum err err = buf_append(&value, mark->bits.data, mark->bits.size);
    if (err == ERR_OK)
        err = marks_source(letters, &source);
    if (err == ERR_OK)
        err = total_get(source, &total_bytes);
    if (err == ERR_OK) {
        total_bytes += value.size + mark_key(key).size - mark->stored_bytes;
        store_u64(encoded, total_bytes);
        err = ingest_state_put(source, mark_key(key), buf_bytes(&value));
    }
    if (err == ERR_OK)
        err = ingest_state_put(source, TOTAL_KEY, bytes_from(encoded, sizeof(encoded)));
    if (err == ERR_OK)
        mark->stored_bytes = value.size + mark_key(key).size;
    buf_fini(&value);
    return err;
}

bool letters_mark_has(const struct letters_mark *mark, uint32_t row)
{
    return row / 8 < mark->bits.size && mark->bits.data[row / 8] >> row % 8 & 1;
}

enum err letters_mark_add(struct letters_mark *mark, uint32_t row)
{
    while (mark->bits.size <= row / 8)
        if (buf_byte(&mark->bits, 0) != ERR_OK)
            return mark->bits.err;
    mark->bits.data[row / 8] |= (uint8_t)(1u << row % 8);
    return ERR_OK;
}

struct mark_call {
    struct letters *letters;
    const char *key;
    struct letters_mark *mark;
    uint64_t total_bytes;
    enum err err;
};

static void mark_call_run(void *ctx)
{
    struct mark_call *call = ctx;
    struct ingest_source *source;
    call->err = letters_mark_get(call->letters, call->key, call->mark);
    if (call->err == ERR_OK)
        call->err = marks_source(call->letters, &source);
    if (call->err == ERR_OK)
        call->err = total_get(source, &call->total_bytes);
}

enum err letters_mark_load(struct letters *letters, const char *key, struct letters_mark *mark)
{
    struct mark_call call = {.letters = letters, .key = key, .mark = mark};
    loop_call(letters->options.loop, mark_call_run, &call);
    return call.err == ERR_OK && call.total_bytes > LETTERS_MARKS_MAX ? ERR_TOO_MANY : call.err;
}

/* --- the list ------------------------------------------------------------------------------ */

struct listing {
    struct letters *letters;
    enum err (*on_letter)(void *ctx, const struct letters_shown *shown);
    void *ctx;
};

static enum err listing_file(void *ctx, const char *key, const struct letter_file *file,
                             const uint32_t *rows, size_t count)
{
    struct listing *listing = ctx;
    struct letters_shown shown = {0};
    struct letters_mark mark;
    letters_mark_init(&mark);
    snprintf(shown.id.key, sizeof(shown.id.key), "%s", key);
    enum err err = letters_mark_load(listing->letters, key, &mark);
    if (err == ERR_TOO_MANY)
        err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        shown.id.row = rows[i];
        letter_file_get(file, rows[i], &shown.letter);
        shown.whole = letter_is_whole(&shown.letter);
        shown.replayed = letters_mark_has(&mark, rows[i]);
        err = listing->on_letter(listing->ctx, &shown);
    }
    letters_mark_fini(&mark);
    return err;
}

enum err letters_list(struct letters *letters, const struct letter_filter *filter,
                      const struct letter_id *after, size_t limit,
                      enum err (*on_letter)(void *ctx, const struct letters_shown *shown),
                      void *ctx, struct letter_found *ret_found, struct diag *diag)
{
    int64_t deadline_ns = letters_deadline_ns(letters);
    struct listing listing = {letters, on_letter, ctx};
    *ret_found = (struct letter_found){0};
    enum err err = letters_begin(letters, deadline_ns, diag);
    if (err != ERR_OK)
        return err;
    err = letter_search(
        &(struct letter_search){
            .store = letters->options.store,
            .filter = filter,
            .after = after,
            .limit = limit,
            .clock = letters->options.clock,
            .deadline_ns = deadline_ns,
            .on_file = listing_file,
            .ctx = &listing,
        },
        ret_found, diag);
    letters_end(letters);
    return err;
}
