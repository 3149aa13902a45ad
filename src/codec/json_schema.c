/*
 * Validation: down the schema's tree and the value's at once. Each check says what is wrong and
 * answers whether the value is good.
 *
 * Under anyOf, oneOf and not nothing is reported: the branch is left at its first error, which is
 * kept. When no alternative fits, one error is told: what the alternatives want, and the kept error
 * of the one that came nearest (got deepest), as in "topics must be a string or an array, each item
 * a string: topics[1] must be a string, not 3". So each subschema is walked once for a value, and
 * the work is bounded by nodes of the schema times nodes of the value.
 *
 * A pattern that gives up is neither a match nor none: that ends the whole validation, else "not"
 * would turn it into a pass.
 */
#include "base/limits.h"
#include "base/nearest.h"
#include "codec/json_schema_node.h"

#include <stdio.h>

#define MESSAGE_BYTES_MAX (16 * KIB)
#define PATH_BYTES_MAX    (64 * KIB)

/* An alternative that is being tried. */
struct branch {
    bool wrong;
    unsigned depth; /* of the value it is tried on */
    unsigned rank;  /* how near it came */
    char message[400];
};

struct validation {
    const struct json_schema *schema;
    json_schema_on_error on_error; /* NULL: one error is enough, and is not told */
    void *ctx;
    unsigned error_count;
    bool halted;
    enum err err;
    struct branch *branch; /* the innermost; NULL: errors are reported */
    struct buf message;
    struct buf path;
};

static bool check(struct validation *validation, const struct json_schema_node *node,
                  const json_t *value, const struct json_schema_place *place);

/* No further check can change the answer or tell more. */
static bool is_over(const struct validation *validation)
{
    return validation->halted || (validation->branch && validation->branch->wrong);
}

static void halt(struct validation *validation, enum err err)
{
    validation->halted = true;
    if (validation->err == ERR_OK)
        validation->err = err;
}

/* An alternative for another kind of value is farthest, one whose discriminator differs is next. */
static unsigned branch_rank(const struct branch *branch, const struct json_schema_place *place,
                            const char *keyword)
{
    unsigned depth = place->depth - branch->depth;
    bool is_choice = strcmp(keyword, "const") == 0 || strcmp(keyword, "enum") == 0;
    if (depth == 0 && (is_choice || strcmp(keyword, "type") == 0))
        return 0;
    return depth == 1 && is_choice ? 1 : 2 + depth;
}

static void report(struct validation *validation, const struct json_schema_place *place,
                   const char *keyword, const char *message)
{
    buf_clear(&validation->path);
    json_schema_pointer(&validation->path, place);
    const char *path = buf_cstr(&validation->path);
    if (!path) {
        halt(validation, validation->path.err);
        return;
    }
    validation->on_error(validation->ctx, path, keyword, message);
    if (++validation->error_count == LIMIT_SCHEMA_ERRORS)
        validation->halted = true;
}

/* Ends the message that stands in validation->message. Returns false, as the check does. */
static bool tell(struct validation *validation, const struct json_schema_place *place,
                 const char *keyword)
{
    struct branch *branch = validation->branch;
    if (is_over(validation))
        return false;
    const char *message = buf_cstr(&validation->message);
    if (!message) {
        halt(validation, validation->message.err);
    } else if (branch) {
        branch->wrong = true;
        branch->rank = branch_rank(branch, place, keyword);
        struct bytes kept =
            json_schema_cut(buf_bytes(&validation->message), sizeof(branch->message) - 1);
        snprintf(branch->message, sizeof(branch->message), "%.*s", (int)kept.size, message);
    } else if (!validation->on_error) {
        validation->halted = true;
    } else {
        report(validation, place, keyword, message);
    }
    return false;
}

static struct buf *say(struct validation *validation, const struct json_schema_place *place)
{
    buf_clear(&validation->message);
    json_schema_subject(&validation->message, place);
    return &validation->message;
}

static void say_found(struct buf *out, const struct json_schema_place *place, const json_t *value)
{
    if (place->secret)
        return;
    buf_text(out, ", not ");
    json_schema_value_text(out, value);
}

/* The usual message: what it must be, and what it is (value may be NULL: not said). */
__attribute__((format(printf, 5, 6))) static bool fail(struct validation *validation,
                                                       const struct json_schema_place *place,
                                                       const char *keyword, const json_t *value,
                                                       const char *format, ...)
{
    struct buf *out = say(validation, place);
    va_list arguments;
    va_start(arguments, format);
    buf_byte(out, ' ');
    buf_vprintf(out, format, arguments);
    va_end(arguments);
    if (value)
        say_found(out, place, value);
    return tell(validation, place, keyword);
}

static bool check_type(struct validation *validation, const struct json_schema_node *node,
                       const json_t *value, const struct json_schema_place *place)
{
    if (node->types == 0 || (node->types & json_schema_types_of(value)))
        return true;
    struct buf *out = say(validation, place);
    buf_text(out, " must be ");
    json_schema_types_text(out, node->types);
    say_found(out, place, value);
    return tell(validation, place, "type");
}

static void say_nearest(struct buf *out, const json_t *known, const json_t *value)
{
    struct nearest nearest = {0};
    for (size_t i = 0; json_is_string(value) && i < json_array_size(known); i++)
        if (json_is_string(json_array_get(known, i)))
            nearest_offer(&nearest, json_string_value(value),
                          json_string_value(json_array_get(known, i)));
    if (nearest.word)
        buf_printf(out, "; did you mean \"%s\"?", nearest.word);
}

static bool check_enum(struct validation *validation, const struct json_schema_node *node,
                       const json_t *value, const struct json_schema_place *place)
{
    size_t count = json_array_size(node->enum_values);
    if (!node->enum_values)
        return true;
    for (size_t i = 0; i < count; i++)
        if (json_schema_equal(value, json_array_get(node->enum_values, i)))
            return true;
    struct buf *out = say(validation, place);
    buf_text(out, " must be ");
    json_schema_values_text(out, node->enum_values);
    say_found(out, place, value);
    if (!place->secret)
        say_nearest(out, node->enum_values, value);
    return tell(validation, place, "enum");
}

static bool check_const(struct validation *validation, const struct json_schema_node *node,
                        const json_t *value, const struct json_schema_place *place)
{
    if (!node->const_value || json_schema_equal(value, node->const_value))
        return true;
    struct buf *out = say(validation, place);
    buf_text(out, " must be ");
    json_schema_value_text(out, node->const_value);
    say_found(out, place, value);
    return tell(validation, place, "const");
}

static bool check_bound(struct validation *validation, const json_t *value,
                        const struct json_schema_place *place, const char *keyword,
                        const char *words, const json_t *bound)
{
    struct buf *out = say(validation, place);
    buf_printf(out, " must be %s ", words);
    json_schema_value_text(out, bound);
    say_found(out, place, value);
    return tell(validation, place, keyword);
}

static bool check_number(struct validation *validation, const struct json_schema_node *node,
                         const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    if (!json_is_number(value))
        return true;
    if (node->minimum && json_schema_compare(value, node->minimum) < 0)
        ok = check_bound(validation, value, place, "minimum", "at least", node->minimum);
    if (node->maximum && json_schema_compare(value, node->maximum) > 0)
        ok = check_bound(validation, value, place, "maximum", "at most", node->maximum);
    if (node->exclusive_minimum && json_schema_compare(value, node->exclusive_minimum) <= 0)
        ok = check_bound(validation, value, place, "exclusiveMinimum", "above",
                         node->exclusive_minimum);
    if (node->exclusive_maximum && json_schema_compare(value, node->exclusive_maximum) >= 0)
        ok = check_bound(validation, value, place, "exclusiveMaximum", "below",
                         node->exclusive_maximum);
    if (node->multiple_of && !json_schema_is_multiple(value, node->multiple_of))
        ok =
            check_bound(validation, value, place, "multipleOf", "a multiple of", node->multiple_of);
    return ok;
}

static bool check_length(struct validation *validation, const struct json_schema_node *node,
                         struct bytes text, const struct json_schema_place *place)
{
    if (node->min_length == 0 && node->max_length == SIZE_MAX)
        return true;
    size_t count = json_schema_code_points(text);
    char found[40] = "";
    if (!place->secret)
        snprintf(found, sizeof(found), ", not %zu", count);
    if (count == 0 && node->min_length == 1)
        return fail(validation, place, "minLength", NULL, "must not be empty");
    if (count < node->min_length)
        return fail(validation, place, "minLength", NULL, "must have at least %zu characters%s",
                    node->min_length, found);
    if (count > node->max_length)
        return fail(validation, place, "maxLength", NULL, "must have at most %zu characters%s",
                    node->max_length, found);
    return true;
}

static bool check_pattern(struct validation *validation, const struct json_schema_node *node,
                          const json_t *value, struct bytes text,
                          const struct json_schema_place *place)
{
    if (!node->pattern)
        return true;
    int answer = json_schema_match(validation->schema, node, text);
    if (answer >= 0)
        return true;
    if (answer == PCRE2_ERROR_NOMEMORY) {
        halt(validation, ERR_NO_MEMORY);
        return false;
    }
    struct buf *out = say(validation, place);
    bool is_known = answer == PCRE2_ERROR_NOMATCH;
    buf_text(out, is_known ? " must match the pattern " : " cannot be checked: the pattern ");
    json_schema_name_text(out, node->pattern_text);
    if (is_known) {
        say_found(out, place, value);
        return tell(validation, place, "pattern");
    }
    buf_text(out, " is too costly for this text");
    validation->branch = NULL;
    tell(validation, place, "pattern");
    validation->halted = true;
    return false;
}

static bool check_format(struct validation *validation, const struct json_schema_node *node,
                         const json_t *value, struct bytes text,
                         const struct json_schema_place *place)
{
    if (node->format == JSON_SCHEMA_FORMAT_NONE)
        return true;
    enum err err = json_schema_format_check(node->format, text);
    if (err == ERR_INVALID)
        return fail(validation, place, "format", value, "must be %s",
                    json_schema_format_wish(node->format));
    if (err != ERR_OK)
        halt(validation, err);
    return err == ERR_OK;
}

static bool check_string(struct validation *validation, const struct json_schema_node *node,
                         const json_t *value, const struct json_schema_place *place)
{
    if (!json_is_string(value) || json_schema_is_reference(value))
        return true;
    struct bytes text = bytes_from(json_string_value(value), json_string_length(value));
    if (!check_length(validation, node, text, place))
        return false;
    if (!check_format(validation, node, value, text, place))
        return false;
    return check_pattern(validation, node, value, text, place);
}

static bool check_twins(struct validation *validation, const json_t *value,
                        const struct json_schema_place *place)
{
    size_t first = 0;
    size_t second = 0;
    enum err err = json_schema_find_twin(value, &first, &second);
    if (err == ERR_NOT_FOUND)
        return true;
    if (err == ERR_OK)
        return fail(validation, place, "uniqueItems", NULL,
                    "must not have equal items: [%zu] and [%zu] are", first, second);
    halt(validation, err);
    return false;
}

static bool check_array(struct validation *validation, const struct json_schema_node *node,
                        const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    size_t count = json_array_size(value);
    if (!json_is_array(value))
        return true;
    if (count < node->min_items)
        ok = count == 0 && node->min_items == 1
                 ? fail(validation, place, "minItems", NULL, "must not be empty")
                 : fail(validation, place, "minItems", NULL,
                        "must have at least %zu items, not %zu", node->min_items, count);
    if (count > node->max_items)
        ok = fail(validation, place, "maxItems", NULL, "must have at most %zu items, not %zu",
                  node->max_items, count);
    if (node->unique_items && !is_over(validation))
        ok &= check_twins(validation, value, place);
    for (size_t i = 0; node->items && i < count && !is_over(validation); i++) {
        struct json_schema_place item = json_schema_at(place, NULL, i);
        ok &= check(validation, node->items, json_array_get(value, i), &item);
    }
    return ok;
}

static bool check_required(struct validation *validation, const json_t *names, const json_t *value,
                           const struct json_schema_place *place, const char *because)
{
    bool ok = true;
    for (size_t i = 0; i < json_array_size(names) && !is_over(validation); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        struct json_schema_place missing = json_schema_at(place, name, 0);
        if (json_object_get(value, name))
            continue;
        struct buf *out = say(validation, &missing);
        buf_text(out, " is required");
        if (because) {
            buf_text(out, " with ");
            json_schema_name_text(out, because);
        }
        buf_text(out, ", and missing");
        ok = tell(validation, &missing, because ? "dependentRequired" : "required");
    }
    return ok;
}

static bool check_dependent(struct validation *validation, const struct json_schema_node *node,
                            const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    const char *name;
    json_t *names;
    json_object_foreach(json_schema_iterable(node->dependent_required), name, names)
    {
        if (json_object_get(value, name) && !is_over(validation))
            ok &= check_required(validation, names, value, place, name);
    }
    return ok;
}

static bool refuse_unknown(struct validation *validation, const struct json_schema_node *node,
                           const char *name, const struct json_schema_place *place)
{
    struct nearest nearest = {0};
    struct map_entry *entry;
    for (size_t at = 0; (entry = map_next(&node->properties, &at));)
        nearest_offer(&nearest, name, (const char *)entry->key);
    struct buf *out = say(validation, place);
    buf_text(out, " is not a known property");
    if (nearest.word)
        buf_printf(out, "; did you mean \"%s\"?", nearest.word);
    return tell(validation, place, "additionalProperties");
}

static struct json_schema_place place_of_member(const struct validation *validation,
                                                const struct json_schema_place *object,
                                                const char *name)
{
    struct json_schema_place place = json_schema_at(object, name, 0);
    place.secret |= map_get(&validation->schema->secrets, bytes_from_text(name)) != NULL;
    return place;
}

/* In the schema's order: a discriminator, which stands first, is looked at first. */
static bool check_known(struct validation *validation, const struct json_schema_node *node,
                        const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    struct map_entry *entry;
    for (size_t at = 0; !is_over(validation) && (entry = map_next(&node->properties, &at));) {
        const char *name = (const char *)entry->key;
        const json_t *member = json_object_get(value, name);
        struct json_schema_place below = place_of_member(validation, place, name);
        if (member)
            ok &= check(validation, entry->value, member, &below);
    }
    return ok;
}

static bool check_additional(struct validation *validation, const struct json_schema_node *node,
                             const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    const char *name;
    json_t *member;
    if (!node->additional)
        return true;
    json_object_foreach(json_schema_iterable(value), name, member)
    {
        if (is_over(validation))
            return ok;
        if (map_get(&node->properties, bytes_from_text(name)))
            continue;
        struct json_schema_place below = place_of_member(validation, place, name);
        ok &= node->additional->refuses_all ? refuse_unknown(validation, node, name, &below)
                                            : check(validation, node->additional, member, &below);
    }
    return ok;
}

static bool check_object(struct validation *validation, const struct json_schema_node *node,
                         const json_t *value, const struct json_schema_place *place)
{
    size_t count = json_object_size(value);
    if (!json_is_object(value))
        return true;
    bool ok = check_known(validation, node, value, place);
    ok &= check_required(validation, node->required, value, place, NULL);
    ok &= check_additional(validation, node, value, place);
    ok &= check_dependent(validation, node, value, place);
    if (count < node->min_properties)
        ok = fail(validation, place, "minProperties", NULL,
                  "must have at least %zu properties, not %zu", node->min_properties, count);
    if (count > node->max_properties)
        ok = fail(validation, place, "maxProperties", NULL,
                  "must have at most %zu properties, not %zu", node->max_properties, count);
    return ok;
}

/* Whether the value fits node; the first error is in ret_branch. */
static bool try_branch(struct validation *validation, const struct json_schema_node *node,
                       const json_t *value, const struct json_schema_place *place,
                       struct branch *ret_branch)
{
    struct branch *outer = validation->branch;
    *ret_branch = (struct branch){.depth = place->depth};
    validation->branch = ret_branch;
    bool ok = check(validation, node, value, place);
    validation->branch = outer;
    return ok;
}

static bool refuse_alternatives(struct validation *validation, const struct json_schema_list *list,
                                const json_t *value, const struct json_schema_place *place,
                                const char *keyword, const struct branch *nearest)
{
    struct buf *out = say(validation, place);
    buf_text(out, " must be ");
    json_schema_wishes_text(out, list);
    if (nearest->rank >= 2)
        buf_printf(out, ": %s", nearest->message);
    else
        say_found(out, place, value);
    return tell(validation, place, keyword);
}

/* count of alternatives that fit, as far as it takes to know; what came nearest of the others. */
static size_t try_alternatives(struct validation *validation, const struct json_schema_list *list,
                               const json_t *value, const struct json_schema_place *place,
                               size_t enough, struct branch *ret_nearest)
{
    size_t count = 0;
    struct branch branch;
    for (size_t i = 0; i < list->count && count < enough && !validation->halted; i++) {
        if (try_branch(validation, list->nodes[i], value, place, &branch))
            count++;
        else if (i == 0 || branch.rank > ret_nearest->rank)
            *ret_nearest = branch;
    }
    return count;
}

static bool check_alternatives(struct validation *validation, const struct json_schema_list *list,
                               const json_t *value, const struct json_schema_place *place,
                               bool exactly_one)
{
    struct branch nearest = {0};
    const char *keyword = exactly_one ? "oneOf" : "anyOf";
    if (list->count == 0 || is_over(validation))
        return true;
    size_t count = try_alternatives(validation, list, value, place, exactly_one ? 2 : 1, &nearest);
    if (validation->halted)
        return false;
    if (count == 1)
        return true;
    if (count == 0)
        return refuse_alternatives(validation, list, value, place, keyword, &nearest);
    struct buf *out = say(validation, place);
    buf_text(out, " must be exactly one of these, and is several: ");
    json_schema_wishes_text(out, list);
    return tell(validation, place, keyword);
}

static bool check_refused(struct validation *validation, const struct json_schema_node *node,
                          const json_t *value, const struct json_schema_place *place)
{
    struct branch branch;
    if (!node->refused || is_over(validation))
        return true;
    if (!try_branch(validation, node->refused, value, place, &branch))
        return !validation->halted;
    struct buf *out = say(validation, place);
    buf_text(out, " must not be ");
    json_schema_wish_text(out, node->refused);
    return tell(validation, place, "not");
}

static bool check_combined(struct validation *validation, const struct json_schema_node *node,
                           const json_t *value, const struct json_schema_place *place)
{
    bool ok = true;
    for (size_t i = 0; i < node->all_of.count && !is_over(validation); i++)
        ok &= check(validation, node->all_of.nodes[i], value, place);
    ok &= check_alternatives(validation, &node->any_of, value, place, false);
    ok &= check_alternatives(validation, &node->one_of, value, place, true);
    ok &= check_refused(validation, node, value, place);
    return ok;
}

/* A value of another type has one error, not those of all that its type brings with it. */
static bool check(struct validation *validation, const struct json_schema_node *node,
                  const json_t *value, const struct json_schema_place *place)
{
    struct json_schema_place secret;
    if (node->write_only && !place->secret) {
        secret = *place;
        secret.secret = true;
        place = &secret;
    }
    if (node->refuses_all)
        return fail(validation, place, "false", NULL, "is not allowed");
    if (!check_type(validation, node, value, place) ||
        !check_enum(validation, node, value, place) || !check_const(validation, node, value, place))
        return false;
    bool ok = check_number(validation, node, value, place);
    ok &= check_string(validation, node, value, place);
    ok &= check_array(validation, node, value, place);
    ok &= check_object(validation, node, value, place);
    return check_combined(validation, node, value, place) && ok;
}

static enum err validate(const struct json_schema *schema, const json_t *value, bool secret,
                         json_schema_on_error on_error, void *ctx)
{
    struct validation validation = {.schema = schema, .on_error = on_error, .ctx = ctx};
    struct json_schema_place root = {.secret = secret};
    bool ok;
    buf_init(&validation.message, MESSAGE_BYTES_MAX);
    buf_init(&validation.path, PATH_BYTES_MAX);
    if (json_schema_is_shallow(value, LIMIT_JSON_DEPTH))
        ok = check(&validation, schema->root, value, &root);
    else
        ok = fail(&validation, &root, "depth", NULL, "is nested more than %d levels deep",
                  LIMIT_JSON_DEPTH);
    buf_fini(&validation.message);
    buf_fini(&validation.path);
    if (validation.err != ERR_OK)
        return validation.err;
    return ok ? ERR_OK : ERR_INVALID;
}

enum err json_schema_validate(const struct json_schema *schema, const json_t *value,
                              json_schema_on_error on_error, void *ctx)
{
    return validate(schema, value, false, on_error, ctx);
}

enum err json_schema_validate_secret(const struct json_schema *schema, const json_t *value,
                                     json_schema_on_error on_error, void *ctx)
{
    return validate(schema, value, true, on_error, ctx);
}
