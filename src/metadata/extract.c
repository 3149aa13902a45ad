/*
 * Of a column that was seen before, a cut looks at the number of values it has (for nulls), at the
 * first of each type, and at values only until LIMIT_SAMPLES different ones are known, SAMPLED_MAX
 * of them at most. Values that did not fit their column are in the rows' _rescued_data: their types
 * count too. Types are told in the order in which their records came, so that what a dataset's
 * evolution says does not hang on where its cuts lie.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "codec/json.h"
#include "codec/timestamp.h"
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

#define SAMPLED_MAX         256 /* values of a column and cut */
#define SAMPLED_ROWS_MAX    8   /* of objects and arrays */
#define ORIGINS_MAX         64  /* of a cut, for the types of metadata fields */
#define TELL_AGAIN_US       (24 * 3600 * US_PER_S)
#define BARE_MAX            256 /* of the others is not told that they are nullable */
#define SAMPLE_BUFFER_BYTES (4 * KIB)
#define PAYLOAD_FIELDS_MAX  (CHANGE_FIELDS_MAX - SCHEMA_SYSTEM_MAX)

void told_free(struct told *told)
{
    if (!told)
        return;
    mem_free(told->fields);
    for (size_t i = 0; i < told->bare_count; i++)
        mem_free((void *)(uintptr_t)told->bare[i].data);
    mem_free(told->bare);
    distinct_fini(&told->sensors);
    mem_free(told);
}

size_t told_memory_bytes(const struct told *told)
{
    if (!told)
        return 0;
    return sizeof(*told) + told->field_capacity * sizeof(*told->fields) +
           told->sensors.capacity * sizeof(uint64_t) +
           (told->sensors.registers ? DISTINCT_REGISTERS : 0) +
           (told->bare ? BARE_MAX * sizeof(*told->bare) : 0) + told->bare_bytes;
}

static enum err told_get(struct extraction *extraction, struct bytes name,
                         struct told_field **ret_field)
{
    struct told *told = extraction->told;
    uint64_t hash = hash_bytes(name);
    for (size_t i = 0; i < told->field_count; i++) {
        size_t at = (extraction->place + i) % told->field_count;
        if (told->fields[at].name_hash == hash) {
            extraction->place = at + 1;
            *ret_field = &told->fields[at];
            return ERR_OK;
        }
    }
    if (told->field_count >= extraction->fields_max) {
        told->beyond = (struct told_field){
            .sample_count = LIMIT_SAMPLES, .types = UINT8_MAX, .nullable = true};
        *ret_field = &told->beyond;
        return ERR_OK;
    }
    if (told->field_count == told->field_capacity) {
        size_t capacity = told->field_capacity ? told->field_capacity * 2 : 8;
        struct told_field *fields = mem_realloc(told->fields, capacity * sizeof(*fields));
        if (!fields)
            return ERR_NO_MEMORY;
        told->fields = fields;
        told->field_capacity = capacity;
    }
    *ret_field = &told->fields[told->field_count++];
    **ret_field = (struct told_field){.name_hash = hash};
    extraction->place = told->field_count;
    return ERR_OK;
}

/* What a cut says of a field; goes into the change where it is news. */
struct finding {
    struct extraction *extraction;
    struct bytes name;
    struct told_field *told;
    enum err err;
};

static enum err finding_init(struct finding *finding, struct extraction *extraction,
                             struct bytes name)
{
    *finding = (struct finding){extraction, change_text_cut(name, FIELD_NAME_BYTES), NULL, ERR_OK};
    return told_get(extraction, finding->name, &finding->told);
}

static struct change_field *news_of(struct finding *finding)
{
    struct change_field *field = NULL;
    if (finding->err == ERR_OK)
        finding->err = change_field_get(finding->extraction->change, finding->name, &field);
    return finding->err == ERR_OK ? field : NULL;
}

static void tell_type(struct finding *finding, enum dataset_type type)
{
    uint8_t types = change_types_add(finding->told->types, type);
    if (types == finding->told->types)
        return;
    finding->told->types = types;
    struct change_field *field = news_of(finding);
    if (field)
        field->types = change_types_add(field->types, type);
}

/* In the order in which they were seen. */
static void tell_types(struct finding *finding, const struct sightings *sightings)
{
    uint64_t after = 0;
    for (;;) {
        int next = DATASET_TYPES;
        for (int i = 0; i < DATASET_TYPES; i++)
            if (sightings->order[i] > after &&
                (next == DATASET_TYPES || sightings->order[i] < sightings->order[next]))
                next = i;
        if (next == DATASET_TYPES)
            return;
        after = sightings->order[next];
        tell_type(finding, (enum dataset_type)next);
    }
}

static void tell_nullable(struct finding *finding)
{
    if (finding->told->nullable)
        return;
    finding->told->nullable = true;
    struct change_field *field = news_of(finding);
    if (field)
        field->nullable = true;
}

/* True: enough is known. */
static bool tell_sample(void *ctx, struct bytes text)
{
    struct finding *finding = ctx;
    struct told_field *told = finding->told;
    uint64_t hash = hash_bytes(change_text_cut(text, LIMIT_SAMPLE_BYTES));
    if (told->sample_count >= LIMIT_SAMPLES)
        return true;
    for (uint8_t i = 0; i < told->sample_count; i++)
        if (told->samples[i] == hash)
            return false;
    told->samples[told->sample_count++] = hash;
    struct change_field *field = news_of(finding);
    if (field)
        finding->err = change_sample_add(finding->extraction->change, field, text);
    return told->sample_count == LIMIT_SAMPLES || finding->err != ERR_OK;
}

/* --- the payload's columns ----------------------------------------------------------------- */

static const struct leaf *first_leaf(const struct column *column)
{
    while (column && !column_is_leaf(column)) {
        const struct column *below = NULL;
        for (uint32_t i = 0; i < column->child_count && !below; i++)
            if (first_leaf(column->children[i]))
                below = column->children[i];
        column = below;
    }
    return column ? &column->leaf : NULL;
}

/* Rows in which the column itself is there. */
static size_t rows_present(const struct column *column, const struct leaf *leaf, size_t rows)
{
    size_t present = 0;
    if (!leaf->definition_levels)
        return rows;
    if (column_is_leaf(column))
        return leaf->value_count;
    for (size_t i = 0; i < leaf->level_count; i++)
        present += leaf->definition_levels[i] >= column->definition &&
                   (!leaf->repetition_levels || leaf->repetition_levels[i] == 0);
    return present;
}

/* Where the column's value number value is, or its first of all. */
static size_t row_of(const struct column *column, const struct leaf *leaf, size_t value)
{
    size_t row = 0;
    size_t values = 0;
    if (!leaf->definition_levels)
        return value;
    for (size_t i = 0; i < leaf->level_count; i++) {
        bool begins = !leaf->repetition_levels || leaf->repetition_levels[i] == 0;
        row += begins && i > 0;
        if (begins && leaf->definition_levels[i] >= column->definition && values++ == value)
            break;
    }
    return row;
}

/* Beside its strings a text has values that were none. */
static void text_sightings(const struct extraction *extraction, const struct column *column,
                           struct sightings *sightings)
{
    static const enum dataset_type types[] = {[LEAF_JSON_NUMBER] = DATASET_DOUBLE,
                                              [LEAF_JSON_BOOLEAN] = DATASET_BOOLEAN,
                                              [LEAF_JSON_LIST] = DATASET_ARRAY,
                                              [LEAF_JSON_STRUCT] = DATASET_OBJECT};
    const struct rows *rows = extraction->cut->rows;
    const struct leaf *leaf = &column->leaf;
    for (int i = 0; i < LEAF_JSON_KINDS; i++)
        if (leaf->json_rows[i] > 0)
            sighting_add(sightings, types[i], rows_arrival_order(rows, leaf->json_rows[i] - 1));
    if (leaf->json_leading >= leaf->value_count)
        return;
    const uint32_t *at = &leaf->offsets[leaf->json_leading];
    bool is_uuid = sample_is_uuid(bytes_from(leaf->data + at[0], at[1] - at[0]));
    sighting_add(sightings, is_uuid ? DATASET_UUID : DATASET_STRING,
                 rows_arrival_order(rows, row_of(column, leaf, leaf->json_leading)));
}

static void column_sightings(const struct extraction *extraction, const struct column *column,
                             const struct leaf *leaf, struct sightings *sightings)
{
    static const enum dataset_type types[] = {[COLUMN_DOUBLE] = DATASET_DOUBLE,
                                              [COLUMN_BOOLEAN] = DATASET_BOOLEAN,
                                              [COLUMN_STRUCT] = DATASET_OBJECT,
                                              [COLUMN_LIST] = DATASET_ARRAY};
    if (column->kind == COLUMN_STRING)
        text_sightings(extraction, column, sightings);
    else
        sighting_add(sightings, types[column->kind],
                     rows_arrival_order(extraction->cut->rows, row_of(column, leaf, 0)));
}

/* Most columns of which few samples are known have one value, again and again. */
static bool is_as_before(const struct leaf *leaf, size_t value)
{
    if (value == 0)
        return false;
    if (leaf->kind == PARQUET_DOUBLE)
        return leaf->doubles[value] == leaf->doubles[value - 1];
    if (leaf->kind == PARQUET_BOOLEAN)
        return leaf->booleans[value] == leaf->booleans[value - 1];
    const uint32_t *at = &leaf->offsets[value];
    return bytes_equal(bytes_from(leaf->data + at[0], at[1] - at[0]),
                       bytes_from(leaf->data + at[-1], at[0] - at[-1]));
}

static void leaf_samples(struct finding *finding, const struct leaf *leaf)
{
    struct buf *text = &finding->extraction->text;
    size_t count = leaf->value_count < SAMPLED_MAX ? leaf->value_count : SAMPLED_MAX;
    for (size_t i = 0; i < count; i++) {
        if (is_as_before(leaf, i))
            continue;
        buf_clear(text);
        sample_leaf(text, leaf, i);
        if (text->err == ERR_TOO_LARGE) { /* it is longer than any sample: look at its beginning */
            buf_clear(text);
            buf_append(text, leaf->data + leaf->offsets[i], LIMIT_SAMPLE_BYTES + 4);
        }
        if (tell_sample(finding, buf_bytes(text)))
            return;
    }
}

static enum err column_tell(struct extraction *extraction, const struct column *column,
                            const struct rescued_field *rescued)
{
    struct sightings sightings = rescued ? rescued->sightings : (struct sightings){0};
    struct finding finding;
    const struct leaf *leaf = first_leaf(column);
    size_t rows = extraction->cut->rows->count;
    struct change_quality *quality = &extraction->change->quality;
    if (!leaf)
        return ERR_OK;
    size_t present = rows_present(column, leaf, rows);
    quality->cells += rows;
    quality->filled_cells += present;
    enum err err = finding_init(&finding, extraction, column->key);
    if (err != ERR_OK)
        return err;
    if (present > 0)
        column_sightings(extraction, column, leaf, &sightings);
    tell_types(&finding, &sightings);
    if (present + (rescued ? rescued->absent : 0) < rows)
        tell_nullable(&finding);
    if (finding.told->sample_count < LIMIT_SAMPLES && column_is_leaf(column))
        leaf_samples(&finding, leaf);
    else if (finding.told->sample_count < LIMIT_SAMPLES && present > 0)
        err = sample_rows(column, rows < SAMPLED_ROWS_MAX ? rows : SAMPLED_ROWS_MAX, tell_sample,
                          &finding);
    return finding.err != ERR_OK ? finding.err : err;
}

/* --- what was rescued ---------------------------------------------------------------------- */

/* Texts without their quotes. */
static void rescued_samples(struct finding *finding, const struct rescued_field *field)
{
    struct buf *text = &finding->extraction->unescaped;
    for (uint8_t i = 0; i < field->sample_count; i++) {
        struct bytes value = field->samples[i];
        if (value.data[0] == '"') {
            buf_clear(text);
            if (buf_reserve(text, value.size) != ERR_OK)
                return;
            struct bytes raw = bytes_from(value.data + 1, value.size - 2);
            value = bytes_from(text->data, json_unescape(raw, text->data));
        }
        if (tell_sample(finding, value))
            return;
    }
}

static enum err bare_note(struct told *told, struct bytes name)
{
    if (told->bare_count == BARE_MAX)
        return ERR_OK;
    if (!told->bare)
        told->bare = mem_zalloc(BARE_MAX, sizeof(*told->bare));
    uint8_t *kept = told->bare ? mem_dup(name.data, name.size) : NULL;
    if (!kept)
        return ERR_NO_MEMORY;
    told->bare[told->bare_count++] = bytes_from(kept, name.size);
    told->bare_bytes += name.size;
    return ERR_OK;
}

static void bare_drop(struct told *told, size_t i)
{
    told->bare_bytes -= told->bare[i].size;
    mem_free((void *)(uintptr_t)told->bare[i].data);
    told->bare[i] = told->bare[--told->bare_count];
}

/* Those that have got a column are told with it. */
static enum err bare_tell(struct extraction *extraction, const struct rescued *rescued)
{
    struct told *told = extraction->told;
    enum err err = ERR_OK;
    for (size_t i = told->bare_count; i-- > 0 && err == ERR_OK;) {
        struct finding finding;
        const struct rescued_field *field = map_get(&rescued->by_name, told->bare[i]);
        bool has_column = first_leaf(schema_child(extraction->cut->schema->root, told->bare[i]));
        if (!has_column && field && field->absent >= extraction->cut->rows->count)
            continue;
        if (!has_column) {
            err = finding_init(&finding, extraction, told->bare[i]);
            if (err == ERR_OK)
                tell_nullable(&finding);
            err = err == ERR_OK ? finding.err : err;
        }
        bare_drop(told, i);
    }
    return err;
}

/* A field whose name the service keeps for itself is the service's. */
static enum err rescued_tell(struct extraction *extraction, const struct rescued *rescued)
{
    size_t cursor = 0;
    enum err err = ERR_OK;
    for (struct map_entry *entry;
         err == ERR_OK && (entry = map_next(&rescued->by_name, &cursor));) {
        const struct rescued_field *field = entry->value;
        const struct column *column = schema_child(extraction->cut->schema->root, field->name);
        struct finding finding;
        if (column && (column->kind == COLUMN_NONE || first_leaf(column)))
            continue; /* told with its column */
        err = finding_init(&finding, extraction, field->name);
        bool is_new = err == ERR_OK && finding.told->types == 0;
        if (err == ERR_OK)
            tell_types(&finding, &field->sightings);
        if (err == ERR_OK)
            rescued_samples(&finding, field);
        if (err == ERR_OK && field->absent < extraction->cut->rows->count)
            tell_nullable(&finding);
        else if (is_new)
            err = bare_note(extraction->told, finding.name);
        err = err == ERR_OK ? finding.err : err;
    }
    return err;
}

/* Fields that never had a value have no column. */
static enum err nulls_tell(struct extraction *extraction)
{
    const struct null_names *nulls = extraction->cut->nulls;
    for (size_t i = 0; i < nulls->count; i++) {
        struct finding finding;
        if (schema_child(extraction->cut->schema->root, nulls->names[i].text))
            continue;
        enum err err = finding_init(&finding, extraction, nulls->names[i].text);
        if (err != ERR_OK)
            return err;
        extraction->change->quality.cells += extraction->cut->rows->count;
        tell_type(&finding, DATASET_NULL);
        tell_nullable(&finding);
        if (finding.err != ERR_OK)
            return finding.err;
    }
    return ERR_OK;
}

static enum err payload_tell(struct extraction *extraction)
{
    const struct column *root = extraction->cut->schema->root;
    struct rescued rescued;
    rescued_init(&rescued);
    extraction->fields_max = PAYLOAD_FIELDS_MAX;
    enum err err = rescued_read(&rescued, extraction->cut, on_rescued_sensor, extraction);
    for (uint32_t i = 0; i < root->child_count && err == ERR_OK; i++)
        err = column_tell(extraction, root->children[i],
                          map_get(&rescued.by_name, root->children[i]->key));
    if (err == ERR_OK)
        err = bare_tell(extraction, &rescued);
    if (err == ERR_OK)
        err = rescued_tell(extraction, &rescued);
    if (err == ERR_OK)
        err = nulls_tell(extraction);
    rescued_fini(&rescued);
    extraction->fields_max = CHANGE_FIELDS_MAX;
    return err;
}

/* --- the service's own fields -------------------------------------------------------------- */

static enum err own_tell(struct extraction *extraction, const char *name, enum dataset_type type,
                         struct bytes sample)
{
    struct finding finding;
    enum err err = finding_init(&finding, extraction, bytes_from_text(name));
    if (err != ERR_OK)
        return err;
    tell_type(&finding, type);
    (void)tell_sample(&finding, sample);
    return finding.err;
}

/* As many samples at once as there are: one more in each cut would make news of as many cuts. */
static enum err moments_tell(struct extraction *extraction, const char *name, const int64_t *us)
{
    char text[TIMESTAMP_TEXT_BYTES];
    struct finding finding;
    size_t rows = extraction->cut->rows->count;
    enum err err = finding_init(&finding, extraction, bytes_from_text(name));
    if (err != ERR_OK)
        return err;
    tell_type(&finding, DATASET_STRING);
    for (size_t i = 0; i < rows && i < SAMPLED_MAX && finding.told->sample_count < LIMIT_SAMPLES;
         i++)
        if ((i == 0 || us[i] != us[i - 1]) &&
            tell_sample(&finding, bytes_from(text, timestamp_format(us[i], text))))
            break;
    return finding.err;
}

static enum err route_field_tell(struct extraction *extraction, const struct origin *origin,
                                 uint32_t index)
{
    static const enum dataset_type types[] = {[FIELD_STRING] = DATASET_STRING,
                                              [FIELD_DOUBLE] = DATASET_DOUBLE,
                                              [FIELD_BOOLEAN] = DATASET_BOOLEAN};
    const struct route_view *route = &extraction->cut->origins->routes[origin->route].view;
    const struct route_field *field = &route->fields[index];
    struct buf *text = &extraction->text;
    struct message_field value;
    struct finding finding;
    enum err err = finding_init(&finding, extraction, field->name);
    if (err != ERR_OK)
        return err;
    if (!origin_route_field(route, origin->extras, index, &value)) {
        tell_nullable(&finding);
        return finding.err;
    }
    tell_type(&finding, types[field->type]);
    if (finding.told->sample_count == LIMIT_SAMPLES)
        return finding.err;
    buf_clear(text);
    if (field->type == FIELD_STRING)
        buf_append(text, value.text.data, value.text.size < 1024 ? value.text.size : 1024);
    else if (field->type == FIELD_DOUBLE)
        sample_number(text, value.number);
    else
        buf_text(text, value.number != 0 ? "true" : "false");
    (void)tell_sample(&finding, buf_bytes(text));
    return finding.err;
}

static enum err own_fields_tell(struct extraction *extraction)
{
    const struct cut_input *cut = extraction->cut;
    const struct origins *origins = cut->origins;
    uint32_t count = origins->count < ORIGINS_MAX ? origins->count : ORIGINS_MAX;
    enum err err = own_tell(extraction, "ingestion_id", DATASET_STRING, cut->dataset_id);
    if (err == ERR_OK)
        err = moments_tell(extraction, "timestamp", cut->rows->event_us);
    if (err == ERR_OK && origins->route_count > 0)
        err = own_tell(extraction, "source_type", DATASET_STRING,
                       origins->routes[0].view.source_type);
    if (err == ERR_OK)
        err = moments_tell(extraction, "ingestion_timestamp", cut->rows->arrival_us);
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        const struct origin *origin = &origins->origins[i];
        uint32_t fields = origins->routes[origin->route].view.field_count;
        for (uint32_t k = 0; k < fields && err == ERR_OK; k++)
            err = route_field_tell(extraction, origin, k);
    }
    return err;
}

/* --- a cut --------------------------------------------------------------------------------- */

static enum err rows_tell(struct extraction *extraction)
{
    extraction->change->first_us = extraction->cut->stats.first_us;
    extraction->change->last_us = extraction->cut->stats.last_us;
    enum err err = sensors_begin(extraction);
    if (err == ERR_OK)
        err = payload_tell(extraction);
    if (err == ERR_OK)
        err = own_fields_tell(extraction);
    if (err == ERR_OK)
        err = sensors_tell(extraction);
    sensors_end(extraction);
    if (err == ERR_OK)
        err = extract_quality(extraction->cut, &extraction->change->quality);
    return err;
}

static enum err told_begin(const struct cut_input *cut, struct told **told)
{
    if (*told && cut->stats.first_us > (*told)->since_us + TELL_AGAIN_US) {
        told_free(*told);
        *told = NULL;
    }
    if (*told)
        return ERR_OK;
    *told = mem_zalloc(1, sizeof(**told));
    if (!*told)
        return ERR_NO_MEMORY;
    (*told)->since_us = cut->stats.first_us;
    return ERR_OK;
}

enum err extract_change(const struct cut_input *cut, struct told **told, struct change *change)
{
    struct extraction extraction = {.cut = cut, .change = change};
    enum err err = told_begin(cut, told);
    if (err != ERR_OK)
        return err;
    extraction.told = *told;
    buf_init(&extraction.text, SAMPLE_BUFFER_BYTES);
    buf_init(&extraction.unescaped, LIMIT_MESSAGE_BYTES_MAX);
    change->records = cut->rows->count;
    change->payload_bytes = cut->stats.payload_bytes - cut->dead->payloads.size;
    if (cut->origins->route_count > 0)
        err = change_topic_set(change, cut->origins->routes[0].view.topic);
    if (err == ERR_OK && cut->rows->count > 0)
        err = rows_tell(&extraction);
    buf_fini(&extraction.text);
    buf_fini(&extraction.unescaped);
    return err;
}
