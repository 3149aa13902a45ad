#include "connectors/rest/rest_emit.h"

#include "base/limits.h"
#include "codec/timestamp.h"

#include <stdio.h>

#define PACKED_BYTES   (64 * KIB)
#define PACKED_RECORDS 10000
#define TOPIC_ID_BYTES (256 * KIB)

void rest_emit_init(struct rest_emit *emit, const struct rest_config *config, const char *source_id,
                    struct ingest_source *source, struct rest_state *state)
{
    *emit = (struct rest_emit){
        .config = config, .source_id = source_id, .source = source, .state = state};
    buf_init(&emit->state_text, REST_STATE_BYTES_MAX);
    buf_init(&emit->scratch, LIMIT_MESSAGE_BYTES_MAX + 16);
}

void rest_emit_fini(struct rest_emit *emit)
{
    if (emit->open)
        ingest_group_end(emit->source);
    emit->open = false;
    buf_fini(&emit->state_text);
    buf_fini(&emit->scratch);
}

enum err rest_emit_recover(struct rest_emit *emit)
{
    enum err err = ingest_state_get(emit->source, BYTES_LITERAL(REST_STATE_KEY), &emit->state_text);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err == ERR_OK)
        err = rest_state_read(emit->state, emit->config, buf_bytes(&emit->state_text));
    return err;
}

/* --- the route -------------------------------------------------------------------------------- */

/* REST's records go to the source's own dataset, unless an option says otherwise. */
static enum err dataset_id(const struct rest_emit *emit, struct buf *out)
{
    const struct common_options *options = &emit->config->common;
    if (!options->dataset && options->dataset_levels == 0)
        return buf_text(out, emit->source_id);
    return common_options_dataset_id(options, emit->source_id, bytes_from_text(emit->config->topic),
                                     out);
}

static struct route_field text_field(const char *name, struct bytes text)
{
    /* a field that is per message and given with none is null */
    return (struct route_field){.name = bytes_from_text(name),
                                .type = FIELD_STRING,
                                .per_message = text.size == 0,
                                .constant = text};
}

static enum content_format format_of(const struct rest_config *config, const struct rest_page *page)
{
    if (page->records.kind == REST_BODY_JSON)
        return CONTENT_JSON;
    if (content_format_converts(page->format))
        return page->format;
    return config->common.format == CONTENT_AUTO ? CONTENT_TEXT : config->common.format;
}

static enum err route_make(const struct rest_emit *emit, const struct rest_page *page,
                           struct ingest_route **ret_route)
{
    const struct rest_config *config = emit->config;
    char fetched[TIMESTAMP_TEXT_BYTES];
    double status = (double)page->status;
    size_t fetched_size = timestamp_format(page->arrived_us, fetched);
    struct bytes content_type = buf_bytes(&page->content_type);
    struct buf id;
    buf_init(&id, TOPIC_ID_BYTES);
    enum err err = dataset_id(emit, &id);
    struct route_view view = {
        .dataset_id = buf_bytes(&id),
        .topic = bytes_from_text(config->topic),
        .content_type = content_type,
        .field_count = 5,
        .fields = {text_field("source_url", bytes_from_text(config->source)),
                   {.name = BYTES_LITERAL("http_status"),
                    .type = FIELD_DOUBLE,
                    .constant = bytes_from(&status, sizeof(status))},
                   text_field("content_type", content_type),
                   text_field("fetch_timestamp", bytes_from(fetched, fetched_size)),
                   text_field("method", bytes_from_text(config->is_post ? "POST" : "GET"))},
    };
    common_options_route(&config->common, &view);
    common_options_format(&view, page->format);
    view.format = format_of(config, page);
    if (err == ERR_OK)
        err = ingest_route_new(emit->source, &view, ret_route);
    buf_fini(&id);
    return err;
}

/* --- records ---------------------------------------------------------------------------------- */

struct page_emission {
    struct rest_emit *emit;
    const struct rest_page *page;
    struct ingest_route *route;
};

static enum err message_emit(struct page_emission *emission, struct bytes payload, uint64_t records)
{
    struct rest_emit *emit = emission->emit;
    size_t size_max = emit->config->common.message_max_bytes;
    struct ingest_message message = {.payload = payload, .arrival_us = emission->page->arrived_us};
    char detail[120];
    enum err err;
    if (payload.size <= size_max) {
        err = ingest_emit(emission->route, &message, &emit->sequence);
    } else {
        snprintf(detail, sizeof(detail),
                 "the record has %zu bytes, the source takes %zu (max_message_bytes)", payload.size,
                 size_max);
        err = ingest_reject(emission->route, &message, "oversize", detail, &emit->sequence);
        emit->oversize += err == ERR_OK;
    }
    if (err == ERR_OK) {
        emit->record += records;
        emit->records += records;
    }
    return err;
}

/* A record of the last poll's edge, from a server that answers with what is greater or equal. */
static bool is_repeated(const struct page_emission *emission, struct bytes record)
{
    const struct rest_emit *emit = emission->emit;
    struct bytes value;
    return emit->config->has_cursor && emission->page->records.kind == REST_BODY_JSON &&
           rest_path_first(&emit->config->cursor_field, record, &value) &&
           rest_cursor_knows(&emit->state->cursor, value, record);
}

static enum err record_pass(struct page_emission *emission, struct bytes record)
{
    ingest_count_repeated(emission->route, record.size);
    emission->emit->record++;
    emission->emit->repeated++;
    return ERR_OK;
}

/* An array that stands in an array is one record: as the only element of one it stays so. */
static enum err record_emit(void *ctx, struct bytes record, bool is_element)
{
    struct page_emission *emission = ctx;
    struct buf *scratch = &emission->emit->scratch;
    if (is_repeated(emission, record))
        return record_pass(emission, record);
    if (!is_element || record.data[0] != '[')
        return message_emit(emission, record, 1);
    buf_clear(scratch);
    buf_byte(scratch, '[');
    buf_append(scratch, record.data, record.size);
    enum err err = buf_byte(scratch, ']');
    return err == ERR_OK ? message_emit(emission, buf_bytes(scratch), 1) : err;
}

static enum err pack_emit(struct page_emission *emission)
{
    struct rest_emit *emit = emission->emit;
    if (emit->scratch_records == 0)
        return ERR_OK;
    enum err err = buf_byte(&emit->scratch, ']');
    if (err == ERR_OK)
        err = message_emit(emission, buf_bytes(&emit->scratch), emit->scratch_records);
    buf_clear(&emit->scratch);
    emit->scratch_records = 0;
    return err;
}

static enum err record_pack(void *ctx, struct bytes record, bool is_element)
{
    struct page_emission *emission = ctx;
    struct rest_emit *emit = emission->emit;
    size_t size_max = emit->config->common.message_max_bytes;
    size_t pack_max = size_max < PACKED_BYTES ? size_max : PACKED_BYTES;
    enum err err = ERR_OK;
    bool fits =
        emit->scratch.size + record.size + 2 <= pack_max && emit->scratch_records < PACKED_RECORDS;
    bool alone = record.size + 2 > pack_max || is_repeated(emission, record);
    if (!fits || alone)
        err = pack_emit(emission); /* before it, so that the count of what is done stays true */
    if (err != ERR_OK)
        return err;
    if (alone)
        return record_emit(ctx, record, is_element);
    buf_byte(&emit->scratch, emit->scratch_records == 0 ? '[' : ',');
    emit->scratch_records++;
    return buf_append(&emit->scratch, record.data, record.size);
}

static enum err page_emit(struct rest_emit *emit, const struct rest_page *page)
{
    struct page_emission emission = {.emit = emit, .page = page};
    if (page->records.record_count == 0)
        return ERR_OK;
    enum err err = route_make(emit, page, &emission.route);
    if (err != ERR_OK)
        return err;
    bool packed = emit->packed && page->records.kind == REST_BODY_JSON;
    buf_clear(&emit->scratch);
    emit->scratch_records = 0;
    err =
        rest_body_each(&page->records, emit->record, packed ? record_pack : record_emit, &emission);
    if (err == ERR_OK && packed)
        err = pack_emit(&emission);
    ingest_route_free(emission.route);
    return err;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Where the records lead to. */
static void state_advance(struct rest_emit *emit, const struct rest_poll *poll)
{
    struct rest_state *state = emit->state;
    buf_clear(&state->resume);
    if (poll->position.size > 0) { /* pages are still to be read */
        state->resume_cursor = poll->cursor;
        enum err err = buf_append(&state->resume, poll->position.data, poll->position.size);
        if (err == ERR_OK)
            return;
    }
    state->cursor = poll->cursor;
    rest_poll_validators(poll, state);
}

static enum err state_put(struct rest_emit *emit)
{
    struct buf text;
    buf_init(&text, REST_STATE_BYTES_MAX);
    enum err err = rest_state_write(emit->state, emit->config, &text);
    if (err == ERR_OK && !bytes_equal(buf_bytes(&text), buf_bytes(&emit->state_text))) {
        err = ingest_state_put(emit->source, BYTES_LITERAL(REST_STATE_KEY), buf_bytes(&text));
        if (err == ERR_OK) {
            struct buf old = emit->state_text;
            emit->state_text = text;
            text = old;
        }
    }
    buf_fini(&text);
    return err;
}

static void group_begin(struct rest_emit *emit, const struct rest_poll *poll)
{
    uint64_t records = 0, bytes = 0;
    for (uint32_t i = 0; i < poll->kept_count; i++) {
        records += poll->pages[i].records.record_count;
        bytes += poll->pages[i].records.record_bytes;
    }
    emit->packed = ingest_group_bytes(records, bytes) > INGEST_GROUP_BYTES_MAX;
    emit->open = true;
    emit->page = 0;
    emit->record = 0;
    ingest_group_begin(emit->source);
}

enum err rest_emit_run(struct rest_emit *emit, const struct rest_poll *poll)
{
    if (!emit->open)
        group_begin(emit, poll);
    for (; emit->page < poll->kept_count; emit->page++, emit->record = 0) {
        enum err err = page_emit(emit, &poll->pages[emit->page]);
        if (err != ERR_OK)
            return err;
    }
    state_advance(emit, poll);
    enum err err = state_put(emit);
    if (err != ERR_OK)
        return err;
    emit->open = false;
    ingest_group_end(emit->source);
    return ERR_OK;
}
