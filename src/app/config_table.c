#include "app/config_table.h"

#include "app/config_rules.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "database/database.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

static const char *const partition_words[] = {"event", "arrival", NULL};
static const char *const codec_words[] = {"none", "snappy", "zstd", "lz4_raw", NULL};
static const char *const level_words[] = {"DEBUG", "INFO", "WARNING", "ERROR", NULL};
static const char *const format_words[] = {"auto", "text", "json", NULL};

/* offsetof, refusing at compile time a member that is not of the kind's type. */
#define AT(member, type)                                                                           \
    (offsetof(struct config, member) +                                                             \
     0 * sizeof(struct {                                                                           \
         _Static_assert(                                                                           \
             __builtin_types_compatible_p(__typeof__(((struct config *)0)->member), type),         \
             "wrong type of " #member);                                                            \
         char unused;                                                                              \
     }))
#define TEXT(member)          .kind = CONFIG_TEXT, .offset = AT(member, char *)
#define LIST(member)          .kind = CONFIG_LIST, .offset = AT(member, struct config_list)
#define BOOLEAN(member)       .kind = CONFIG_BOOLEAN, .offset = AT(member, bool)
#define WORD(member, type, w) .kind = CONFIG_WORD, .offset = AT(member, type), .words = (w)
#define INTEGER(member, low, high)                                                                 \
    .kind = CONFIG_INTEGER, .offset = AT(member, uint64_t), .min = (low), .max = (high)
#define BYTES(member, low, high)                                                                   \
    .kind = CONFIG_BYTES, .offset = AT(member, uint64_t), .min = (low), .max = (high)

const struct config_variable config_table[] = {
    {"HOST", TEXT(host), .fallback = "127.0.0.1", .check = config_rules_host,
     .help = "address the API listens on; 0.0.0.0 only when asked for"},
    {"PORT", INTEGER(port, 0, 65535), .fallback = "8001",
     .help = "port the API listens on; 0 takes any free one"},
    {"CORS_ORIGINS", LIST(cors_origins), .fallback = "*",
     .help = "origins that browsers may call the API from"},
    {"METRICS_MAX_PARTITIONS", INTEGER(metrics_partitions_max, 0, 100000), .fallback = "1000",
     .help = "datasets with metric series of their own; the rest fold into _other"},
    {"AUTO_REGISTER", BOOLEAN(auto_register), .fallback = "true",
     .help = "register the source \"Local Simulators MQTT\" at first start"},
    {"MQTT_BROKER", TEXT(mqtt_broker), .fallback = "localhost", .check = config_rules_host,
     .help = "its broker"},
    {"MQTT_PORT", INTEGER(mqtt_port, 1, 65535), .fallback = "1883", .help = "its broker's port"},
    {"MQTT_TOPIC", LIST(mqtt_topics), .fallback = "smartcity/sensors/#",
     .check = config_rules_topic, .help = "its topics, separated by commas"},
    {"MQTT_SHARED_GROUP", TEXT(mqtt_shared_group), .fallback = "ingestor-group",
     .check = config_rules_group,
     .help = "group of shared subscriptions unless a source says else"},
    {"OBJECT_STORE_URL", TEXT(object_store_url), .fallback = "",
     .help = "s3://bucket or file://dir; unset: s3://MINIO_BUCKET if MINIO_ENDPOINT is set, else "
             "file://./data/lake"},
    {"MINIO_ENDPOINT", TEXT(minio_endpoint), .fallback = "", .check = config_rules_endpoint,
     .help = "any S3-compatible store: http://host:port, https://host, or host:port (plain HTTP)"},
    {"MINIO_ACCESS_KEY", TEXT(minio_access_key), .fallback = "minio", .help = "its access key"},
    {"MINIO_SECRET_KEY", TEXT(minio_secret_key), .fallback = "minio123", .secret = true,
     .help = "its secret key"},
    {"MINIO_BUCKET", TEXT(minio_bucket), .fallback = "lake", .check = config_rules_bucket,
     .help = "its bucket; made if missing"},
    {"AWS_REGION", TEXT(aws_region), .fallback = "us-east-1", .check = config_rules_label,
     .help = "region that requests are signed for"},
    {"FLUSH_INTERVAL_SECONDS", INTEGER(flush_interval_seconds, 1, 3600), .fallback = "10",
     .help = "a batch becomes a file at this age"},
    {"FLUSH_MAX_BYTES", BYTES(flush_max_bytes, 64 * KIB, 1 * GIB), .fallback = "64MiB",
     .help = "or at this much payload"},
    {"FLUSH_FILES_PER_SECOND_MAX", INTEGER(flush_files_per_second_max, 1, 10000), .fallback = "50",
     .help =
         "more files would close: batches wait longer, up to an hour; small ones also when memory "
         "is short, and sources are paused"},
    {"PARTITION_BY", WORD(partition_by, enum partition_by, partition_words), .fallback = "event",
     .help = "date= and hour= by the record's own time, or by its arrival"},
    {"PARTITION_WINDOW_HOURS", INTEGER(partition_window_hours, 0, 65535), .fallback = "24",
     .help = "event times further than this from arrival go by arrival"},
    {"PARQUET_COMPRESSION", WORD(parquet_codec, enum parquet_codec, codec_words),
     .fallback = "zstd", .help = "compression of the files"},
    {"BUFFER_MAX_ROWS", INTEGER(buffer_max_rows, 1, 100000), .fallback = "100",
     .help = "recent rows kept per dataset for the API"},
    {"BUFFER_TTL_SECONDS", INTEGER(buffer_ttl_seconds, 0, 31536000), .fallback = "300",
     .help = "a dataset without messages for this long leaves the API; 0 = never"},
    {"INGESTOR_DATABASE_URL", TEXT(database_url), .fallback = "sqlite:///./ingestor.db",
     .show = database_url_show,
     .help = "data sources; sqlite:///path, or postgresql://user:password@host:port/database"},
    {"METADATA_DB_PATH", TEXT(metadata_db_path), .fallback = "./data/metadata.db",
     .check = config_rules_path, .help = "metadata of the datasets"},
    {"METADATA_QUALITY_SECONDS", INTEGER(metadata_quality_seconds, 1, 31536000), .fallback = "3600",
     .help = "a dataset's data quality is measured this often"},
    {"METADATA_QUALITY_DAYS", INTEGER(metadata_quality_days, 0, 36500), .fallback = "30",
     .help = "these measurements are deleted when they are so old; 0 = never"},
    {"JOURNAL_DIR", TEXT(journal_dir), .fallback = "./data/journal", .check = config_rules_path,
     .help = "the journal, and the spool inside it"},
    {"JOURNAL_MAX_BYTES", BYTES(journal_max_bytes, 128 * MIB, 1024 * 1024 * GIB),
     .fallback = "10GiB", .help = "journal and spool together; when full, sources are paused"},
    {"JOURNAL_SYNC", TEXT(journal_sync_text), .fallback = "always", .check = config_rules_sync,
     .help = "always (a power cut loses nothing), interval:<ms> (it loses that much), off"},
    {"MEMORY_LIMIT_BYTES", BYTES(memory_limit_bytes, 64 * MIB, 1024 * 1024 * GIB), .fallback = "",
     .help = "batches are flushed, then sources paused, before it is reached; unset: half of the "
             "cgroup's or the machine's"},
    {"LOG_LEVEL", WORD(log_level, enum log_level, level_words), .fallback = "INFO",
     .help = "least serious lines that are logged"},
    {"LOG_FORMAT", WORD(log_format, enum log_format, format_words), .fallback = "auto",
     .help = "auto is text on a terminal, else json"},
    {"POD_NAME", TEXT(pod_name), .fallback = "", .help = "the metrics' label pod"},
    {"HOSTNAME", TEXT(hostname), .fallback = "unknown",
     .help = "the metrics' label pod when POD_NAME is unset"},
    {"POD_NAMESPACE", TEXT(pod_namespace), .fallback = "default",
     .help = "the metrics' label namespace"},
};

const size_t config_table_count = sizeof(config_table) / sizeof(config_table[0]);

_Static_assert(sizeof(config_table) / sizeof(config_table[0]) <= CONFIG_VARIABLES_MAX,
               "struct config's origins are too few");

static void *member(const struct config_variable *variable, const struct config *config)
{
    return (char *)(uintptr_t)config + variable->offset;
}

static void spell(const char *name, char dash, char *ret_text)
{
    size_t i = 0;
    for (; name[i] && i < CONFIG_NAME_BYTES_MAX - 1; i++)
        ret_text[i] = name[i] == '_' ? dash : (char)tolower((unsigned char)name[i]);
    ret_text[i] = '\0';
}

void config_table_key(const struct config_variable *variable, char ret_key[CONFIG_NAME_BYTES_MAX])
{
    spell(variable->name, '_', ret_key);
}

void config_table_option(const struct config_variable *variable,
                         char ret_option[CONFIG_NAME_BYTES_MAX])
{
    spell(variable->name, '-', ret_option);
}

size_t config_table_find(const char *name)
{
    for (size_t i = 0; i < config_table_count; i++) {
        char key[CONFIG_NAME_BYTES_MAX];
        char option[CONFIG_NAME_BYTES_MAX];
        config_table_key(&config_table[i], key);
        config_table_option(&config_table[i], option);
        if (strcmp(name, config_table[i].name) == 0 || strcmp(name, key) == 0 ||
            strcmp(name, option) == 0)
            return i;
    }
    return SIZE_MAX;
}

static void append_size(struct buf *out, uint64_t bytes)
{
    if (bytes >= GIB && bytes % GIB == 0)
        buf_printf(out, "%" PRIu64 "GiB", bytes / GIB);
    else if (bytes >= MIB && bytes % MIB == 0)
        buf_printf(out, "%" PRIu64 "MiB", bytes / MIB);
    else if (bytes >= KIB && bytes % KIB == 0)
        buf_printf(out, "%" PRIu64 "KiB", bytes / KIB);
    else
        buf_printf(out, "%" PRIu64, bytes);
}

void config_table_allowed(const struct config_variable *variable, struct buf *out)
{
    switch (variable->kind) {
    case CONFIG_TEXT:
        buf_text(out, "text");
        break;
    case CONFIG_LIST:
        buf_text(out, "list, separated by commas");
        break;
    case CONFIG_INTEGER:
        buf_printf(out, "whole number from %" PRIu64 " to %" PRIu64, variable->min, variable->max);
        break;
    case CONFIG_BYTES:
        buf_text(out, "size from ");
        append_size(out, variable->min);
        buf_text(out, " to ");
        append_size(out, variable->max);
        break;
    case CONFIG_BOOLEAN:
        buf_text(out, "true or false");
        break;
    case CONFIG_WORD:
        for (size_t i = 0; variable->words[i]; i++)
            buf_printf(out, "%s%s", i == 0 ? "one of " : ", ", variable->words[i]);
        break;
    }
}

static enum err refuse(const struct config_variable *variable, struct diag *diag)
{
    bool is_choice = variable->kind == CONFIG_BOOLEAN || variable->kind == CONFIG_WORD;
    struct buf allowed;
    buf_init(&allowed, 256);
    config_table_allowed(variable, &allowed);
    const char *text = buf_cstr(&allowed);
    enum err err = diag_set(diag, ERR_INVALID, "is not %s%s", is_choice ? "" : "a ",
                            text ? text : "valid value");
    buf_fini(&allowed);
    return err;
}

/* Digits only: no sign, no blanks. */
static bool parse_digits(const char *text, const char **ret_end, uint64_t *ret_value)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    *ret_value = strtoull(text, &end, 10);
    *ret_end = end;
    return errno == 0;
}

static bool parse_unit(const char *text, uint64_t *ret_unit)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"K", KIB},
        {"KiB", KIB},
        {"M", MIB},
        {"MiB", MIB},
        {"G", GIB},
        {"GiB", GIB},
        {"TiB", 1024 * GIB},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
    };
    text += strspn(text, " ");
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(text, units[i].text) == 0) {
            *ret_unit = units[i].bytes;
            return true;
        }
    }
    return false;
}

static enum err set_number(const struct config_variable *variable, uint64_t *member_value,
                           const char *text, struct diag *diag)
{
    const char *end = text;
    uint64_t value = 0;
    uint64_t unit = 1;
    if (!parse_digits(text, &end, &value))
        return refuse(variable, diag);
    if (variable->kind == CONFIG_BYTES ? !parse_unit(end, &unit) : *end != '\0')
        return refuse(variable, diag);
    if (__builtin_mul_overflow(value, unit, &value) || value < variable->min ||
        value > variable->max)
        return refuse(variable, diag);
    *member_value = value;
    return ERR_OK;
}

static enum err set_boolean(const struct config_variable *variable, bool *member_value,
                            const char *text, struct diag *diag)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"},
                                            {"true", "yes", "on", "1"}};
    for (int value = 0; value <= 1; value++) {
        for (int i = 0; i < 4; i++) {
            if (strcasecmp(text, words[value][i]) == 0) {
                *member_value = value == 1;
                return ERR_OK;
            }
        }
    }
    return refuse(variable, diag);
}

static enum err set_word(const struct config_variable *variable, void *member_value,
                         const char *text, struct diag *diag)
{
    for (unsigned i = 0; variable->words[i]; i++) {
        if (strcasecmp(text, variable->words[i]) == 0) {
            memcpy(member_value, &i, sizeof(i)); /* enums are unsigned int to gcc and clang */
            return ERR_OK;
        }
    }
    return refuse(variable, diag);
}

static enum err check_text(const struct config_variable *variable, const char *text,
                           struct diag *diag)
{
    if (strlen(text) > CONFIG_VALUE_BYTES_MAX)
        return diag_set(diag, ERR_INVALID, "is longer than %d bytes", CONFIG_VALUE_BYTES_MAX);
    for (const char *c = text; *c; c++) {
        if (iscntrl((unsigned char)*c))
            return diag_set(diag, ERR_INVALID, "holds a control character");
    }
    return variable->check ? variable->check(text, diag) : ERR_OK;
}

static enum err set_text(char **member_value, const char *text, struct diag *diag)
{
    char *copy = mem_strdup(text);
    if (!copy)
        return diag_set(diag, ERR_NO_MEMORY, "cannot be kept: out of memory");
    mem_free(*member_value);
    *member_value = copy;
    return ERR_OK;
}

static void list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->items[i]);
    mem_free(list->items);
    *list = (struct config_list){0};
}

enum err config_table_set_list(const struct config_variable *variable, struct config *config,
                               const char *const *items, size_t count, struct diag *diag)
{
    struct config_list list = {0};
    enum err err = ERR_OK;
    if (count == 0 || count > CONFIG_LIST_ITEMS_MAX)
        return diag_set(diag, ERR_INVALID, "is not a list of 1 to %d items", CONFIG_LIST_ITEMS_MAX);
    list.items = mem_zalloc(count, sizeof(*list.items));
    if (!list.items)
        return diag_set(diag, ERR_NO_MEMORY, "cannot be kept: out of memory");
    for (; list.count < count && err == ERR_OK; list.count++) {
        const char *item = items[list.count];
        err = *item ? check_text(variable, item, diag)
                    : diag_set(diag, ERR_INVALID, "has an empty item");
        if (err == ERR_OK)
            err = set_text(&list.items[list.count], item, diag);
    }
    if (err) {
        list_free(&list);
        return err;
    }
    list_free(member(variable, config));
    memcpy(member(variable, config), &list, sizeof(list));
    return ERR_OK;
}

/* Cuts the text at its commas, in place, blanks around each item dropped. */
static size_t split(char *text, const char **items)
{
    size_t count = 0;
    while (text && count <= CONFIG_LIST_ITEMS_MAX) {
        char *item = strsep(&text, ",");
        item += strspn(item, " \t");
        size_t size = strlen(item);
        while (size > 0 && (item[size - 1] == ' ' || item[size - 1] == '\t'))
            item[--size] = '\0';
        items[count++] = item;
    }
    return count;
}

static enum err set_list_text(const struct config_variable *variable, struct config *config,
                              const char *text, struct diag *diag)
{
    const char *items[CONFIG_LIST_ITEMS_MAX + 1];
    char *copy = mem_strdup(text);
    if (!copy)
        return diag_set(diag, ERR_NO_MEMORY, "cannot be kept: out of memory");
    size_t count = split(copy, items);
    enum err err = config_table_set_list(variable, config, items, count, diag);
    mem_free(copy);
    return err;
}

enum err config_table_set(const struct config_variable *variable, struct config *config,
                          const char *text, struct diag *diag)
{
    void *value = member(variable, config);
    enum err err;
    switch (variable->kind) {
    case CONFIG_TEXT:
        err = check_text(variable, text, diag);
        return err ? err : set_text(value, text, diag);
    case CONFIG_LIST:
        return set_list_text(variable, config, text, diag);
    case CONFIG_INTEGER:
    case CONFIG_BYTES:
        return set_number(variable, value, text, diag);
    case CONFIG_BOOLEAN:
        return set_boolean(variable, value, text, diag);
    case CONFIG_WORD:
        return set_word(variable, value, text, diag);
    }
    return ERR_BUG;
}

void config_table_get(const struct config_variable *variable, const struct config *config,
                      struct buf *out)
{
    const void *value = member(variable, config);
    const struct config_list *list = value;
    unsigned word;
    switch (variable->kind) {
    case CONFIG_TEXT:
        buf_text(out, *(char *const *)value ? *(char *const *)value : "");
        break;
    case CONFIG_LIST:
        for (size_t i = 0; i < list->count; i++)
            buf_printf(out, "%s%s", i > 0 ? "," : "", list->items[i]);
        break;
    case CONFIG_INTEGER:
        buf_printf(out, "%" PRIu64, *(const uint64_t *)value);
        break;
    case CONFIG_BYTES:
        append_size(out, *(const uint64_t *)value);
        break;
    case CONFIG_BOOLEAN:
        buf_text(out, *(const bool *)value ? "true" : "false");
        break;
    case CONFIG_WORD:
        memcpy(&word, value, sizeof(word));
        buf_text(out, variable->words[word]);
        break;
    }
}

void config_table_free(struct config *config)
{
    for (size_t i = 0; i < config_table_count; i++) {
        void *value = member(&config_table[i], config);
        if (config_table[i].kind == CONFIG_LIST)
            list_free(value);
        if (config_table[i].kind == CONFIG_TEXT) {
            mem_free(*(char **)value);
            *(char **)value = NULL;
        }
    }
}
