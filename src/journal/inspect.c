#include "journal/inspect.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "journal/ledger.h"
#include "journal/record.h"
#include "journal/segment.h"

#include <stdlib.h>

#define SEGMENTS_MAX   100000
#define LINE_BYTES_MAX (512 * MIB) /* a payload of 56 MiB, each byte escaped */

struct named {
    struct segment segment;
    struct segment_header header;
    bool good, copy;
    char problem[256];
};

struct inspection {
    const struct fs *fs;
    const char *folder;
    const struct inspect_options *options;
    FILE *out;
    struct diag *diag;
    struct named *segments;
    size_t count, capacity;
    struct buf line;
    const struct named *current;
    uint64_t blocks, messages, damages;
};

static enum err line_end(struct inspection *inspection)
{
    struct buf *line = &inspection->line;
    buf_byte(line, '\n');
    enum err err = line->err;
    if (err == ERR_OK && fwrite(line->data, 1, line->size, inspection->out) != line->size)
        err = diag_set(inspection->diag, ERR_IO, "cannot write the listing");
    buf_clear(line);
    return err;
}

static const char *kind_name(uint16_t kind)
{
    static const char *const names[] = {"?", "data", "control", "checkpoint", "empty"};
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static const char *record_name(uint32_t kind)
{
    switch (kind) {
    case RECORD_ROUTE:
        return "route";
    case RECORD_MESSAGE:
        return "message";
    case RECORD_STATE:
        return "state";
    case RECORD_SESSION:
        return "session";
    case RECORD_IDENTITY_FREE:
        return "identity_free";
    case RECORD_LANDED:
        return "landed";
    case RECORD_UPLOADED:
        return "uploaded";
    case CHECKPOINT_SEGMENT:
        return "checkpoint_segment";
    case CHECKPOINT_TOTALS:
        return "checkpoint_totals";
    case CHECKPOINT_DATASET:
        return "checkpoint_dataset";
    case CHECKPOINT_PENDING:
        return "checkpoint_pending";
    case CHECKPOINT_STATE:
        return "checkpoint_state";
    case CHECKPOINT_IDENTITIES:
        return "checkpoint_identities";
    case CHECKPOINT_END:
        return "checkpoint_end";
    default:
        return "unknown";
    }
}

/* ---- members of a line: JSON, or name=value ---- */

static void member_name(struct inspection *inspection, const char *name)
{
    struct buf *line = &inspection->line;
    if (inspection->options->json)
        buf_printf(line, ",\"%s\":", name);
    else
        buf_printf(line, " %s=", name);
}

static void member_u64(struct inspection *inspection, const char *name, uint64_t value)
{
    member_name(inspection, name);
    buf_printf(&inspection->line, "%llu", (unsigned long long)value);
}

/* In text too as a JSON string, so that no payload can move the terminal's cursor. */
static void member_text(struct inspection *inspection, const char *name, struct bytes text)
{
    member_name(inspection, name);
    buf_json_string(&inspection->line, text);
}

static void line_begin(struct inspection *inspection, const char *what, const char *indent)
{
    buf_clear(&inspection->line);
    if (inspection->options->json)
        buf_printf(&inspection->line, "{\"what\":\"%s\"", what);
    else
        buf_printf(&inspection->line, "%s%s", indent, what);
}

static enum err line_close(struct inspection *inspection)
{
    if (inspection->options->json)
        buf_byte(&inspection->line, '}');
    return line_end(inspection);
}

/* ---- records ---- */

static void payload_members(struct inspection *inspection, struct bytes payload)
{
    const struct inspect_options *options = inspection->options;
    member_u64(inspection, "payload_bytes", payload.size);
    if (!options->payloads)
        return;
    if (options->payload_bytes_max && payload.size > options->payload_bytes_max)
        payload.size = options->payload_bytes_max;
    member_text(inspection, "payload", payload);
}

static enum err message_print(struct inspection *inspection, const struct block *block,
                              uint32_t index)
{
    struct message_view message;
    struct route_view route;
    block_message_get(block, index, &message);
    block_route_get(block, message.route_index, &route);
    line_begin(inspection, "message", "    ");
    member_u64(inspection, "block", block->number);
    member_u64(inspection, "index", index);
    member_text(inspection, "dataset", route.dataset_id);
    member_u64(inspection, "arrival_us", (uint64_t)message.arrival_us);
    if (message.flags & MESSAGE_IDENTITY)
        member_u64(inspection, "packet_identifier", message.packet_identifier);
    if (message.flags & MESSAGE_DEAD_LETTER)
        member_u64(inspection, "dead_letter", 1);
    payload_members(inspection, message.payload);
    return line_close(inspection);
}

static void landed_members(struct inspection *inspection, struct bytes body)
{
    struct landed landed;
    struct landed_file *files = NULL;
    if (record_landed_decode(body, &landed, &files) != ERR_OK)
        return;
    member_u64(inspection, "cut", landed.cut_id);
    member_text(inspection, "dataset", landed.dataset_id);
    member_u64(inspection, "after", landed.after);
    member_u64(inspection, "through", landed.through);
    member_u64(inspection, "messages", landed.messages);
    member_u64(inspection, "files", landed.file_count);
    if (landed.file_count > 0)
        member_text(inspection, "key", landed.files[0].key);
    mem_free(files);
}

static void record_members(struct inspection *inspection, const struct record_view *record)
{
    struct record_reader reader = record_reader_of(record->body);
    struct record_state state;
    uint64_t cut_id;
    switch ((uint32_t)record->kind) {
    case RECORD_LANDED:
    case CHECKPOINT_PENDING:
        landed_members(inspection, record->body);
        break;
    case RECORD_UPLOADED:
        if (record_uploaded_decode(record->body, &cut_id) == ERR_OK)
            member_u64(inspection, "cut", cut_id);
        break;
    case RECORD_STATE:
    case CHECKPOINT_STATE:
        if (record_state_decode(record->body, &state) != ERR_OK)
            break;
        member_text(inspection, "source", state.source_id);
        member_text(inspection, "key", state.key);
        member_u64(inspection, "value_bytes", state.value.size);
        break;
    case CHECKPOINT_DATASET:
        member_text(inspection, "dataset", record_text16(&reader));
        member_u64(inspection, "landed_through", record_u64(&reader));
        break;
    case CHECKPOINT_TOTALS:
        member_u64(inspection, "applied_through", record_u64(&reader));
        break;
    default:
        member_u64(inspection, "bytes", record->body.size);
    }
}

static enum err route_print(struct inspection *inspection, const struct block *block,
                            uint32_t index)
{
    struct route_view route;
    block_route_get(block, index, &route);
    line_begin(inspection, "route", "    ");
    member_u64(inspection, "index", index);
    member_text(inspection, "source", route.source_id);
    member_text(inspection, "dataset", route.dataset_id);
    member_text(inspection, "topic", route.topic);
    return line_close(inspection);
}

static enum err records_print(struct inspection *inspection, const struct block *block)
{
    struct record_view record;
    uint32_t messages = 0, routes = 0;
    size_t cursor = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && block_record_next(block, &cursor, &record)) {
        if (record.kind == RECORD_MESSAGE) {
            err = message_print(inspection, block, messages++);
        } else if (record.kind == RECORD_ROUTE) {
            err = route_print(inspection, block, routes++);
        } else {
            line_begin(inspection, record_name((uint32_t)record.kind), "    ");
            record_members(inspection, &record);
            err = line_close(inspection);
        }
    }
    return err;
}

/* ---- blocks and segments ---- */

static enum err block_print(void *ctx, const struct block_header *header, struct bytes image,
                            uint64_t offset)
{
    struct inspection *inspection = ctx;
    struct block *block = NULL;
    struct diag diag = {0};
    inspection->blocks++;
    inspection->messages += header->message_count;
    line_begin(inspection, "block", "  ");
    member_u64(inspection, "number", header->number);
    member_text(inspection, "kind", bytes_from_text(kind_name(header->kind)));
    member_u64(inspection, "offset", offset);
    member_u64(inspection, "bytes", header->size_bytes);
    member_u64(inspection, "records", header->record_count);
    member_u64(inspection, "messages", header->message_count);
    member_u64(inspection, "durable", header->durable_number);
    if (header->group || (header->flags & BLOCK_MORE)) {
        member_u64(inspection, "group", header->group);
        member_u64(inspection, "more", header->flags & BLOCK_MORE);
    }
    enum err err = line_close(inspection);
    if (err != ERR_OK || (!inspection->options->records && !inspection->options->payloads))
        return err;
    err = block_parse(image, &block, &diag);
    if (err == ERR_OK) {
        err = records_print(inspection, block);
    } else if (err == ERR_CORRUPT) {
        line_begin(inspection, "damage", "  ");
        member_text(inspection, "detail", bytes_from_text(diag.text));
        inspection->damages++;
        err = line_close(inspection);
    }
    block_unref(block);
    return err;
}

static enum err damage_print(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    struct inspection *inspection = ctx;
    inspection->damages += to - from;
    line_begin(inspection, "damage", "  ");
    member_u64(inspection, "offset", offset);
    member_u64(inspection, "first_block", from);
    member_u64(inspection, "last_block", to - 1);
    return line_close(inspection);
}

static enum err segment_print(struct inspection *inspection, const struct named *named)
{
    struct segment_visitor visitor = {block_print, block_print, damage_print, inspection};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    line_begin(inspection, "segment", "");
    member_u64(inspection, "slot", named->segment.slot);
    member_u64(inspection, "bytes", named->segment.size_bytes);
    if (named->good) {
        member_u64(inspection, "generation", named->segment.epoch >> 32);
        member_u64(inspection, "first_block", named->segment.first_number);
        member_u64(inspection, "header_damaged", named->copy);
    } else {
        member_text(inspection, "problem", bytes_from_text(named->problem));
    }
    enum err err = line_close(inspection);
    if (err != ERR_OK || !named->good)
        return err;
    err = segment_path(path, inspection->folder, named->segment.slot, inspection->diag);
    if (err == ERR_OK)
        err = segment_walk(inspection->fs, path, &named->segment, &visitor, &end, inspection->diag);
    return err;
}

/* ---- the folder ---- */

static enum err on_name(void *ctx, const char *name)
{
    struct inspection *inspection = ctx;
    uint32_t slot;
    if (!segment_slot_from_name(name, &slot))
        return ERR_OK;
    if (inspection->count >= SEGMENTS_MAX)
        return ERR_TOO_MANY;
    if (inspection->count == inspection->capacity) {
        size_t capacity = inspection->capacity ? inspection->capacity * 2 : 32;
        void *segments =
            mem_realloc(inspection->segments, capacity * sizeof(*inspection->segments));
        if (!segments)
            return ERR_NO_MEMORY;
        inspection->segments = segments;
        inspection->capacity = capacity;
    }
    inspection->segments[inspection->count++] = (struct named){.segment.slot = slot};
    return ERR_OK;
}

static void segment_look(struct inspection *inspection, struct named *named)
{
    char path[SEGMENT_PATH_MAX];
    struct diag diag = {0};
    enum err err = segment_path(path, inspection->folder, named->segment.slot, &diag);
    if (err == ERR_OK)
        err = segment_identify(inspection->fs, path, &named->header, &named->segment.size_bytes,
                               &named->copy, &diag);
    named->good = err == ERR_OK;
    if (err == ERR_OK) {
        named->segment.epoch = named->header.epoch;
        named->segment.first_number = named->header.first_number;
        named->segment.end_number = UINT64_MAX;
    }
    if (err == ERR_NOT_FOUND)
        snprintf(named->problem, sizeof(named->problem), "no header: never begun, or damaged");
    else if (err != ERR_OK)
        snprintf(named->problem, sizeof(named->problem), "%.255s", diag.text);
}

static int named_compare(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    return (x->segment.epoch > y->segment.epoch) - (x->segment.epoch < y->segment.epoch);
}

static enum err totals_print(struct inspection *inspection)
{
    line_begin(inspection, "total", "");
    member_u64(inspection, "segments", inspection->count);
    member_u64(inspection, "blocks", inspection->blocks);
    member_u64(inspection, "messages", inspection->messages);
    member_u64(inspection, "damaged_blocks", inspection->damages);
    return line_close(inspection);
}

static enum err segments_print(struct inspection *inspection)
{
    enum err err = ERR_OK;
    uint64_t end = UINT64_MAX;
    for (size_t i = inspection->count; i-- > 0;) {
        struct segment *segment = &inspection->segments[i].segment;
        if (!inspection->segments[i].good)
            continue;
        segment->end_number = end; /* from there on it is void: a newer one took over */
        if (segment->first_number < end)
            end = segment->first_number;
    }
    uint32_t slot = 0;
    const char *only = inspection->options->segment;
    if (only && !segment_slot_from_name(only, &slot))
        return diag_set(inspection->diag, ERR_INVALID, "'%.64s' is no segment's name", only);
    for (size_t i = 0; i < inspection->count && err == ERR_OK; i++) {
        const struct named *named = &inspection->segments[i];
        if (!only || slot == named->segment.slot)
            err = segment_print(inspection, named);
    }
    return err == ERR_OK ? totals_print(inspection) : err;
}

enum err journal_inspect(const struct fs *fs, const char *folder,
                         const struct inspect_options *options, FILE *out, struct diag *diag)
{
    struct inspection inspection = {
        .fs = fs, .folder = folder, .options = options, .out = out, .diag = diag};
    buf_init(&inspection.line, LINE_BYTES_MAX);
    enum err err = fs_list(fs, folder, on_name, &inspection, diag);
    if (err == ERR_OK && inspection.count == 0)
        err = diag_set(diag, ERR_NOT_FOUND, "there is no journal in %s", folder);
    for (size_t i = 0; i < inspection.count && err == ERR_OK; i++)
        segment_look(&inspection, &inspection.segments[i]);
    if (err == ERR_OK)
        qsort(inspection.segments, inspection.count, sizeof(*inspection.segments), named_compare);
    if (err == ERR_OK)
        err = segments_print(&inspection);
    buf_fini(&inspection.line);
    mem_free(inspection.segments);
    return err == ERR_OK ? err
                         : diag_set(diag, err, "cannot inspect %s: %s", folder, err_text(err));
}
