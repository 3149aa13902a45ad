#include "lake/letter_search.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "codec/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PREFIX       "bronze/_dead_letters/"
#define SUFFIX       ".parquet"
#define PREFIX_SIZE  (sizeof(PREFIX) - 1)
#define SUFFIX_SIZE  (sizeof(SUFFIX) - 1)
#define FILE_FEWEST  12
#define DIGITS_MAX   10
#define FOLDER_BYTES 32 /* "date=2026-01-31/hour=12" */

/* --- ids ----------------------------------------------------------------------------------- */

static bool is_plain(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '=' || byte == '_' || byte == '-' || byte == '/';
}

bool letter_id_parse(struct bytes text, struct letter_id *ret_id)
{
    size_t dot = text.size;
    while (dot > 0 && text.data[dot - 1] != '.')
        dot--;
    size_t digits = text.size - dot;
    uint64_t row = 0;
    if (dot < 2 || digits == 0 || digits > DIGITS_MAX ||
        PREFIX_SIZE + dot + SUFFIX_SIZE >= LETTER_KEY_BYTES)
        return false;
    for (size_t i = dot; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        row = row * 10 + (uint64_t)(text.data[i] - '0');
    }
    for (size_t i = 0; i + 1 < dot; i++)
        if (!is_plain(text.data[i]))
            return false;
    if (row >= LETTER_FILE_ROWS_MAX || text.size < 5 || memcmp(text.data, "date=", 5) != 0)
        return false;
    snprintf(ret_id->key, sizeof(ret_id->key), PREFIX "%.*s" SUFFIX, (int)(dot - 1),
             (const char *)text.data);
    ret_id->row = (uint32_t)row;
    return true;
}

void letter_id_format(const char *key, uint32_t row, char ret_text[LETTER_ID_BYTES])
{
    size_t size = strlen(key);
    if (size <= PREFIX_SIZE + SUFFIX_SIZE)
        size = PREFIX_SIZE + SUFFIX_SIZE;
    snprintf(ret_text, LETTER_ID_BYTES, "%.*s.%" PRIu32, (int)(size - PREFIX_SIZE - SUFFIX_SIZE),
             key + PREFIX_SIZE, row);
}

/* --- names --------------------------------------------------------------------------------- */

struct name {
    char *text; /* "date=2026-01-31/" or "part-….parquet" */
    uint64_t size_bytes;
};

struct names {
    const char *begin; /* what they must begin with */
    bool folders;
    struct name *list;
    size_t count, capacity;
};

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        mem_free(names->list[i].text);
    mem_free(names->list);
}

static bool is_wanted(const struct names *names, const struct store_entry *entry)
{
    size_t begin = strlen(names->begin);
    bool fits = entry->is_folder == names->folders && entry->name.size > begin &&
                entry->name.size < LETTER_KEY_BYTES / 2 &&
                memcmp(entry->name.data, names->begin, begin) == 0;
    if (!fits || names->folders)
        return fits;
    const uint8_t *end = entry->name.data + entry->name.size - SUFFIX_SIZE;
    return entry->name.size > begin + SUFFIX_SIZE && memcmp(end, SUFFIX, SUFFIX_SIZE) == 0 &&
           entry->size_bytes >= FILE_FEWEST;
}

static enum err on_entry(void *ctx, const struct store_entry *entry)
{
    struct names *names = ctx;
    if (!is_wanted(names, entry))
        return ERR_OK;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 32;
        struct name *grown = mem_realloc(names->list, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        names->list = grown;
        names->capacity = capacity;
    }
    char *text = mem_zalloc(1, entry->name.size + 1);
    if (!text)
        return ERR_NO_MEMORY;
    memcpy(text, entry->name.data, entry->name.size);
    names->list[names->count++] = (struct name){text, entry->size_bytes};
    return ERR_OK;
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(((const struct name *)b)->text, ((const struct name *)a)->text);
}

/* Nothing there is no error. */
static enum err names_list(struct names *names, struct store *store, const char *prefix,
                           struct diag *diag)
{
    enum err err = store->ops->list(store, prefix, on_entry, names, diag);
    if (err == ERR_OK && names->count > 0)
        qsort(names->list, names->count, sizeof(names->list[0]), newest_first);
    return err;
}

/* --- files --------------------------------------------------------------------------------- */

static enum err bytes_read(const struct letter_search *search, const char *key, uint64_t size_bytes,
                           struct buf *bytes, struct diag *diag)
{
    if (size_bytes > LETTER_FILE_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "has more than %zu bytes", LETTER_FILE_BYTES_MAX);
    enum err err = buf_reserve(bytes, (size_t)size_bytes);
    if (err == ERR_OK)
        err =
            search->store->ops->read(search->store, key, 0, bytes->data, (size_t)size_bytes, diag);
    bytes->size = err == ERR_OK ? (size_t)size_bytes : 0;
    return err;
}

static enum err file_open(const struct letter_search *search, const char *key, uint64_t size_bytes,
                          struct letter_file **ret_file, struct diag *diag)
{
    struct buf bytes;
    buf_init(&bytes, LETTER_FILE_BYTES_MAX);
    enum err err = bytes_read(search, key, size_bytes, &bytes, diag);
    if (err == ERR_OK)
        err = letter_file_read(buf_bytes(&bytes), ret_file, diag);
    buf_fini(&bytes);
    return err;
}

/* The file's own fault, not the store's. */
static bool is_unreadable(enum err err)
{
    return err == ERR_UNSUPPORTED || err_class(err) == ERR_CLASS_CORRUPT ||
           err_class(err) == ERR_CLASS_LIMIT;
}

static bool source_matches(struct bytes source, struct bytes id)
{
    return id.size >= source.size && memcmp(id.data, source.data, source.size) == 0 &&
           (id.size == source.size || id.data[source.size] == '_');
}

static bool letter_matches(const struct letter_filter *filter, const struct letter_view *letter)
{
    return (filter->ingestion_id.size == 0 ||
            bytes_equal(filter->ingestion_id, letter->ingestion_id)) &&
           (filter->source.size == 0 || source_matches(filter->source, letter->ingestion_id)) &&
           (filter->reason.size == 0 || bytes_equal(filter->reason, letter->reason)) &&
           (filter->since_us == 0 || letter->received_us >= filter->since_us) &&
           (filter->until_us == 0 || letter->received_us <= filter->until_us);
}

struct walk {
    const struct letter_search *search;
    struct letter_found *found;
    struct diag *diag;
    char since[FOLDER_BYTES], until[FOLDER_BYTES]; /* the first and the last hour's folder, or "" */
};

static enum err file_search(struct walk *walk, const char *key, const struct letter_file *file)
{
    const struct letter_search *search = walk->search;
    struct letter_found *found = walk->found;
    size_t count = 0, row = letter_file_count(file);
    uint32_t *rows = mem_zalloc(row + 1, sizeof(*rows));
    if (!rows)
        return ERR_NO_MEMORY;
    if (search->after && strcmp(search->after->key, key) == 0 && search->after->row < row)
        row = search->after->row;
    while (row > 0 && found->count + count < search->limit) {
        struct letter_view letter;
        letter_file_get(file, --row, &letter);
        if (letter_matches(search->filter, &letter))
            rows[count++] = (uint32_t)row;
        found->last.row = (uint32_t)row;
    }
    found->more = row > 0;
    found->count += count;
    snprintf(found->last.key, sizeof(found->last.key), "%s", key);
    enum err err = count > 0 ? search->on_file(search->ctx, key, file, rows, count) : ERR_OK;
    mem_free(rows);
    return err;
}

static enum err file_visit(struct walk *walk, const char *key, uint64_t size_bytes)
{
    struct letter_file *file = NULL;
    struct diag why = {0};
    enum err err = file_open(walk->search, key, size_bytes, &file, &why);
    if (err == ERR_NOT_FOUND)
        return ERR_OK; /* gone since it was listed */
    if (is_unreadable(err)) {
        walk->found->unread_files++;
        (void)diag_set(&walk->found->unread, err, "%s: %.300s", key, why.text);
        return ERR_OK;
    }
    if (err != ERR_OK)
        return diag_set(walk->diag, err, "%s", why.text[0] ? why.text : err_text(err));
    err = file_search(walk, key, file);
    letter_file_free(file);
    return err;
}

/* The page is full, or its time is over: the rest is for the next call. */
static bool is_over(struct walk *walk)
{
    const struct letter_search *search = walk->search;
    bool full = walk->found->count >= search->limit;
    bool late = clock_monotonic_ns(search->clock) >= search->deadline_ns;
    if (full || late)
        walk->found->more = true;
    return walk->found->more;
}

static enum err hour_visit(struct walk *walk, const char *prefix)
{
    const struct letter_search *search = walk->search;
    struct names files = {.begin = "part-"};
    char key[LETTER_KEY_BYTES];
    enum err err = names_list(&files, search->store, prefix, walk->diag);
    for (size_t i = 0; i < files.count && err == ERR_OK && !is_over(walk); i++) {
        int size = snprintf(key, sizeof(key), "%s%s", prefix, files.list[i].text);
        bool seen = search->after && strcmp(key, search->after->key) > 0;
        if (size < (int)sizeof(key) && !seen)
            err = file_visit(walk, key, files.list[i].size_bytes);
    }
    names_fini(&files);
    return err;
}

/* prefix: "bronze/_dead_letters/date=…[/hour=…]/". Whether something in it can be wanted. */
static bool folder_wanted(const struct walk *walk, const char *prefix)
{
    const char *folder = prefix + PREFIX_SIZE;
    size_t size = strlen(folder) - 1;
    const struct letter_id *after = walk->search->after;
    bool early = walk->since[0] && strncmp(folder, walk->since, size) < 0;
    bool late = walk->until[0] && strncmp(folder, walk->until, size) > 0;
    bool seen = after && strncmp(prefix, after->key, strlen(prefix)) > 0;
    return !early && !late && !seen;
}

static enum err folders_visit(struct walk *walk, const char *prefix, const char *begin,
                              enum err (*visit)(struct walk *walk, const char *prefix))
{
    struct names folders = {.begin = begin, .folders = true};
    char below[LETTER_KEY_BYTES];
    enum err err = names_list(&folders, walk->search->store, prefix, walk->diag);
    for (size_t i = 0; i < folders.count && err == ERR_OK && !is_over(walk); i++) {
        int size = snprintf(below, sizeof(below), "%s%s/", prefix, folders.list[i].text);
        if (size < (int)sizeof(below) && folder_wanted(walk, below))
            err = visit(walk, below);
    }
    names_fini(&folders);
    return err;
}

static enum err date_visit(struct walk *walk, const char *prefix)
{
    return folders_visit(walk, prefix, "hour=", hour_visit);
}

static void folder_of(int64_t us, char ret_folder[FOLDER_BYTES])
{
    char date[11];
    int hour;
    ret_folder[0] = '\0';
    if (us == 0)
        return;
    timestamp_date_hour(us, date, &hour);
    snprintf(ret_folder, FOLDER_BYTES, "date=%s/hour=%02d", date, hour);
}

enum err letter_search(const struct letter_search *search, struct letter_found *ret_found,
                       struct diag *diag)
{
    struct walk walk = {.search = search, .found = ret_found, .diag = diag};
    *ret_found = (struct letter_found){0};
    folder_of(search->filter->since_us, walk.since);
    folder_of(search->filter->until_us, walk.until);
    return folders_visit(&walk, PREFIX, "date=", date_visit);
}

enum err letter_search_rows(const struct letter_search *search, const char *key,
                            const uint32_t *rows, size_t count, struct diag *diag)
{
    char folder[LETTER_KEY_BYTES];
    struct names files = {.begin = "part-"};
    struct letter_file *file = NULL;
    const char *slash = strrchr(key, '/');
    size_t size = slash ? (size_t)(slash - key) + 1 : 0;
    if (size == 0 || size >= sizeof(folder))
        return ERR_NOT_FOUND;
    memcpy(folder, key, size);
    folder[size] = '\0';
    enum err err = names_list(&files, search->store, folder, diag);
    bool there = false;
    for (size_t i = 0; i < files.count && err == ERR_OK && !there; i++) {
        there = strcmp(files.list[i].text, key + size) == 0;
        if (there)
            err = file_open(search, key, files.list[i].size_bytes, &file, diag);
    }
    names_fini(&files);
    if (err != ERR_OK)
        return err;
    if (!there)
        return ERR_NOT_FOUND;
    while (count > 0 && rows[0] >= letter_file_count(file)) {
        rows++;
        count--;
    }
    err = count > 0 ? search->on_file(search->ctx, key, file, rows, count) : ERR_OK;
    letter_file_free(file);
    return err;
}
