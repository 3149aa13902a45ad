/* Sending dead letters again. A chunk of letters of one file is one group of the journal; its
 * routes are made on the thread of the call, all else on the loop's (letters.c has the invariant).
 */
#include "sources/letters_parts.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/limits.h"
#include "sources/manager_parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES    (16 * MIB) /* unless one letter alone has more */
#define CHUNK_LETTERS  1000
#define LETTER_COST    KIB
#define ARENA_BYTES    (96 * MIB)
#define RETRY_NS       (50 * NS_PER_MS)
#define ORIGIN_NAME    "replayed_from"
#define METADATA_DEPTH 16

struct again {
    struct route_view route;
    struct ingest_message message;
    char type[LETTERS_TYPE_BYTES];
    uint32_t row;
};

struct replay {
    struct letters *letters;
    const struct letters_wish *wish;
    struct letters_told told;
    struct diag *diag;
    int64_t deadline_ns;

    /* of the file */
    const char *key;
    struct letters_mark mark;

    /* of the chunk */
    struct arena arena;
    struct again *list; /* CHUNK_LETTERS */
    size_t count;
    size_t bytes;
    size_t emitted;
    enum err err;

    /* the source of the dataset looked up last */
    struct arena options_arena;
    struct common_options options;
    struct bytes options_of; /* in options_arena */
    bool options_found;
};

/* --- a letter as a message ----------------------------------------------------------------- */

static enum err text_keep(struct arena *arena, struct bytes text, struct bytes *ret_text)
{
    char *copy = arena_dup(arena, text.data, text.size);
    *ret_text = bytes_from(copy, text.size);
    return copy ? ERR_OK : ERR_NO_MEMORY;
}

static enum err field_add(struct arena *arena, struct route_view *route, const char *name,
                          enum field_type type, struct bytes constant)
{
    if (route->field_count == ROUTE_FIELDS_MAX)
        return ERR_OK;
    struct route_field *field = &route->fields[route->field_count];
    *field = (struct route_field){.type = type};
    enum err err = text_keep(arena, bytes_from_text(name), &field->name);
    if (err == ERR_OK)
        err = text_keep(arena, constant, &field->constant);
    route->field_count += err == ERR_OK;
    return err;
}

static enum err metadata_field_add(struct arena *arena, struct route_view *route, const char *name,
                                   const json_t *value)
{
    if (json_is_boolean(value)) {
        uint8_t flag = json_is_true(value);
        return field_add(arena, route, name, FIELD_BOOLEAN, bytes_from(&flag, 1));
    }
    if (json_is_number(value)) {
        double number = json_number_value(value);
        return field_add(arena, route, name, FIELD_DOUBLE, bytes_from(&number, sizeof(number)));
    }
    if (!json_is_string(value))
        return ERR_OK;
    struct bytes text = bytes_from(json_string_value(value), json_string_length(value));
    enum err err = field_add(arena, route, name, FIELD_STRING, text);
    if (err == ERR_OK && strcmp(name, "content_type") == 0)
        err = text_keep(arena, text, &route->content_type);
    return err;
}

/* What its connector said of it the first time. */
static enum err metadata_add(struct arena *arena, struct route_view *route, struct bytes metadata)
{
    enum err err = ERR_OK;
    json_t *json = json_loadb((const char *)metadata.data, metadata.size, JSON_ALLOW_NUL, NULL);
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        bool ours = strcmp(name, "ingestion_timestamp") == 0 || strcmp(name, ORIGIN_NAME) == 0;
        if (!ours && err == ERR_OK)
            err = metadata_field_add(arena, route, name, value);
    }
    json_decref(json);
    return err;
}

static enum err route_make(struct replay *replay, const struct letter_view *letter, uint32_t row,
                           struct route_view *route)
{
    char id[LETTER_ID_BYTES];
    struct arena *arena = &replay->arena;
    *route = (struct route_view){0};
    letter_id_format(replay->key, row, id);
    enum err err = text_keep(arena, letter->ingestion_id, &route->dataset_id);
    if (err == ERR_OK)
        err = text_keep(arena, letter->topic, &route->topic);
    if (err == ERR_OK)
        err = metadata_add(arena, route, letter->metadata);
    if (err == ERR_OK)
        err = field_add(arena, route, ORIGIN_NAME, FIELD_STRING, bytes_from_text(id));
    if (err != ERR_OK)
        return err;
    if (replay->options_found)
        common_options_route(&replay->options, route);
    if (replay->wish->has_format) {
        enum content_format format = replay->wish->format;
        if (format == CONTENT_AUTO)
            format = content_format_of_type(route->content_type);
        common_options_format(route, format);
    }
    return ERR_OK;
}

static enum err options_look(struct replay *replay, struct bytes dataset_id)
{
    if (replay->options_of.size == dataset_id.size && replay->options_of.size > 0 &&
        bytes_equal(replay->options_of, dataset_id))
        return ERR_OK;
    arena_reset(&replay->options_arena);
    replay->options_of = (struct bytes){0};
    enum err err =
        manager_common_options(replay->letters->options.manager, dataset_id, &replay->options_arena,
                               &replay->options, &replay->options_found, replay->diag);
    return err == ERR_OK ? text_keep(&replay->options_arena, dataset_id, &replay->options_of) : err;
}

/* NULL: it can be sent. */
static uint64_t *why_not(struct replay *replay, const struct letter_view *letter, uint32_t row)
{
    struct letters_told *told = &replay->told;
    size_t size_max =
        replay->options_found ? replay->options.message_max_bytes : LIMIT_MESSAGE_BYTES_MAX;
    if (letters_mark_has(&replay->mark, row))
        return &told->already;
    if (!letter_is_whole(letter) || letter->ingestion_id.size == 0 ||
        letter->ingestion_id.size > LIMIT_DATASET_ID_BYTES || letter->source_type.size == 0 ||
        letter->source_type.size >= LETTERS_TYPE_BYTES)
        return &told->incomplete;
    if (!replay->options_found && !replay->wish->has_format)
        return &told->no_source;
    return letter->payload.size > size_max ? &told->too_large : NULL;
}

/* --- a chunk, on the loop ------------------------------------------------------------------ */

static enum err again_emit(struct letters *letters, const struct again *again)
{
    struct letters_port *port;
    struct ingest_route *route = NULL;
    enum err err = letters_port_get(letters, again->type, &port);
    if (err == ERR_OK)
        err = ingest_route_new(port->source, &again->route, &route);
    if (err == ERR_OK)
        err = ingest_emit(route, &again->message, &port->emitted);
    ingest_route_free(route);
    return err;
}

/* Goes on where it failed the last time; the group is open until all is in. What will never go in
 * gets no mark. */
static void chunk_run(void *ctx)
{
    struct replay *replay = ctx;
    struct letters *letters = replay->letters;
    struct ingest_source *source = letters->ports[0].source;
    if (!letters->group_open)
        ingest_group_begin(source);
    letters->group_open = true;
    replay->err = ERR_OK;
    while (replay->emitted < replay->count && replay->err == ERR_OK) {
        const struct again *again = &replay->list[replay->emitted];
        enum err err = again_emit(letters, again);
        bool never = err != ERR_OK && err_class(err) != ERR_CLASS_RETRY;
        if (err == ERR_OK)
            err = letters_mark_add(&replay->mark, again->row); /* has room: see chunk_add */
        replay->told.incomplete += never;
        replay->told.replayed += err == ERR_OK;
        replay->err = never ? ERR_OK : err;
        replay->emitted += replay->err == ERR_OK;
    }
    if (replay->err == ERR_OK)
        replay->err = letters_mark_put(letters, replay->key, &replay->mark);
    if (replay->err != ERR_OK)
        return;
    letters->group_open = false;
    ingest_group_end(source);
}

/* --- a chunk, on the thread of the call ---------------------------------------------------- */

static bool all_durable(const struct letters *letters)
{
    for (size_t i = 0; i < letters->port_count; i++)
        if (letters->ports[i].durable < letters->ports[i].emitted)
            return false;
    return true;
}

static enum err durable_wait(struct replay *replay)
{
    struct letters *letters = replay->letters;
    enum err err = ERR_OK;
    mutex_lock(&letters->lock);
    while (!all_durable(letters) && err == ERR_OK) {
        int64_t left_ns = replay->deadline_ns - clock_monotonic_ns(letters->options.clock);
        if (letters->stopping || left_ns <= 0)
            err = diag_set(replay->diag, ERR_TIMEOUT,
                           "the letters are on their way, but not known to be durable yet: ask "
                           "again, nothing is doubled");
        else
            condition_wait_for(&letters->changed, &letters->lock, left_ns);
    }
    mutex_unlock(&letters->lock);
    return err;
}

static void rest(struct letters *letters)
{
    mutex_lock(&letters->lock);
    if (!letters->stopping)
        condition_wait_for(&letters->changed, &letters->lock, RETRY_NS);
    mutex_unlock(&letters->lock);
}

static bool is_paused(struct letters *letters)
{
    for (size_t i = 0; i < letters->port_count; i++)
        if (atomic_load(&letters->ports[i].paused))
            return true;
    return false;
}

/* A group once begun is brought to its end: what others on the loop emit waits for it. At a stop it
 * stays without an end, and recovery drops it whole. */
static enum err chunk_send(struct replay *replay)
{
    struct letters *letters = replay->letters;
    if (replay->count == 0)
        return ERR_OK;
    if (is_paused(letters))
        return diag_set(replay->diag, ERR_NO_SPACE,
                        "the journal or the memory is full, sources are paused: try again later");
    replay->emitted = 0;
    uint64_t before = replay->told.replayed;
    do {
        loop_call(letters->options.loop, chunk_run, replay);
        if (replay->err != ERR_OK)
            rest(letters);
    } while (replay->err != ERR_OK && !letters_is_stopping(letters));
    enum err err = replay->err == ERR_OK ? durable_wait(replay)
                                         : diag_set(replay->diag, ERR_STOPPED, "the service stops");
    if (err != ERR_OK)
        replay->told.replayed = before;
    replay->count = 0;
    replay->bytes = 0;
    arena_reset(&replay->arena);
    return err;
}

/* Room for the row's mark is made here, where a failure harms nothing. */
static enum err mark_reserve(struct letters_mark *mark, uint32_t row)
{
    while (mark->bits.size <= row / 8)
        if (buf_byte(&mark->bits, 0) != ERR_OK)
            return mark->bits.err;
    return ERR_OK;
}

static enum err chunk_add(struct replay *replay, const struct letter_view *letter, uint32_t row)
{
    size_t bytes = letter->payload.size + letter->metadata.size + letter->topic.size + LETTER_COST;
    enum err err = ERR_OK;
    if (replay->count == CHUNK_LETTERS ||
        (replay->count > 0 && replay->bytes + bytes > CHUNK_BYTES))
        err = chunk_send(replay);
    struct again *again = &replay->list[replay->count];
    if (err == ERR_OK)
        err = mark_reserve(&replay->mark, row);
    if (err == ERR_OK)
        err = route_make(replay, letter, row, &again->route);
    if (err != ERR_OK)
        return err;
    again->message = (struct ingest_message){
        .payload = letter->payload, /* the file's, which outlives the chunk */
        .arrival_us = letter->received_us,
        .wants_acknowledgement = true,
    };
    snprintf(again->type, sizeof(again->type), "%.*s", (int)letter->source_type.size,
             (const char *)letter->source_type.data);
    again->row = row;
    replay->count++;
    replay->bytes += bytes;
    return ERR_OK;
}

/* --- files --------------------------------------------------------------------------------- */

static bool is_own(const struct replay *replay)
{
    const char *name = strrchr(replay->key, '/');
    const char *uuid = replay->letters->options.journal_uuid;
    return name && strncmp(name, "/part-", 6) == 0 && strncmp(name + 6, uuid, strlen(uuid)) == 0;
}

static enum err file_rows(struct replay *replay, const struct letter_file *file,
                          const uint32_t *rows, size_t count)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct letter_view letter;
        letter_file_get(file, rows[i], &letter);
        err = options_look(replay, letter.ingestion_id);
        if (err != ERR_OK)
            break;
        uint64_t *why = why_not(replay, &letter, rows[i]);
        if (why)
            (*why)++;
        else
            err = chunk_add(replay, &letter, rows[i]);
    }
    return err == ERR_OK ? chunk_send(replay) : err;
}

static enum err on_file(void *ctx, const char *key, const struct letter_file *file,
                        const uint32_t *rows, size_t count)
{
    struct replay *replay = ctx;
    replay->key = key;
    if (!is_own(replay) && !replay->wish->other_journals) {
        replay->told.other_journal += count;
        return ERR_OK;
    }
    enum err err = letters_mark_load(replay->letters, key, &replay->mark);
    if (err == ERR_TOO_MANY)
        return diag_set(replay->diag, err,
                        "so many dead letters were sent again that no more can be remembered: "
                        "publish what is left again, from the lake");
    if (err == ERR_OK)
        err = file_rows(replay, file, rows, count);
    replay->count = 0; /* what a failure left */
    replay->bytes = 0;
    arena_reset(&replay->arena);
    return err;
}

static int by_id(const void *a, const void *b)
{
    const struct letter_id *left = a;
    const struct letter_id *right = b;
    int order = strcmp(right->key, left->key);
    return order != 0 ? order : (left->row < right->row) - (left->row > right->row);
}

static enum err ids_replay(const struct letter_search *search, struct letters_wish *wish,
                           struct letters_told *told, struct diag *diag)
{
    struct letter_id *ids = mem_zalloc(wish->id_count, sizeof(*ids));
    uint32_t *rows = mem_zalloc(wish->id_count, sizeof(*rows));
    enum err err = ids && rows ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK) {
        memcpy(ids, wish->ids, wish->id_count * sizeof(*ids));
        qsort(ids, wish->id_count, sizeof(*ids), by_id);
    }
    for (size_t i = 0; i < wish->id_count && err == ERR_OK;) {
        size_t count = 0, first = i;
        for (; i < wish->id_count && strcmp(ids[i].key, ids[first].key) == 0; i++)
            if (count == 0 || rows[count - 1] != ids[i].row)
                rows[count++] = ids[i].row;
        err = letter_search_rows(search, ids[first].key, rows, count, diag);
        if (err == ERR_NOT_FOUND) {
            told->not_found += count;
            err = ERR_OK;
        }
    }
    mem_free(ids);
    mem_free(rows);
    return err;
}

static enum err replay_run(struct replay *replay, struct letters_wish *wish, struct diag *diag)
{
    const struct letters_options *options = &replay->letters->options;
    const struct letter_search search = {
        .store = options->store,
        .filter = wish->filter,
        .after = wish->after,
        .limit = wish->limit,
        .clock = options->clock,
        .deadline_ns = replay->deadline_ns,
        .on_file = on_file,
        .ctx = replay,
    };
    arena_init(&replay->arena, ARENA_BYTES);
    arena_init(&replay->options_arena, 4 * MIB);
    letters_mark_init(&replay->mark);
    replay->list = mem_zalloc(CHUNK_LETTERS, sizeof(*replay->list));
    enum err err = replay->list ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = wish->id_count > 0 ? ids_replay(&search, wish, &replay->told, diag)
                                 : letter_search(&search, &replay->told.found, diag);
    mem_free(replay->list);
    letters_mark_fini(&replay->mark);
    arena_fini(&replay->options_arena);
    arena_fini(&replay->arena);
    return err;
}

enum err letters_replay(struct letters *letters, struct letters_wish *wish,
                        struct letters_told *ret_told, struct diag *diag)
{
    struct replay replay = {.letters = letters,
                            .wish = wish,
                            .diag = diag,
                            .deadline_ns = letters_deadline_ns(letters)};
    *ret_told = replay.told;
    enum err err = letters_begin(letters, replay.deadline_ns, diag);
    if (err != ERR_OK)
        return err;
    mutex_lock(&letters->lock);
    bool opened = letters->opened;
    mutex_unlock(&letters->lock);
    err = opened ? replay_run(&replay, wish, diag)
                 : diag_set(diag, ERR_BUSY,
                            "the service is still replaying its journal: try again later");
    letters_end(letters);
    *ret_told = replay.told;
    return err;
}
