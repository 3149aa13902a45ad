/*
 * A column chunk at a time: build its dictionary, decide, write the dictionary page, then page by
 * page. What the footer needs is encoded when a chunk is finished and kept as bytes; of pages
 * nothing is kept longer than that.
 *
 *     PAR1 | row group: chunk: [dictionary page] data page ... | ... | column indexes |
 *     offset indexes | footer | footer size (4) | PAR1
 *
 * Whether the dictionary pays: compared are the bytes plain and with dictionary. Far apart, that
 * decides; near each other (bit-packed indices and plain values compress differently), the
 * dictionary and one page both ways are compressed, and the sizes scaled to the chunk decide.
 */
#include "lake/parquet_writer.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "codec/compression.h"
#include "codec/rle.h"
#include "lake/parquet_dictionary.h"
#include "lake/parquet_footer.h"
#include "lake/parquet_page.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define FOOTER_BYTES_MAX    ((size_t)INT32_MAX)
#define PAGE_BYTES_MAX      ((size_t)INT32_MAX)
#define SCHEMA_BYTES_MAX    (64 * MIB)
#define ROW_GROUPS_MAX      INT16_MAX
#define DICTIONARY_SURELY   4 /* so many times smaller: no trial */
#define TRIAL_BYTES_MAX     (256 * MIB)
#define PAGE_OVERHEAD_BYTES 24

struct parquet_writer {
    struct parquet_options options;
    enum err (*on_bytes)(void *ctx, struct bytes bytes);
    void *ctx;
    struct arena arena; /* the schema */
    struct parquet_schema schema;
    struct compressor compressor;
    struct parquet_dictionary dictionary;
    struct buf page;       /* uncompressed body */
    struct buf compressed; /* and its compression */
    struct buf header;
    uint64_t offset;   /* bytes given to the sink */
    uint32_t checksum; /* of these */
    bool is_begun;

    /* of the chunk being written */
    struct parquet_chunk_totals totals;
    struct parquet_page_entry *pages;
    size_t page_count, page_capacity;
    uint32_t *entry_page; /* of each dictionary entry: the last page that used it, + 1 */
    size_t entry_page_capacity;

    /* of all finished ones */
    struct buf metadata;
    struct buf column_indexes;
    struct buf offset_indexes;
    struct parquet_chunk_record *chunks;
    size_t chunk_capacity;
    struct parquet_row_group_record *row_groups;
    size_t row_group_count, row_group_capacity;
};

/* What decides how one chunk's pages are encoded. */
struct chunk {
    const struct parquet_column *column;
    const struct parquet_leaf *leaf;
    bool use_dictionary;
    unsigned index_width;
};

static enum err options_check(const struct parquet_options *options)
{
    if (options->page_bytes == 0 || options->page_bytes > PAGE_BYTES_MAX / 2 ||
        options->page_rows == 0 || !options->created_by ||
        (unsigned)options->codec > PARQUET_LZ4_RAW)
        return ERR_INVALID;
    return ERR_OK;
}

static void codec_set(struct parquet_writer *writer)
{
    static const struct {
        enum compression compression;
        enum parquet_compression_codec codec;
    } codecs[] = {
        [PARQUET_NONE] = {COMPRESSION_NONE, PARQUET_CODEC_UNCOMPRESSED},
        [PARQUET_SNAPPY] = {COMPRESSION_SNAPPY, PARQUET_CODEC_SNAPPY},
        [PARQUET_ZSTD] = {COMPRESSION_ZSTD, PARQUET_CODEC_ZSTD},
        [PARQUET_LZ4_RAW] = {COMPRESSION_LZ4_RAW, PARQUET_CODEC_LZ4_RAW},
    };
    compressor_init(&writer->compressor, codecs[writer->options.codec].compression,
                    writer->options.zstd_level);
    writer->totals.codec = codecs[writer->options.codec].codec;
}

enum err parquet_writer_new(const struct parquet_options *options, const struct parquet_node *nodes,
                            size_t node_count, enum err (*on_bytes)(void *ctx, struct bytes bytes),
                            void *ctx, struct parquet_writer **ret_writer)
{
    enum err err = options_check(options);
    if (err)
        return err;
    struct parquet_writer *writer = mem_zalloc(1, sizeof(*writer));
    if (!writer)
        return ERR_NO_MEMORY;
    writer->options = *options;
    writer->on_bytes = on_bytes;
    writer->ctx = ctx;
    arena_init(&writer->arena, SCHEMA_BYTES_MAX);
    codec_set(writer);
    buf_init(&writer->page, PAGE_BYTES_MAX);
    buf_init(&writer->compressed, PAGE_BYTES_MAX);
    buf_init(&writer->header, KIB);
    buf_init(&writer->metadata, FOOTER_BYTES_MAX);
    buf_init(&writer->column_indexes, FOOTER_BYTES_MAX);
    buf_init(&writer->offset_indexes, FOOTER_BYTES_MAX);
    err = parquet_schema_build(&writer->schema, &writer->arena, nodes, node_count);
    if (err) {
        parquet_writer_free(writer);
        return err;
    }
    *ret_writer = writer;
    return ERR_OK;
}

void parquet_writer_free(struct parquet_writer *writer)
{
    if (!writer)
        return;
    arena_fini(&writer->arena);
    compressor_fini(&writer->compressor);
    parquet_dictionary_fini(&writer->dictionary);
    buf_fini(&writer->page);
    buf_fini(&writer->compressed);
    buf_fini(&writer->header);
    buf_fini(&writer->metadata);
    buf_fini(&writer->column_indexes);
    buf_fini(&writer->offset_indexes);
    mem_free(writer->pages);
    mem_free(writer->entry_page);
    mem_free(writer->chunks);
    mem_free(writer->row_groups);
    mem_free(writer);
}

static enum err emit(struct parquet_writer *writer, struct bytes bytes)
{
    if (bytes.size == 0)
        return ERR_OK;
    enum err err = writer->on_bytes(writer->ctx, bytes);
    if (!err)
        writer->offset += bytes.size;
    writer->checksum = crc32c(writer->checksum, bytes.data, bytes.size);
    return err;
}

static enum err begin_file(struct parquet_writer *writer)
{
    if (writer->is_begun)
        return ERR_OK;
    writer->is_begun = true;
    return emit(writer, bytes_from(PARQUET_MAGIC, PARQUET_MAGIC_BYTES));
}

/* Makes room for one more element; the array keeps its content. */
static enum err grow(void **array, size_t *capacity, size_t count, size_t element_bytes)
{
    if (count <= *capacity)
        return ERR_OK;
    size_t wanted = *capacity * 2 > count ? *capacity * 2 : count;
    if (wanted > SIZE_MAX / 2 / element_bytes)
        return ERR_TOO_LARGE;
    void *grown = mem_realloc(*array, wanted * element_bytes);
    if (!grown)
        return ERR_NO_MEMORY;
    *array = grown;
    *capacity = wanted;
    return ERR_OK;
}

/* Compresses the page buffer and gives header and body to the sink. */
static enum err emit_page(struct parquet_writer *writer, enum parquet_page_type type,
                          enum parquet_encoding encoding, uint64_t count, uint32_t *ret_bytes)
{
    struct bytes body;
    size_t plain_bytes = writer->page.size;
    enum err err =
        compressor_apply(&writer->compressor, buf_bytes(&writer->page), &writer->compressed, &body);
    if (err)
        return err;
    if (body.size > PAGE_BYTES_MAX - KIB)
        return ERR_TOO_LARGE;
    buf_clear(&writer->header);
    parquet_put_page_header(&writer->header,
                            &(struct parquet_page_header){
                                .type = type,
                                .encoding = encoding,
                                .count = count,
                                .uncompressed_bytes = plain_bytes,
                                .compressed_bytes = body.size,
                                .has_crc = writer->options.has_checksums,
                                .crc = writer->options.has_checksums ? parquet_page_crc(body) : 0,
                            });
    if (writer->header.err)
        return writer->header.err;
    writer->totals.uncompressed_bytes += writer->header.size + plain_bytes;
    writer->totals.compressed_bytes += writer->header.size + body.size;
    *ret_bytes = (uint32_t)(writer->header.size + body.size);
    err = emit(writer, buf_bytes(&writer->header));
    return err ? err : emit(writer, body);
}

static enum err emit_dictionary_page(struct parquet_writer *writer, const struct chunk *chunk)
{
    uint32_t bytes;
    buf_clear(&writer->page);
    enum err err = parquet_put_plain(&writer->page, chunk->column->kind, chunk->leaf,
                                     writer->dictionary.entries, 0, writer->dictionary.entry_count);
    if (err)
        return err;
    writer->totals.dictionary_page_offset = writer->offset;
    writer->totals.has_dictionary = true;
    return emit_page(writer, PARQUET_PAGE_DICTIONARY, PARQUET_ENCODING_PLAIN,
                     writer->dictionary.entry_count, &bytes);
}

/* Appends a span's values to the page buffer. */
static enum err put_values(struct parquet_writer *writer, const struct chunk *chunk, size_t begin,
                           size_t end)
{
    if (chunk->use_dictionary)
        return parquet_put_indices(&writer->page, writer->dictionary.indices + begin, end - begin,
                                   chunk->index_width);
    return parquet_put_plain(&writer->page, chunk->column->kind, chunk->leaf, chunk->leaf->indices,
                             begin, end);
}

/* Each dictionary entry is looked at once a page. */
static void range_of_entries(struct parquet_writer *writer, const struct chunk *chunk,
                             const struct parquet_span *span, struct parquet_range *range)
{
    const uint32_t *indices = writer->dictionary.indices;
    uint32_t mark = (uint32_t)writer->page_count + 1;
    for (size_t i = span->value_begin; i < span->value_end; i++) {
        uint32_t entry = indices[i];
        if (writer->entry_page[entry] != mark) {
            size_t value = writer->dictionary.entries[entry];
            writer->entry_page[entry] = mark;
            parquet_range_add(range, chunk->column->kind, chunk->leaf, value, value + 1);
        }
    }
}

static void span_range(struct parquet_writer *writer, const struct chunk *chunk,
                       const struct parquet_span *span, struct parquet_range *range)
{
    const struct parquet_leaf *leaf = chunk->leaf;
    *range = (struct parquet_range){0};
    if (chunk->use_dictionary) {
        range_of_entries(writer, chunk, span, range);
    } else if (!leaf->indices) {
        parquet_range_add(range, chunk->column->kind, leaf, span->value_begin, span->value_end);
    } else {
        for (size_t i = span->value_begin; i < span->value_end; i++)
            parquet_range_add(range, chunk->column->kind, leaf, leaf->indices[i],
                              (size_t)leaf->indices[i] + 1);
    }
}

static enum err add_page_entry(struct parquet_writer *writer, const struct chunk *chunk,
                               const struct parquet_span *span, uint64_t first_row,
                               const struct parquet_range *range, struct parquet_page_entry **ret)
{
    void *pages = writer->pages;
    enum err err =
        grow(&pages, &writer->page_capacity, writer->page_count + 1, sizeof(*writer->pages));
    writer->pages = pages;
    if (err)
        return err;
    struct parquet_page_entry *page = &writer->pages[writer->page_count++];
    size_t values = span->value_end - span->value_begin;
    page->offset = writer->offset;
    page->first_row = first_row;
    page->null_count = span->level_end - span->level_begin - values;
    page->is_all_null = values == 0;
    parquet_bound_min(&page->min, chunk->column->kind, range);
    parquet_bound_max(&page->max, chunk->column->kind, range);
    writer->totals.null_count += page->null_count;
    writer->totals.level_count += span->level_end - span->level_begin;
    *ret = page;
    return ERR_OK;
}

static enum err emit_data_page(struct parquet_writer *writer, const struct chunk *chunk,
                               const struct parquet_span *span, uint64_t first_row,
                               struct parquet_range *chunk_range)
{
    struct parquet_range range;
    struct parquet_page_entry *page;
    span_range(writer, chunk, span, &range);
    parquet_range_merge(chunk_range, chunk->column->kind, &range);
    enum err err = add_page_entry(writer, chunk, span, first_row, &range, &page);
    if (err)
        return err;
    buf_clear(&writer->page);
    err = parquet_put_levels(&writer->page, chunk->column, chunk->leaf, span);
    if (!err)
        err = put_values(writer, chunk, span->value_begin, span->value_end);
    if (err)
        return err;
    writer->totals.data_page_count++;
    return emit_page(writer, PARQUET_PAGE_DATA,
                     chunk->use_dictionary ? PARQUET_ENCODING_RLE_DICTIONARY
                                           : PARQUET_ENCODING_PLAIN,
                     span->level_end - span->level_begin, &page->size_bytes);
}

/* The compressed size of some values, and of nothing else. */
static enum err trial_bytes(struct parquet_writer *writer, const struct chunk *chunk, size_t end,
                            size_t *ret_bytes)
{
    struct bytes body;
    buf_clear(&writer->page);
    enum err err = put_values(writer, chunk, 0, end);
    if (!err)
        err = compressor_apply(&writer->compressor, buf_bytes(&writer->page), &writer->compressed,
                               &body);
    if (!err)
        *ret_bytes = body.size;
    return err;
}

static enum err trial(struct parquet_writer *writer, struct chunk *chunk)
{
    struct bytes body;
    size_t indices_bytes = 0;
    size_t plain_bytes = 0;
    size_t values = chunk->leaf->value_count;
    size_t sample = values < writer->options.page_rows ? values : writer->options.page_rows;
    buf_clear(&writer->page);
    enum err err = parquet_put_plain(&writer->page, chunk->column->kind, chunk->leaf,
                                     writer->dictionary.entries, 0, writer->dictionary.entry_count);
    if (!err)
        err = compressor_apply(&writer->compressor, buf_bytes(&writer->page), &writer->compressed,
                               &body);
    if (err)
        return err;
    double entries_bytes = (double)(body.size + PAGE_OVERHEAD_BYTES);
    chunk->use_dictionary = true;
    err = trial_bytes(writer, chunk, sample, &indices_bytes);
    chunk->use_dictionary = false;
    if (!err)
        err = trial_bytes(writer, chunk, sample, &plain_bytes);
    double scale = (double)values / (double)sample;
    chunk->use_dictionary =
        entries_bytes + (double)indices_bytes * scale < (double)plain_bytes * scale;
    return err;
}

/* Sets use_dictionary and index_width. */
static enum err decide(struct parquet_writer *writer, struct chunk *chunk)
{
    struct parquet_dictionary *dictionary = &writer->dictionary;
    bool found;
    if (chunk->column->kind == PARQUET_BOOLEAN || chunk->leaf->value_count == 0)
        return ERR_OK;
    enum err err = parquet_dictionary_build(dictionary, chunk->column->kind, chunk->leaf, &found);
    if (err || !found)
        return err;
    chunk->index_width = rle_width((uint32_t)dictionary->entry_count - 1);
    size_t bytes = dictionary->entries_bytes + PAGE_OVERHEAD_BYTES +
                   (chunk->leaf->value_count * chunk->index_width + 7) / 8;
    if (bytes >= dictionary->plain_bytes)
        return ERR_OK;
    chunk->use_dictionary = true;
    if (writer->options.codec == PARQUET_NONE || dictionary->plain_bytes > TRIAL_BYTES_MAX ||
        bytes * DICTIONARY_SURELY < dictionary->plain_bytes)
        return ERR_OK;
    return trial(writer, chunk);
}

static enum err entry_pages_prepare(struct parquet_writer *writer)
{
    void *array = writer->entry_page;
    size_t count = writer->dictionary.entry_count;
    enum err err = grow(&array, &writer->entry_page_capacity, count, sizeof(uint32_t));
    writer->entry_page = array;
    if (!err)
        memset(writer->entry_page, 0, count * sizeof(uint32_t));
    return err;
}

/* Encodes the chunk's metadata and indexes for the footer. */
static enum err finish_chunk(struct parquet_writer *writer, const struct chunk *chunk,
                             struct parquet_chunk_record *record)
{
    record->metadata_begin = writer->metadata.size;
    record->column_index_begin = writer->column_indexes.size;
    record->offset_index_begin = writer->offset_indexes.size;
    parquet_put_column_metadata(&writer->metadata, chunk->column, &writer->totals);
    parquet_put_column_index(&writer->column_indexes, chunk->column->kind, writer->pages,
                             writer->page_count);
    parquet_put_offset_index(&writer->offset_indexes, writer->pages, writer->page_count);
    record->metadata_size = writer->metadata.size - record->metadata_begin;
    record->column_index_size = writer->column_indexes.size - record->column_index_begin;
    record->offset_index_size = writer->offset_indexes.size - record->offset_index_begin;
    if (writer->metadata.err)
        return writer->metadata.err;
    return writer->column_indexes.err ? writer->column_indexes.err : writer->offset_indexes.err;
}

static enum err emit_pages(struct parquet_writer *writer, const struct chunk *chunk,
                           struct parquet_range *range)
{
    struct parquet_span span = {0};
    uint64_t first_row = 0;
    while (span.level_end < chunk->leaf->level_count) {
        struct parquet_span previous = span;
        parquet_span_next(chunk->column, chunk->leaf, &previous, writer->options.page_rows,
                          writer->options.page_bytes, &span);
        enum err err = emit_data_page(writer, chunk, &span, first_row, range);
        if (err)
            return err;
        first_row += span.rows;
    }
    return ERR_OK;
}

static enum err write_chunk(struct parquet_writer *writer, struct chunk *chunk,
                            struct parquet_chunk_record *record)
{
    struct parquet_range range = {0};
    writer->totals = (struct parquet_chunk_totals){.codec = writer->totals.codec};
    writer->page_count = 0;
    enum err err = decide(writer, chunk);
    if (!err && chunk->use_dictionary) {
        err = entry_pages_prepare(writer);
        if (!err)
            err = emit_dictionary_page(writer, chunk);
    }
    writer->totals.data_page_offset = writer->offset;
    if (!err)
        err = emit_pages(writer, chunk, &range);
    if (err)
        return err;
    parquet_bounds_of_chunk(&writer->totals.min, &writer->totals.max, chunk->column->kind, &range);
    return finish_chunk(writer, chunk, record);
}

static enum err records_grow(struct parquet_writer *writer)
{
    size_t row_groups = writer->row_group_count + 1;
    void *array = writer->row_groups;
    enum err err =
        grow(&array, &writer->row_group_capacity, row_groups, sizeof(*writer->row_groups));
    writer->row_groups = array;
    if (err)
        return err;
    array = writer->chunks;
    err = grow(&array, &writer->chunk_capacity, row_groups * writer->schema.column_count,
               sizeof(*writer->chunks));
    writer->chunks = array;
    return err;
}

static enum err leaves_check(const struct parquet_writer *writer, uint64_t row_count,
                             const struct parquet_leaf *leaves)
{
    if (row_count == 0)
        return ERR_INVALID;
    for (size_t i = 0; i < writer->schema.column_count; i++) {
        enum err err = parquet_leaf_check(&writer->schema.columns[i], &leaves[i], row_count);
        if (err)
            return err;
    }
    return ERR_OK;
}

enum err parquet_writer_row_group(struct parquet_writer *writer, uint64_t row_count,
                                  const struct parquet_leaf *leaves)
{
    size_t column_count = writer->schema.column_count;
    if (writer->row_group_count == ROW_GROUPS_MAX)
        return ERR_TOO_MANY;
    enum err err = leaves_check(writer, row_count, leaves);
    if (!err)
        err = begin_file(writer);
    if (!err)
        err = records_grow(writer);
    if (err)
        return err;
    struct parquet_row_group_record *row_group = &writer->row_groups[writer->row_group_count];
    *row_group =
        (struct parquet_row_group_record){.row_count = row_count, .file_offset = writer->offset};
    for (size_t i = 0; i < column_count; i++) {
        struct chunk chunk = {.column = &writer->schema.columns[i], .leaf = &leaves[i]};
        err = write_chunk(writer, &chunk,
                          &writer->chunks[writer->row_group_count * column_count + i]);
        if (err)
            return err;
        row_group->uncompressed_bytes += writer->totals.uncompressed_bytes;
        row_group->compressed_bytes += writer->totals.compressed_bytes;
    }
    writer->row_group_count++;
    return ERR_OK;
}

static enum err emit_footer(struct parquet_writer *writer, const struct parquet_footer *footer)
{
    struct buf *out = &writer->page;
    char digits[PARQUET_CHECKSUM_CHARS + 1];
    size_t checksum_at;
    buf_clear(out);
    parquet_put_footer(out, footer, &checksum_at);
    (void)buf_u32(out, (uint32_t)out->size);
    (void)buf_append(out, PARQUET_MAGIC, PARQUET_MAGIC_BYTES);
    if (out->err)
        return out->err;
    snprintf(digits, sizeof(digits), "%08" PRIx32, crc32c(writer->checksum, out->data, out->size));
    assert(memcmp(out->data + checksum_at, PARQUET_CHECKSUM_NONE, PARQUET_CHECKSUM_CHARS) == 0);
    memcpy(out->data + checksum_at, digits, PARQUET_CHECKSUM_CHARS);
    return emit(writer, buf_bytes(out));
}

enum err parquet_writer_finish(struct parquet_writer *writer,
                               const struct parquet_key_value *metadata, size_t metadata_count)
{
    enum err err = begin_file(writer);
    struct parquet_footer footer = {
        .schema = &writer->schema,
        .row_groups = writer->row_groups,
        .row_group_count = writer->row_group_count,
        .chunks = writer->chunks,
        .metadata = &writer->metadata,
        .column_indexes_offset = writer->offset,
        .offset_indexes_offset = writer->offset + writer->column_indexes.size,
        .created_by = writer->options.created_by,
        .key_values = metadata,
        .key_value_count = metadata_count,
    };
    if (!err)
        err = emit(writer, buf_bytes(&writer->column_indexes));
    if (!err)
        err = emit(writer, buf_bytes(&writer->offset_indexes));
    if (err)
        return err;
    return emit_footer(writer, &footer);
}
