#include "lake/learn.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/json.h"
#include "lake/decode.h"

#define KIND_COUNT 5
#define ARENA_MAX  (16 * MIB)

/* A path that is not pinned. It hangs on a pinned column or on another node. */
struct node {
    struct column *column; /* the parent, or NULL */
    struct node *parent;   /* the parent, or NULL */
    struct bytes key;
    bool element; /* of a list */
    bool big_integer;
    bool wanted;
    uint8_t depth; /* segments of its path */
    uint32_t counts[KIND_COUNT];
    struct schema_wish *wish;
};

/* Where a value stands: at a pinned column, or at a node. */
struct place {
    struct column *column;
    struct node *node;
};

void learn_init(struct learn *learn, const struct schema *schema)
{
    *learn = (struct learn){.schema = schema};
    arena_init(&learn->arena, ARENA_MAX);
    map_init(&learn->nodes);
    buf_init(&learn->path, LIMIT_MESSAGE_BYTES_MAX * 2);
}

void learn_fini(struct learn *learn)
{
    mem_free(learn->wishes);
    arena_fini(&learn->arena);
    map_fini(&learn->nodes);
    buf_fini(&learn->path);
}

/* The node of a field or element below a place; *ret_node NULL when there are too many. */
static enum err node_get(struct learn *learn, struct place parent, struct bytes key, bool element,
                         struct node **ret_node)
{
    const void *above = parent.node ? (const void *)parent.node : (const void *)parent.column;
    buf_clear(&learn->path);
    buf_append(&learn->path, &above, sizeof(above)); /* which parent, by its address */
    buf_byte(&learn->path, element);
    enum err err = buf_append(&learn->path, key.data, key.size);
    if (err != ERR_OK)
        return err;
    *ret_node = map_get(&learn->nodes, buf_bytes(&learn->path));
    uint8_t depth = parent.node ? parent.node->depth : parent.column->depth;
    if (*ret_node || depth >= LIMIT_COLUMN_DEPTH || learn->nodes.live_count >= LEARN_NODES_MAX)
        return ERR_OK;
    struct node *node = arena_zalloc(&learn->arena, sizeof(*node));
    char *copy = arena_dup(&learn->arena, key.data, key.size);
    if (!node || !copy)
        return ERR_NO_MEMORY;
    node->column = parent.node ? NULL : parent.column;
    node->parent = parent.node;
    node->key = bytes_from(copy, key.size);
    node->element = element;
    node->depth = (uint8_t)(depth + 1);
    *ret_node = node;
    return map_put(&learn->nodes, buf_bytes(&learn->path), node);
}

static enum err value_learn(struct learn *learn, struct json_cursor *cursor, struct place place);

static enum err element_learn(struct learn *learn, struct json_cursor *cursor, struct place list)
{
    struct place element = {0};
    enum err err = ERR_OK;
    if (list.column)
        element.column = schema_child(list.column, (struct bytes){0});
    else if (list.node)
        err = node_get(learn, list, (struct bytes){0}, true, &element.node);
    return err == ERR_OK ? value_learn(learn, cursor, element) : err;
}

static enum err field_place(struct learn *learn, struct place parent, struct bytes key,
                            struct place *ret_place)
{
    *ret_place = (struct place){0};
    if (!parent.column && !parent.node)
        return ERR_OK;
    if (parent.column) {
        ret_place->column = schema_child(parent.column, key);
        if (ret_place->column && ret_place->column->role != COLUMN_PLAIN)
            ret_place->column = NULL;
        else if (!ret_place->column && decode_key_fits(key))
            return node_get(learn, parent, key, false, &ret_place->node);
        return ERR_OK;
    }
    return decode_key_fits(key) ? node_get(learn, parent, key, false, &ret_place->node) : ERR_OK;
}

static enum err field_learn(struct learn *learn, struct json_cursor *cursor, struct place parent)
{
    struct json_string key;
    json_space(cursor);
    if (json_peek(cursor) != '"')
        return ERR_SYNTAX;
    enum err err = json_string_scan(cursor, &key);
    if (err != ERR_OK)
        return err;
    struct bytes name = key.raw;
    uint8_t *text = NULL;
    if (key.escaped) {
        text = mem_alloc(key.raw.size);
        if (!text)
            return ERR_NO_MEMORY;
        name = bytes_from(text, json_unescape(key.raw, text));
    }
    struct place place;
    err = field_place(learn, parent, name, &place);
    mem_free(text);
    json_space(cursor);
    if (err == ERR_OK && !json_take(cursor, ':'))
        err = ERR_SYNTAX;
    return err == ERR_OK ? value_learn(learn, cursor, place) : err;
}

/* All fields of an object, or all elements of an array. */
static enum err children_learn(struct learn *learn, struct json_cursor *cursor, struct place place)
{
    bool object = json_take(cursor, '{');
    if (!object && !json_take(cursor, '['))
        return ERR_SYNTAX;
    uint8_t close = object ? '}' : ']';
    json_space(cursor);
    if (json_take(cursor, close))
        return ERR_OK;
    do {
        enum err err =
            object ? field_learn(learn, cursor, place) : element_learn(learn, cursor, place);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
    } while (json_take(cursor, ','));
    return json_take(cursor, close) ? ERR_OK : ERR_SYNTAX;
}

static void scalar_count(struct learn *learn, struct node *node, struct bytes value)
{
    uint8_t byte = value.data[0];
    if (byte == 'n' || !node || ++learn->leaf_count > LIMIT_LEAVES_PER_RECORD)
        return;
    if (byte == '"') {
        node->counts[COLUMN_STRING]++;
    } else if (byte == 't' || byte == 'f') {
        node->counts[COLUMN_BOOLEAN]++;
    } else {
        double number;
        node->counts[COLUMN_DOUBLE]++;
        node->big_integer |= json_number_read(&value.data, value.data + value.size, &number) ==
                             JSON_NUMBER_BIG_INTEGER;
    }
}

static enum err value_learn(struct learn *learn, struct json_cursor *cursor, struct place place)
{
    json_space(cursor);
    uint8_t byte = json_peek(cursor);
    enum column_kind kind = byte == '{' ? COLUMN_STRUCT : COLUMN_LIST;
    bool container = byte == '{' || byte == '[';
    bool descend = container && (place.node || (place.column && place.column->kind == kind));
    const uint8_t *start = cursor->at;
    struct bytes value;
    enum err err = json_skip(cursor, LIMIT_JSON_DEPTH, &value);
    if (err != ERR_OK || (container && !descend))
        return err;
    if (!container) {
        scalar_count(learn, place.node, value);
        return ERR_OK;
    }
    if (place.node) {
        if (!decode_has_leaf(value, (uint32_t)LIMIT_COLUMN_DEPTH - place.node->depth))
            return ERR_OK;
        place.node->counts[kind]++;
    }
    cursor->at = start;
    return children_learn(learn, cursor, place);
}

enum err learn_record(struct learn *learn, struct bytes record)
{
    struct json_cursor cursor = {record.data, record.data + record.size, false};
    learn->leaf_count = 0;
    json_space(&cursor);
    return children_learn(learn, &cursor, (struct place){.column = learn->schema->root});
}

static enum column_kind node_kind(const struct node *node)
{
    static const enum column_kind preferred[KIND_COUNT] = {
        COLUMN_DOUBLE, COLUMN_BOOLEAN, COLUMN_STRUCT, COLUMN_LIST, COLUMN_STRING};
    enum column_kind best = COLUMN_NONE;
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (node->counts[preferred[i]] > (best == COLUMN_NONE ? 0 : node->counts[best]))
            best = preferred[i];
    bool scalar = best == COLUMN_DOUBLE || best == COLUMN_BOOLEAN;
    return scalar && node->big_integer ? COLUMN_STRING : best;
}

/* Whether a node's parent will be of the kind that can hold it. */
static bool node_held(const struct node *node)
{
    enum column_kind kind = node->parent ? node_kind(node->parent) : node->column->kind;
    return kind == (node->element ? COLUMN_LIST : COLUMN_STRUCT) &&
           (!node->parent || node_held(node->parent));
}

/* Marks the leaves there is room for, and with each what stands above it. */
static size_t nodes_want(struct learn *learn)
{
    size_t room = schema_room(learn->schema);
    size_t wanted = 0;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&learn->nodes, &cursor))) {
        struct node *node = entry->value;
        if (node_kind(node) > COLUMN_STRING || !node_held(node))
            continue;
        size_t needed = 0;
        for (struct node *above = node; above && !above->wanted; above = above->parent)
            needed++;
        if (wanted + needed > room)
            continue;
        wanted += needed;
        for (; node && !node->wanted; node = node->parent)
            node->wanted = true;
    }
    return wanted;
}

enum err learn_decide(struct learn *learn)
{
    size_t wanted = nodes_want(learn);
    learn->wishes = mem_zalloc(wanted, sizeof(*learn->wishes));
    if (!learn->wishes)
        return ERR_NO_MEMORY;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&learn->nodes, &cursor))) {
        struct node *node = entry->value;
        if (!node->wanted)
            continue;
        node->wish = &learn->wishes[learn->wish_count++];
        *node->wish = (struct schema_wish){.parent = node->column,
                                           .wished = node->parent ? node->parent->wish : NULL,
                                           .kind = node_kind(node),
                                           .key = node->key};
    }
    return ERR_OK;
}
