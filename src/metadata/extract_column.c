/*
 * Nothing is argued from how the column came about (what was rescued, other types' texts, routes
 * that name different fields): its sensors are put together here as recount_sensors does, and must
 * be those of the change.
 */
#include "metadata/extract_parts.h"
#include "metadata/sample.h"

#define BYTES_MIN   128 /* of names: four UUIDs */
#define MEMORY_PART 256 /* of the rows', that they are at least: bounds what a recount reads */

/* The column's sensors, all of them. */
struct found {
    struct change change;
    struct distinct all;
};

static void found_fini(struct found *found)
{
    change_fini(&found->change);
    distinct_fini(&found->all);
}

static enum err found_make(struct found *found, const struct leaf *leaf)
{
    enum err err = ERR_OK;
    change_init(&found->change);
    distinct_init(&found->all);
    for (size_t i = 0; i < leaf->value_count && err == ERR_OK; i++)
        err =
            extract_sensor_add(&found->change, bytes_from(leaf->data + leaf->offsets[i],
                                                          leaf->offsets[i + 1] - leaf->offsets[i]));
    if (err == ERR_OK)
        err = distinct_merge(&found->all, &found->change.listed);
    return err == ERR_OK ? distinct_merge(&found->all, &found->change.beyond) : err;
}

enum err extract_sensor_add(struct change *change, struct bytes text)
{
    char room[LIMIT_SAMPLE_BYTES + 1];
    return change_sensor_add(change, sample_sensor_name(text, room));
}

/* The first that has texts of those that the first route may mean. */
static const struct column *column_find(const struct cut_input *cut)
{
    struct bytes own = cut->origins->route_count > 0 ? cut->origins->routes[0].view.sensor_id_field
                                                     : (struct bytes){0};
    const struct bytes names[] = {own.size > 0 ? own : BYTES_LITERAL("sensor_id"),
                                  own.size > 0 ? own : BYTES_LITERAL("sensorId")};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct column *column = schema_child(cut->schema->root, names[i]);
        if (column && column->kind == COLUMN_STRING && column->leaf.value_count > 0)
            return column;
    }
    return NULL;
}

static bool weigh_enough(const struct cut_input *cut, const struct change *change)
{
    size_t bytes = 0;
    for (size_t i = 0; i < change->sensor_count; i++)
        bytes += change->sensors[i].size;
    return bytes >= BYTES_MIN && cut->memory_bytes / MEMORY_PART <= bytes;
}

/* Whether what the change lists stands in found in the same order; *ret_again: with others among
 * them, which were told before. */
static bool in_order(const struct told *told, const struct change *change,
                     const struct change *found, bool *ret_again)
{
    size_t next = 0;
    *ret_again = false;
    for (size_t i = 0; i < found->sensor_count; i++) {
        struct bytes sensor = found->sensors[i];
        if (next < change->sensor_count && bytes_equal(sensor, change->sensors[next]))
            next++;
        else if (distinct_has(&told->sensors, distinct_hash(sensor)))
            *ret_again = true;
        else
            return false;
    }
    return next == change->sensor_count;
}

/* Beyond the list only where the column has all that was ever told: then it counts the same, or
 * where told has but registers, more exactly. */
static bool is_same(const struct told *told, const struct change *change, const struct found *found)
{
    bool again;
    if (!in_order(told, change, &found->change, &again))
        return false;
    if (distinct_is_empty(&change->beyond) && distinct_is_empty(&found->change.beyond))
        return !again || told->sensors_listed < LIMIT_SENSORS_LISTED;
    return !again && distinct_equal(&found->all, &told->sensors);
}

enum err extract_sensors_column(const struct cut_input *cut, const struct told *told,
                                const struct change *change, struct bytes *ret_column)
{
    struct found found;
    *ret_column = (struct bytes){0};
    if (cut->rows->count == 0 || cut->rows->partition_count != 1 || !weigh_enough(cut, change))
        return ERR_OK;
    const struct column *column = column_find(cut);
    if (!column)
        return ERR_OK;
    enum err err = found_make(&found, &column->leaf);
    if (err == ERR_OK && is_same(told, change, &found))
        *ret_column = bytes_from_text(column->own_name);
    found_fini(&found);
    return err;
}
