#include "lake/parquet_schema.h"

struct builder {
    struct parquet_schema *schema;
    const struct parquet_node *nodes;
    size_t node_count;
    size_t next; /* node */
};

struct levels {
    unsigned depth;
    unsigned definition;
    unsigned repetition;
};

enum parquet_type parquet_kind_type(enum parquet_kind kind)
{
    switch (kind) {
    case PARQUET_BOOLEAN:
        return PARQUET_TYPE_BOOLEAN;
    case PARQUET_DOUBLE:
        return PARQUET_TYPE_DOUBLE;
    case PARQUET_TIMESTAMP_US:
        return PARQUET_TYPE_INT64;
    case PARQUET_STRING:
    case PARQUET_BINARY:
    case PARQUET_STRUCT:
    case PARQUET_LIST:
    default:
        return PARQUET_TYPE_BYTE_ARRAY;
    }
}

static struct parquet_element *add_element(struct builder *builder, struct parquet_element *parent,
                                           const char *name, enum parquet_repetition repetition)
{
    struct parquet_element *element = &builder->schema->elements[builder->schema->element_count++];
    *element = (struct parquet_element){
        .name = name, .parent = parent, .repetition = repetition, .field_id = -1};
    return element;
}

static enum err add_leaf(struct builder *builder, struct parquet_element *element,
                         const struct parquet_node *node, struct levels levels)
{
    if (node->child_count != 0 || levels.definition > 255 || levels.repetition > 255)
        return ERR_INVALID;
    element->is_leaf = true;
    builder->schema->columns[builder->schema->column_count++] = (struct parquet_column){
        .element = element,
        .kind = node->kind,
        .definition_level_max = (uint8_t)levels.definition,
        .repetition_level_max = (uint8_t)levels.repetition,
    };
    return ERR_OK;
}

static enum err add_node(struct builder *builder, struct parquet_element *parent, const char *name,
                         struct levels levels);

static enum err add_children(struct builder *builder, struct parquet_element *element,
                             const struct parquet_node *node, struct levels levels)
{
    element->child_count = node->child_count;
    if (node->child_count == 0)
        return ERR_INVALID;
    for (uint32_t i = 0; i < node->child_count; i++) {
        enum err err = add_node(builder, element, NULL, levels);
        if (err)
            return err;
    }
    return ERR_OK;
}

static enum err add_list(struct builder *builder, struct parquet_element *element,
                         const struct parquet_node *node, struct levels levels)
{
    if (node->child_count != 1)
        return ERR_INVALID;
    element->is_list = true;
    element->child_count = 1;
    struct parquet_element *middle = add_element(builder, element, "list", PARQUET_REPEATED);
    middle->child_count = 1;
    levels.definition++;
    levels.repetition++;
    return add_node(builder, middle, "element", levels);
}

/* name: NULL for the node's own. Recursion is bounded by the depth. */
static enum err add_node(struct builder *builder, struct parquet_element *parent, const char *name,
                         struct levels levels)
{
    if (builder->next == builder->node_count || ++levels.depth > PARQUET_SCHEMA_DEPTH_MAX)
        return ERR_INVALID;
    const struct parquet_node *node = &builder->nodes[builder->next++];
    if (!name && !node->name)
        return ERR_INVALID;
    struct parquet_element *element =
        add_element(builder, parent, name ? name : node->name, PARQUET_OPTIONAL);
    element->kind = node->kind;
    element->field_id = node->field_id;
    levels.definition++;
    switch (node->kind) {
    case PARQUET_STRUCT:
        return add_children(builder, element, node, levels);
    case PARQUET_LIST:
        return add_list(builder, element, node, levels);
    case PARQUET_BOOLEAN:
    case PARQUET_DOUBLE:
    case PARQUET_TIMESTAMP_US:
    case PARQUET_STRING:
    case PARQUET_BINARY:
        return add_leaf(builder, element, node, levels);
    default:
        return ERR_INVALID;
    }
}

enum err parquet_schema_build(struct parquet_schema *schema, struct arena *arena,
                              const struct parquet_node *nodes, size_t node_count)
{
    struct builder builder = {.schema = schema, .nodes = nodes, .node_count = node_count};
    if (node_count > PARQUET_SCHEMA_NODES_MAX)
        return ERR_INVALID;
    *schema = (struct parquet_schema){
        .elements = arena_zalloc(arena, (2 * node_count + 1) * sizeof(struct parquet_element)),
        .columns = arena_zalloc(arena, (node_count + 1) * sizeof(struct parquet_column)),
    };
    if (!schema->elements || !schema->columns)
        return ERR_NO_MEMORY;
    struct parquet_element *root = add_element(&builder, NULL, "schema", PARQUET_REQUIRED);
    while (builder.next < node_count) {
        enum err err = add_node(&builder, root, NULL, (struct levels){0});
        if (err)
            return err;
        root->child_count++;
    }
    return schema->column_count > 0 ? ERR_OK : ERR_INVALID;
}
