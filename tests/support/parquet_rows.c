#include "support/parquet_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_MAX ((size_t)1 << 31)

#define LEAF(name, kind, id)                                                                       \
    {                                                                                              \
        name, kind, id, 0                                                                          \
    }

static const struct parquet_node nested_nodes[] = {
    LEAF("number", PARQUET_DOUBLE, 1), LEAF("flag", PARQUET_BOOLEAN, 2),
    LEAF("text", PARQUET_STRING, 3),   LEAF("when", PARQUET_TIMESTAMP_US, 4),
    LEAF("blob", PARQUET_BINARY, 5),   {"place", PARQUET_STRUCT, 6, 3},
    LEAF("lat", PARQUET_DOUBLE, 7),    LEAF("name", PARQUET_STRING, 8),
    {"inner", PARQUET_STRUCT, 9, 1},   LEAF("on", PARQUET_BOOLEAN, 10),
    {"readings", PARQUET_LIST, 11, 1}, LEAF("", PARQUET_DOUBLE, 12),
    {"events", PARQUET_LIST, 13, 1},   {"", PARQUET_STRUCT, 14, 2},
    LEAF("code", PARQUET_DOUBLE, 15),  {"tags", PARQUET_LIST, 16, 1},
    LEAF("", PARQUET_STRING, 17),      {"grid", PARQUET_LIST, 18, 1},
    {"", PARQUET_LIST, 19, 1},         LEAF("", PARQUET_BOOLEAN, 20),
    LEAF("topic", PARQUET_STRING, -1),
};

static const struct parquet_node sensor_nodes[] = {
    LEAF("sensor_id", PARQUET_STRING, 1),
    LEAF("temperature", PARQUET_DOUBLE, 2),
    LEAF("humidity", PARQUET_DOUBLE, 3),
    LEAF("pressure", PARQUET_DOUBLE, 4),
    LEAF("battery", PARQUET_DOUBLE, 5),
    LEAF("status", PARQUET_STRING, 6),
    {"location", PARQUET_STRUCT, 7, 2},
    LEAF("lat", PARQUET_DOUBLE, 8),
    LEAF("lon", PARQUET_DOUBLE, 9),
    LEAF("sequence", PARQUET_DOUBLE, 10),
    LEAF("timestamp", PARQUET_STRING, 11),
    LEAF("_event_time", PARQUET_TIMESTAMP_US, 12),
    LEAF("_ingested_at", PARQUET_TIMESTAMP_US, 13),
    LEAF("retain", PARQUET_BOOLEAN, 14),
    LEAF("qos", PARQUET_DOUBLE, 15),
    LEAF("topic", PARQUET_STRING, 16),
    LEAF("source_type", PARQUET_STRING, 17),
    LEAF("_rescued_data", PARQUET_STRING, 18),
};

static uint64_t next_random(struct parquet_rows *rows)
{
    rows->random += 0x9e3779b97f4a7c15ULL;
    uint64_t word = rows->random;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ULL;
    word = (word ^ word >> 27) * 0x94d049bb133111ebULL;
    return word ^ word >> 31;
}

static uint32_t below(struct parquet_rows *rows, uint32_t limit)
{
    return (uint32_t)(next_random(rows) % limit);
}

static void must(enum err err)
{
    if (err) {
        (void)fprintf(stderr, "parquet_rows: %s\n", err_text(err));
        abort();
    }
}

bool parquet_rows_scenario(const char *name, enum parquet_rows_scenario *ret_scenario)
{
    static const char *const names[] = {"mixed", "edges", "sensors", "nulls", "sorted"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_scenario = (enum parquet_rows_scenario)i;
            return true;
        }
    }
    return false;
}

void parquet_rows_init(struct parquet_rows *rows, enum parquet_rows_scenario scenario,
                       uint64_t seed, struct buf *json)
{
    bool sensors = scenario == PARQUET_ROWS_SENSORS;
    *rows = (struct parquet_rows){
        .scenario = scenario,
        .nodes = sensors ? sensor_nodes : nested_nodes,
        .node_count = sensors ? sizeof(sensor_nodes) / sizeof(sensor_nodes[0])
                              : sizeof(nested_nodes) / sizeof(nested_nodes[0]),
        .random = seed,
        .json = json,
    };
    for (size_t i = 0; i < rows->node_count; i++)
        rows->leaf_count += rows->nodes[i].child_count == 0;
    for (size_t i = 0; i < rows->leaf_count; i++) {
        struct parquet_rows_leaf *leaf = &rows->leaves[i];
        buf_init(&leaf->definition_levels, BYTES_MAX);
        buf_init(&leaf->repetition_levels, BYTES_MAX);
        buf_init(&leaf->values, BYTES_MAX);
        buf_init(&leaf->offsets, BYTES_MAX);
        buf_init(&leaf->data, BYTES_MAX);
        buf_init(&leaf->indices, BYTES_MAX);
    }
}

void parquet_rows_fini(struct parquet_rows *rows)
{
    for (size_t i = 0; i < rows->leaf_count; i++) {
        struct parquet_rows_leaf *leaf = &rows->leaves[i];
        buf_fini(&leaf->definition_levels);
        buf_fini(&leaf->repetition_levels);
        buf_fini(&leaf->values);
        buf_fini(&leaf->offsets);
        buf_fini(&leaf->data);
        buf_fini(&leaf->indices);
    }
}

static double edge_number(struct parquet_rows *rows)
{
    static const double edges[] = {
        0.0, -0.0, 1.5, -1.5, 5e-324, 1.7976931348623157e308, HUGE_VAL, -HUGE_VAL, 1e-3, 123456.75};
    uint32_t pick = below(rows, 12);
    if (rows->row / 500 % 3 == 1) /* whole pages of NaN */
        return (double)NAN;
    return pick >= 10 ? (double)NAN : edges[pick];
}

static double make_number(struct parquet_rows *rows, const char *name)
{
    if (rows->scenario == PARQUET_ROWS_EDGES)
        return edge_number(rows);
    if (rows->scenario == PARQUET_ROWS_SORTED)
        return (double)rows->row * 0.5;
    if (rows->scenario != PARQUET_ROWS_SENSORS)
        return below(rows, 2) ? (double)below(rows, 50) : (double)(int64_t)next_random(rows) * 1e-3;
    double drift = sin((double)rows->row * 0.001);
    if (strcmp(name, "temperature") == 0)
        return rint((20 + 5 * drift + below(rows, 100) * 0.01) * 100) / 100;
    if (strcmp(name, "humidity") == 0)
        return rint((50 - 10 * drift + below(rows, 40) * 0.05) * 10) / 10;
    if (strcmp(name, "pressure") == 0)
        return 1000 + below(rows, 3000) * 0.01 + (double)below(rows, 1000) * 1e-5;
    if (strcmp(name, "battery") == 0)
        return 100 - (double)(rows->row / 5000);
    if (strcmp(name, "sequence") == 0)
        return (double)rows->row;
    if (strcmp(name, "qos") == 0)
        return 1;
    return 52 + (double)(rows->row % 100) * 0.013;
}

static int64_t make_instant(struct parquet_rows *rows, const char *name)
{
    int64_t base = 1763990000000000LL + (int64_t)rows->row * 1000;
    if (rows->scenario == PARQUET_ROWS_SORTED)
        return base;
    if (rows->scenario == PARQUET_ROWS_SENSORS)
        return name[1] == 'e' ? base : base + 1200 + below(rows, 300);
    return base - (int64_t)below(rows, 1000000000);
}

static void put_repeated(struct buf *data, const char *unit, size_t times)
{
    for (size_t i = 0; i < times; i++)
        must(buf_text(data, unit));
}

/* What sits badly with truncation: long ones, with whole characters at and over the limit, the last
 * code points of each length, bytes 0xff in binaries. */
static void put_edge_text(struct parquet_rows *rows, struct buf *data, bool is_binary)
{
    static const char *const units[] = {
        "a", "é", "€", "😀", "\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"};
    uint32_t pick = below(rows, 12);
    if (pick < 9) {
        put_repeated(data, "x", below(rows, 3));
        put_repeated(data, is_binary ? "\xff" : units[pick], below(rows, 90));
    } else if (pick == 9) {
        put_repeated(data, "long", 100 + below(rows, 400));
    } else if (pick == 10) {
        must(buf_append(data, "nul\0inside", 10));
    }
}

static void put_sensor_text(struct parquet_rows *rows, struct buf *data, const char *name)
{
    static const char *const states[] = {"ok", "ok", "ok", "low_battery", "fault"};
    uint32_t sensor = (uint32_t)(rows->row % 100);
    if (strcmp(name, "sensor_id") == 0)
        must(buf_printf(data, "sensor-%04u", sensor));
    else if (strcmp(name, "topic") == 0)
        must(buf_printf(data, "smartcity/sensors/district-%u/sensor-%04u", sensor % 7, sensor));
    else if (strcmp(name, "status") == 0)
        must(buf_text(data, states[below(rows, 5)]));
    else if (strcmp(name, "source_type") == 0)
        must(buf_text(data, "mqtt"));
    else
        must(buf_printf(data, "2026-11-24T%02u:%02u:%02u.%06u+00:00",
                        (unsigned)(rows->row / 3600000 % 24), (unsigned)(rows->row / 60000 % 60),
                        (unsigned)(rows->row / 1000 % 60), (unsigned)(rows->row % 1000 * 1000)));
}

static void put_text(struct parquet_rows *rows, struct buf *data, const struct parquet_node *node)
{
    static const char *const starts[] = {"", "hé", "héllo ", "wörld"};
    bool is_binary = node->kind == PARQUET_BINARY;
    if (rows->scenario == PARQUET_ROWS_EDGES)
        put_edge_text(rows, data, is_binary);
    else if (rows->scenario == PARQUET_ROWS_SENSORS)
        put_sensor_text(rows, data, node->name);
    else if (rows->scenario == PARQUET_ROWS_SORTED)
        must(buf_printf(data, "row-%012zu", rows->row));
    else if (strcmp(node->name, "topic") == 0)
        must(buf_printf(data, "city/%u", below(rows, 9)));
    else
        must(buf_printf(data, "%s%llx", starts[below(rows, 4)],
                        (unsigned long long)next_random(rows) >> below(rows, 64)));
}

/* Numbers as %a text, binaries as hex, instants as microseconds. */
static void json_value(struct buf *json, const struct parquet_node *node, double number,
                       int64_t instant, uint8_t flag, struct bytes text)
{
    if (!json)
        return;
    switch (node->kind) {
    case PARQUET_DOUBLE:
        must(buf_printf(json, "\"%a\"", number));
        break;
    case PARQUET_BOOLEAN:
        must(buf_text(json, flag ? "true" : "false"));
        break;
    case PARQUET_TIMESTAMP_US:
        must(buf_printf(json, "%lld", (long long)instant));
        break;
    case PARQUET_STRING:
        must(buf_json_string(json, text));
        break;
    case PARQUET_BINARY:
        must(buf_byte(json, '"'));
        for (size_t i = 0; i < text.size; i++)
            must(buf_printf(json, "%02x", text.data[i]));
        must(buf_byte(json, '"'));
        break;
    case PARQUET_STRUCT:
    case PARQUET_LIST:
    default:
        abort();
    }
}

static void json_text(struct parquet_rows *rows, const char *text)
{
    if (rows->json)
        must(buf_text(rows->json, text));
}

static void add_value(struct parquet_rows *rows, struct parquet_rows_leaf *leaf,
                      const struct parquet_node *node)
{
    double number = 0;
    int64_t instant = 0;
    uint8_t flag = 0;
    size_t text_begin = leaf->data.size;
    if (node->kind == PARQUET_DOUBLE) {
        number = make_number(rows, node->name);
        must(buf_append(&leaf->values, &number, sizeof(number)));
    } else if (node->kind == PARQUET_TIMESTAMP_US) {
        instant = make_instant(rows, node->name);
        must(buf_append(&leaf->values, &instant, sizeof(instant)));
    } else if (node->kind == PARQUET_BOOLEAN) {
        flag = rows->scenario == PARQUET_ROWS_SENSORS ? 0 : (uint8_t)below(rows, 2);
        must(buf_byte(&leaf->values, flag));
    } else {
        put_text(rows, &leaf->data, node);
        must(buf_u32(&leaf->offsets, (uint32_t)leaf->data.size));
    }
    json_value(rows->json, node, number, instant, flag,
               bytes_from(leaf->data.data + text_begin, leaf->data.size - text_begin));
    leaf->value_count++;
}

static void add_level(struct parquet_rows_leaf *leaf, unsigned definition, unsigned repetition)
{
    must(buf_byte(&leaf->definition_levels, (uint8_t)definition));
    must(buf_byte(&leaf->repetition_levels, (uint8_t)repetition));
}

/* Cursors over the nodes and leaves of one subtree. */
struct walk {
    size_t node;
    size_t leaf;
};

static void add_null(struct parquet_rows *rows, struct walk *walk, unsigned definition,
                     unsigned repetition)
{
    const struct parquet_node *node = &rows->nodes[walk->node++];
    if (node->child_count == 0)
        add_level(&rows->leaves[walk->leaf++], definition, repetition);
    for (uint32_t i = 0; i < node->child_count; i++)
        add_null(rows, walk, definition, repetition);
}

static bool is_null(struct parquet_rows *rows, const struct parquet_node *node)
{
    switch (rows->scenario) {
    case PARQUET_ROWS_SENSORS:
        return strcmp(node->name, "_rescued_data") == 0;
    case PARQUET_ROWS_NULLS:
        return rows->row < 2500 || below(rows, 100) != 0;
    case PARQUET_ROWS_SORTED:
        return rows->row / 1000 == 3; /* a page of nulls among the sorted */
    case PARQUET_ROWS_MIXED:
    case PARQUET_ROWS_EDGES:
    default:
        return below(rows, 6) == 0;
    }
}

static void add_any(struct parquet_rows *rows, struct walk *walk, unsigned definition,
                    unsigned repetition, unsigned depth);

static void add_list(struct parquet_rows *rows, struct walk *walk, unsigned definition,
                     unsigned repetition, unsigned depth)
{
    uint32_t count = below(rows, 5);
    struct walk begin = *walk;
    json_text(rows, "[");
    if (count == 0)
        add_null(rows, walk, definition, repetition);
    for (uint32_t i = 0; i < count; i++) {
        *walk = begin;
        json_text(rows, i ? "," : "");
        add_any(rows, walk, definition + 1, i ? depth + 1 : repetition, depth + 1);
    }
    json_text(rows, "]");
}

static void add_struct(struct parquet_rows *rows, struct walk *walk,
                       const struct parquet_node *node, unsigned definition, unsigned repetition,
                       unsigned depth)
{
    for (uint32_t i = 0; i < node->child_count; i++) {
        json_text(rows, i ? ",\"" : "{\"");
        json_text(rows, rows->nodes[walk->node].name);
        json_text(rows, "\":");
        add_any(rows, walk, definition, repetition, depth);
    }
    json_text(rows, "}");
}

static void add_any(struct parquet_rows *rows, struct walk *walk, unsigned definition,
                    unsigned repetition, unsigned depth)
{
    const struct parquet_node *node = &rows->nodes[walk->node];
    if (is_null(rows, node)) {
        json_text(rows, "null");
        add_null(rows, walk, definition, repetition);
        return;
    }
    walk->node++;
    if (node->kind == PARQUET_STRUCT) {
        add_struct(rows, walk, node, definition + 1, repetition, depth);
    } else if (node->kind == PARQUET_LIST) {
        add_list(rows, walk, definition + 1, repetition, depth);
    } else {
        struct parquet_rows_leaf *leaf = &rows->leaves[walk->leaf++];
        add_level(leaf, definition + 1, repetition);
        add_value(rows, leaf, node);
    }
}

static void clear(struct parquet_rows_leaf *leaf)
{
    buf_clear(&leaf->definition_levels);
    buf_clear(&leaf->repetition_levels);
    buf_clear(&leaf->values);
    buf_clear(&leaf->offsets);
    buf_clear(&leaf->data);
    buf_clear(&leaf->indices);
    leaf->value_count = 0;
    must(buf_u32(&leaf->offsets, 0));
}

/* "topic" comes as the product's builders send it, with a dictionary of their own: here one entry a
 * value, backwards, with one unused in front. */
static void view_with_dictionary(struct parquet_rows_leaf *leaf, struct parquet_leaf *view)
{
    for (size_t i = 0; i < leaf->value_count; i++)
        must(buf_u32(&leaf->indices, (uint32_t)i));
    view->indices = leaf->value_count ? (const uint32_t *)(void *)leaf->indices.data : NULL;
    view->dictionary_count = leaf->value_count;
}

static struct parquet_leaf make_view(struct parquet_rows_leaf *leaf, bool is_flat)
{
    return (struct parquet_leaf){
        .definition_levels = leaf->definition_levels.data,
        .repetition_levels = is_flat ? NULL : leaf->repetition_levels.data,
        .level_count = leaf->definition_levels.size,
        .value_count = leaf->value_count,
        .values = leaf->values.size ? leaf->values.data : NULL,
        .offsets = (const uint32_t *)(void *)leaf->offsets.data,
        .data = leaf->data.data,
    };
}

void parquet_rows_fill(struct parquet_rows *rows, size_t count)
{
    bool sensors = rows->scenario == PARQUET_ROWS_SENSORS;
    for (size_t i = 0; i < rows->leaf_count; i++)
        clear(&rows->leaves[i]);
    for (size_t i = 0; i < count; i++, rows->row++) {
        struct walk walk = {0};
        while (walk.node < rows->node_count) {
            const char *name = rows->nodes[walk.node].name;
            json_text(rows, walk.node ? ",\"" : "{\"");
            json_text(rows, name);
            json_text(rows, "\":");
            add_any(rows, &walk, 0, 0, 0);
        }
        json_text(rows, "}\n");
    }
    for (size_t i = 0; i < rows->leaf_count; i++) {
        bool is_flat = true;
        for (size_t k = 0; k < rows->leaves[i].repetition_levels.size && is_flat; k++)
            is_flat = rows->leaves[i].repetition_levels.data[k] == 0;
        rows->views[i] = make_view(&rows->leaves[i], is_flat);
        /* What an all-present flat column looks like to the product. */
        if (sensors && rows->leaves[i].value_count == rows->views[i].level_count)
            rows->views[i].definition_levels = NULL;
    }
    if (!sensors)
        view_with_dictionary(&rows->leaves[rows->leaf_count - 1],
                             &rows->views[rows->leaf_count - 1]);
}
