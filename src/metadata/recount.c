/*
 * The files' names tell the position of their first message, so what is to be counted, and in which
 * order, is known from lists alone. Cuts do not overlap: a file's position is inside the bounds if
 * its cut is.
 *
 * What the cuts say goes into as few changes as keep the order of the schema's evolution and its
 * dates: a new one begins where a field is new or a type rose.
 */
#include "metadata/recount.h"

#include "base/alloc.h"
#include "journal/record.h"
#include "lake/cut.h"
#include "lake/lake_ranges.h"
#include "lake/lake_read.h"
#include "lake/object_key.h"
#include "metadata/change.h"
#include "metadata/change_text.h"
#include "metadata/recount_columns.h"

#include <stdio.h>
#include <stdlib.h>

#define CHANGES_MAX       200
#define CHANGES_BYTES_MAX (32 * MIB) /* no more are begun */
#define SUM_BYTES_MAX     (16 * MIB) /* of what is merged, names told again included */
#define METADATA_MAX      ((size_t)256 * 1024 * 1024)
#define FOOTER_BYTES_MAX  ((size_t)32 * 1024 * 1024)

struct file {
    struct position first; /* of its messages */
    int32_t hour;          /* since 1970 */
    uint64_t size_bytes;
};

/* What one cut says, or its files together. */
struct cut_sum {
    struct lake_range range;
    size_t file_first; /* among the files */
    bool is_told;
    struct change change;
};

struct recount {
    const struct recount_options *options;
    const char *folder;
    struct recounted *recounted;
    struct diag *diag;
    struct file *files;
    size_t file_count;
    size_t file_capacity;
    int64_t listed_us; /* the hour of the file that was listed last */
    struct cut_sum cut;
    struct change sum;   /* not among recounted->changes yet */
    struct change types; /* the fields' types until now, and nothing else */
    uint32_t change_count;
};

void recounted_init(struct recounted *recounted)
{
    *recounted = (struct recounted){0};
    buf_init(&recounted->id, 64 * KIB);
    buf_init(&recounted->changes, CHANGES_BYTES_MAX + 2 * LIMIT_METADATA_CHANGES_BYTES);
}

void recounted_fini(struct recounted *recounted)
{
    buf_fini(&recounted->id);
    buf_fini(&recounted->changes);
}

static enum err turn(const struct recount *recount)
{
    return recount->options->turn(recount->options->ctx);
}

/* --- the files ----------------------------------------------------------------------------- */

static enum err files_room(struct recount *recount)
{
    if (recount->file_count < recount->file_capacity)
        return ERR_OK;
    if (recount->file_count >= RECOUNT_FILES_MAX)
        return diag_set(recount->diag, ERR_TOO_MANY, "%.300s has more than %d files",
                        recount->folder, RECOUNT_FILES_MAX);
    size_t capacity = recount->file_capacity ? recount->file_capacity * 2 : 64;
    struct file *grown = mem_realloc(recount->files, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    recount->files = grown;
    recount->file_capacity = capacity;
    return ERR_OK;
}

/* Each folder of an hour was a call of the store. */
static enum err on_file(void *ctx, const struct lake_file *found)
{
    struct recount *recount = ctx;
    struct file file = {.size_bytes = found->size_bytes};
    int64_t begin_us;
    if (!object_key_partition_read(bytes_from_text(found->key + strlen(recount->folder)),
                                   recount->options->journal_uuid, &begin_us, &file.first))
        return ERR_OK;
    enum err err = begin_us != recount->listed_us ? turn(recount) : ERR_OK;
    recount->listed_us = begin_us;
    file.hour = (int32_t)(begin_us / (3600 * US_PER_S));
    if (err == ERR_OK)
        err = files_room(recount);
    if (err == ERR_OK)
        recount->files[recount->file_count++] = file;
    return err;
}

static int by_position(const void *a, const void *b)
{
    const struct file *left = a;
    const struct file *right = b;
    if (left->first.block != right->first.block)
        return left->first.block < right->first.block ? -1 : 1;
    if (left->first.index != right->first.index)
        return left->first.index < right->first.index ? -1 : 1;
    return left->hour < right->hour ? -1 : left->hour > right->hour;
}

static enum err files_list(struct recount *recount)
{
    enum err err = turn(recount);
    if (err == ERR_OK)
        err = lake_walk(recount->options->store, recount->folder, on_file, recount, recount->diag);
    if (err == ERR_OK && recount->file_count > 1)
        qsort(recount->files, recount->file_count, sizeof(*recount->files), by_position);
    return err;
}

/* --- a footer ------------------------------------------------------------------------------ */

/* A file's footer as it is read: all of it lives here. */
struct footer {
    struct arena arena;
    struct buf tail;
    struct buf key;
    struct parquet_metadata metadata;
    struct lake_range range;
    struct bytes id;
};

static void footer_fini(struct footer *footer)
{
    arena_fini(&footer->arena);
    buf_fini(&footer->tail);
    buf_fini(&footer->key);
}

static enum err footer_check(struct recount *recount, struct footer *footer, struct diag *diag)
{
    struct bytes journal = lake_footer_text(&footer->metadata, "ingestor.journal");
    footer->id = lake_footer_text(&footer->metadata, "ingestion_id");
    if (!lake_range_read(&footer->metadata, &footer->range) ||
        !bytes_equal_text(journal, recount->options->journal_uuid))
        return diag_set(diag, ERR_CORRUPT, "its footer is not that of its name");
    return ERR_OK;
}

static enum err footer_read(struct recount *recount, const struct file *file, struct footer *footer,
                            struct diag *diag)
{
    arena_init(&footer->arena, METADATA_MAX);
    buf_init(&footer->tail, FOOTER_BYTES_MAX);
    buf_init(&footer->key, LAKE_KEY_BYTES_MAX);
    buf_text(&footer->key, recount->folder);
    enum err err = object_key_partition(&footer->key, file->hour * (3600 * US_PER_S),
                                        recount->options->journal_uuid, file->first);
    const struct lake_file from = {buf_cstr(&footer->key), file->size_bytes, 0};
    if (err == ERR_OK && !from.key)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = lake_read_footer(recount->options->store, &from, &footer->arena, &footer->tail,
                               &footer->metadata, diag);
    return err == ERR_OK ? footer_check(recount, footer, diag) : err;
}

/* What a person can do nothing about by waiting is passed over and told, but for what is gone since
 * it was listed. */
static enum err pass_over(struct recount *recount, const struct footer *footer, enum err err,
                          const struct diag *diag)
{
    enum err_class class = err_class(err);
    struct recounted *recounted = recount->recounted;
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if ((class != ERR_CLASS_CORRUPT && class != ERR_CLASS_LIMIT) || err == ERR_NO_MEMORY)
        return diag_set(recount->diag, err, "%s", diag->text[0] ? diag->text : err_text(err));
    recounted->unread_count++;
    snprintf(recounted->unread, sizeof(recounted->unread), "%.180s: %.100s",
             (const char *)footer->key.data, diag->text[0] ? diag->text : err_text(err));
    return ERR_OK;
}

/* --- changes ------------------------------------------------------------------------------- */

static enum err sum_flush(struct recount *recount)
{
    struct buf encoded;
    buf_init(&encoded, LIMIT_METADATA_CHANGES_BYTES);
    change_encode(&recount->sum, &encoded);
    enum err err = encoded.err;
    if (err == ERR_OK)
        record_append_text32(&recount->recounted->changes, buf_bytes(&encoded));
    buf_fini(&encoded);
    change_fini(&recount->sum);
    change_init(&recount->sum);
    recount->change_count++;
    return err == ERR_OK ? recount->recounted->changes.err : err;
}

/* Without what was told more than once. */
static enum err sum_shrink(struct recount *recount)
{
    struct buf encoded;
    struct change shrunk;
    buf_init(&encoded, LIMIT_METADATA_CHANGES_BYTES);
    change_init(&shrunk);
    change_encode(&recount->sum, &encoded);
    enum err err = encoded.err;
    if (err == ERR_OK)
        err = change_decode(&shrunk, buf_bytes(&encoded));
    buf_fini(&encoded);
    if (err == ERR_OK) {
        change_fini(&recount->sum);
        recount->sum = shrunk;
    } else {
        change_fini(&shrunk);
    }
    return err;
}

/* Whether it says of a field what none before said. */
static enum err types_add(struct recount *recount, const struct change *change, bool *ret_news)
{
    *ret_news = false;
    for (size_t i = 0; i < change->field_count; i++) {
        const struct change_field *field = &change->fields[i];
        struct change_field *known;
        enum err err = change_field_get(&recount->types, field->name, &known);
        if (err != ERR_OK)
            return err;
        if (!known)
            continue;
        uint8_t before = known->types;
        for (int type = 0; type < DATASET_TYPES; type++)
            if (field->types & (1u << type))
                known->types = change_types_add(known->types, (enum dataset_type)type);
        *ret_news = *ret_news || known->types != before;
    }
    return ERR_OK;
}

static enum err change_add(struct recount *recount, const struct change *change)
{
    bool news;
    enum err err = types_add(recount, change, &news);
    bool room =
        recount->change_count < CHANGES_MAX && recount->recounted->changes.size < CHANGES_BYTES_MAX;
    if (err == ERR_OK && news && room && recount->sum.first_block != 0)
        err = sum_flush(recount);
    if (err == ERR_OK)
        err = change_merge(&recount->sum, change);
    if (err == ERR_OK && recount->sum.arena.held_bytes > SUM_BYTES_MAX)
        err = sum_shrink(recount);
    return err;
}

/* --- cuts ---------------------------------------------------------------------------------- */

static enum err columns_add(struct recount *recount, size_t index)
{
    struct diag diag = {0};
    struct footer footer = {0};
    enum err err = turn(recount);
    if (err == ERR_OK)
        err = footer_read(recount, &recount->files[index], &footer, &diag);
    if (err == ERR_OK) {
        const struct lake_file file = {(const char *)footer.key.data,
                                       recount->files[index].size_bytes, 0};
        struct change change;
        change_init(&change);
        change.first_block = footer.range.first.block;
        err = recount_columns(recount->options->store, &file, &footer.metadata, &change, &diag);
        if (err == ERR_OK)
            err = change_merge(&recount->cut.change, &change);
        change_fini(&change);
    }
    if (err != ERR_OK && footer.key.size > 0)
        err = pass_over(recount, &footer, err, &diag);
    footer_fini(&footer);
    return err;
}

static void cut_init(struct cut_sum *cut)
{
    *cut = (struct cut_sum){0};
    change_init(&cut->change);
}

/* file_end: one beyond its last. */
static enum err cut_end(struct recount *recount, size_t file_end)
{
    struct cut_sum *cut = &recount->cut;
    enum err err = ERR_OK;
    if (cut->range.block_last == 0)
        return ERR_OK;
    for (size_t i = cut->file_first; i < file_end && !cut->is_told && err == ERR_OK; i++)
        err = columns_add(recount, i);
    if (err == ERR_OK)
        err = change_add(recount, &cut->change);
    recount->recounted->through = cut->range.block_last;
    change_fini(&cut->change);
    cut_init(cut);
    return err;
}

/* Those that the text left to the file's column. Where that cannot be read the rest of the text
 * counts. */
static enum err cut_sensors(struct recount *recount, size_t index, const struct footer *footer,
                            struct bytes column)
{
    const struct recount_options *options = recount->options;
    const struct lake_file file = {(const char *)footer->key.data, recount->files[index].size_bytes,
                                   0};
    struct diag diag = {0};
    enum err err = turn(recount);
    if (err != ERR_OK)
        return err;
    err = recount_sensors(options->store, &file, &footer->metadata, column, &recount->cut.change,
                          &diag);
    return err == ERR_OK ? ERR_OK : pass_over(recount, footer, err, &diag);
}

/* A text that makes no sense, of a newer version perhaps, is none. */
static enum err cut_tell(struct recount *recount, size_t index, const struct footer *footer)
{
    struct bytes text = lake_footer_text(&footer->metadata, CUT_METADATA_KEY);
    struct cut_sum *cut = &recount->cut;
    struct change_text said;
    struct buf unpacked;
    if (text.size == 0 || cut->is_told)
        return ERR_OK;
    buf_init(&unpacked, CUT_METADATA_BYTES_MAX);
    enum err err = change_text_read(text, &unpacked, &said);
    if (err == ERR_OK)
        err = change_decode(&cut->change, said.encoded);
    cut->is_told = err == ERR_OK;
    if (err == ERR_OK && said.column.size > 0) {
        err = cut_sensors(recount, index, footer, said.column);
    } else if (err != ERR_OK) {
        change_fini(&cut->change);
        change_init(&cut->change);
        err = err == ERR_NO_MEMORY ? err : ERR_OK;
    }
    buf_fini(&unpacked);
    return err;
}

static enum err footer_add(struct recount *recount, size_t index, const struct footer *footer)
{
    struct cut_sum *cut = &recount->cut;
    bool same = cut->range.first.block == footer->range.first.block &&
                cut->range.block_last == footer->range.block_last;
    enum err err = same ? ERR_OK : cut_end(recount, index);
    if (err != ERR_OK)
        return err;
    if (!same) {
        cut->range = footer->range;
        cut->file_first = index;
    }
    return cut_tell(recount, index, footer);
}

static enum err file_add(struct recount *recount, size_t index)
{
    struct diag diag = {0};
    struct footer footer = {0};
    enum err err = turn(recount);
    if (err != ERR_OK)
        return err;
    err = footer_read(recount, &recount->files[index], &footer, &diag);
    if (err == ERR_OK && !bytes_equal(footer.id, buf_bytes(&recount->recounted->id)))
        err = diag_set(&diag, ERR_CORRUPT, "it belongs to another dataset");
    err = err == ERR_OK ? footer_add(recount, index, &footer)
                        : pass_over(recount, &footer, err, &diag);
    footer_fini(&footer);
    return err;
}

/* From the first file that can be read. */
static enum err id_find(struct recount *recount)
{
    struct recounted *recounted = recount->recounted;
    enum err err = ERR_OK;
    for (size_t i = 0; i < recount->file_count && recounted->id.size == 0 && err == ERR_OK; i++) {
        struct diag diag = {0};
        struct footer footer = {0};
        err = turn(recount);
        if (err == ERR_OK) {
            err = footer_read(recount, &recount->files[i], &footer, &diag);
            err = err == ERR_OK ? buf_append(&recounted->id, footer.id.data, footer.id.size)
                                : pass_over(recount, &footer, err, &diag);
        }
        footer_fini(&footer);
    }
    if (recounted->id.size > 0)
        recounted->unread_count = 0; /* they come again */
    return err;
}

static enum err files_count(struct recount *recount)
{
    const struct recount_options *options = recount->options;
    struct recounted *recounted = recount->recounted;
    uint64_t before;
    size_t i = 0;
    enum err err =
        options->bounds(options->ctx, buf_bytes(&recounted->id), &recounted->after, &before);
    recounted->through = recounted->after;
    while (i < recount->file_count && recount->files[i].first.block <= recounted->after)
        i++;
    for (; err == ERR_OK && i < recount->file_count && recount->files[i].first.block < before; i++)
        err = file_add(recount, i);
    if (err == ERR_OK)
        err = cut_end(recount, i);
    if (err == ERR_OK && recount->sum.first_block != 0)
        err = sum_flush(recount);
    return err;
}

enum err recount_dataset(const struct recount_options *options, const char *folder,
                         struct recounted *recounted, struct diag *diag)
{
    struct recount recount = {
        .options = options, .folder = folder, .recounted = recounted, .diag = diag};
    change_init(&recount.sum);
    change_init(&recount.types);
    cut_init(&recount.cut);
    enum err err = files_list(&recount);
    if (err == ERR_OK)
        err = id_find(&recount);
    if (err == ERR_OK && recounted->id.size > 0)
        err = files_count(&recount);
    change_fini(&recount.sum);
    change_fini(&recount.types);
    change_fini(&recount.cut.change);
    mem_free(recount.files);
    return err;
}
