#include "app/status_report.h"

#include "app/terminal.h"
#include "base/limits.h"
#include "os/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX   1024 /* of a metric that is looked at */
#define NAME_WIDTH       28
#define SECONDS_PER_DAY  86400
#define SECONDS_PER_HOUR 3600

/* --- Prometheus text -------------------------------------------------------------------------- */

/* The value of a line "name{labels} value" if that is its name and label stands in it. */
static bool line_value(struct bytes line, const char *name, const char *label, double *ret_value)
{
    char text[LINE_BYTES_MAX];
    size_t name_size = strlen(name);
    if (line.size >= sizeof(text) || line.size <= name_size ||
        memcmp(line.data, name, name_size) != 0)
        return false;
    memcpy(text, line.data, line.size);
    text[line.size] = '\0';
    const char *value = strrchr(text, ' ');
    if ((text[name_size] != '{' && text[name_size] != ' ') || !value ||
        (label && !strstr(text, label)))
        return false;
    char *end;
    *ret_value = strtod(value + 1, &end);
    return end != value + 1 && isfinite(*ret_value);
}

/* The sum of a metric's series. False: there is none. */
static bool metric_sum(struct bytes page, const char *name, const char *label, double *ret_sum)
{
    bool found = false;
    double value;
    *ret_sum = 0;
    while (page.size > 0) {
        const uint8_t *end = memchr(page.data, '\n', page.size);
        size_t size = end ? (size_t)(end - page.data) : page.size;
        if (line_value(bytes_from(page.data, size), name, label, &value)) {
            *ret_sum += value;
            found = true;
        }
        size += end != NULL;
        page = bytes_from(page.data + size, page.size - size);
    }
    return found;
}

static json_t *metric_json(const struct status_answers *answers, const char *name,
                           const char *label)
{
    double sum;
    return metric_sum(answers->metrics_last, name, label, &sum) ? json_real(sum) : json_null();
}

/* Its growth in a second; a counter that fell has begun anew. */
static json_t *rate_json(const struct status_answers *answers, const char *name, const char *label)
{
    double first;
    double last;
    if (!metric_sum(answers->metrics_last, name, label, &last) || !(answers->seconds > 0))
        return json_null();
    bool had = metric_sum(answers->metrics_first, name, label, &first);
    return json_real(had && last >= first ? (last - first) / answers->seconds : 0);
}

/* --- the report ------------------------------------------------------------------------------- */

struct member {
    const char *name;
    const char *metric;
    bool is_rate;
};

static json_t *members_json(const struct status_answers *answers, const struct member *members,
                            const char *label)
{
    json_t *object = json_object();
    for (; object && members->name; members++)
        json_object_set_new(object, members->name,
                            members->is_rate ? rate_json(answers, members->metric, label)
                                             : metric_json(answers, members->metric, label));
    return object;
}

static const struct member messages_members[] = {
    {"received", "ingestor_source_messages_received_total", false},
    {"received_per_second", "ingestor_source_messages_received_total", true},
    {"stored", "ingestor_source_messages_stored_total", false},
    {"stored_per_second", "ingestor_source_messages_stored_total", true},
    {"pending", "ingestor_source_messages_pending", false},
    {"rejected", "ingestor_source_messages_rejected_total", false},
    {"repeated", "ingestor_source_messages_repeated_total", false},
    {0},
};

static const struct member lake_members[] = {
    {"files", "ingestor_files_written_total", false},
    {"bytes", "ingestor_bytes_written_total", false},
    {"lag_seconds", "ingestor_oldest_unlanded_seconds", false},
    {"failed_uploads", "ingestor_upload_failures_total", false},
    {0},
};

static const struct member journal_members[] = {
    {"used_bytes", "ingestor_journal_used_bytes", false},
    {"spool_bytes", "ingestor_spool_bytes", false},
    {"max_bytes", "ingestor_journal_max_bytes", false},
    {"bytes_per_second", "ingestor_bytes_received_total", true},
    {"intake_paused", "ingestor_intake_paused", false},
    {0},
};

/* How long the store may be away at this rate, or null. */
static json_t *outage_json(const json_t *journal)
{
    double rate = json_real_value(json_object_get(journal, "bytes_per_second"));
    double room = json_real_value(json_object_get(journal, "max_bytes")) -
                  json_real_value(json_object_get(journal, "used_bytes")) -
                  json_real_value(json_object_get(journal, "spool_bytes"));
    return rate > 0 ? json_real(room > 0 ? floor(room / rate) : 0) : json_null();
}

static json_t *copy_member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return value ? json_incref(value) : json_null();
}

static json_t *source_json(const struct status_answers *answers, const json_t *source)
{
    char label[300];
    const char *id = json_string_value(json_object_get(source, "ingestion_id"));
    snprintf(label, sizeof(label), "source_id=\"%s\"", id ? id : "");
    json_t *object = members_json(answers, messages_members, label);
    static const char *const copied[] = {"id",           "name",   "type_name",
                                         "ingestion_id", "status", "last_error"};
    for (size_t i = 0; object && i < sizeof(copied) / sizeof(copied[0]); i++)
        json_object_set_new(object, copied[i], copy_member(source, copied[i]));
    return object;
}

/* null: they could not be had. */
static json_t *sources_json(const struct status_answers *answers)
{
    json_t *answer =
        json_loadb((const char *)answers->sources.data, answers->sources.size, 0, NULL);
    const json_t *data = json_object_get(answer, "data");
    json_t *sources = json_is_array(data) ? json_array() : json_null();
    size_t index;
    const json_t *source;
    json_array_foreach(data, index, source)
        json_array_append_new(sources, source_json(answers, source));
    json_decref(answer);
    return sources;
}

static json_t *uptime_json(const struct status_answers *answers)
{
    double start;
    if (!metric_sum(answers->metrics_last, "process_start_time_seconds", NULL, &start))
        return json_null();
    double uptime = (double)answers->now_us / US_PER_S - start;
    return json_real(uptime > 0 ? floor(uptime) : 0);
}

/* The value of a label of ingestor_info. */
static json_t *version_json(struct bytes page)
{
    static const char before[] = ",version=\"";
    const uint8_t *line = memmem(page.data, page.size, "\ningestor_info{", 15);
    size_t left = line ? page.size - (size_t)(line - page.data) : 0;
    const uint8_t *label = line ? memmem(line, left, before, sizeof(before) - 1) : NULL;
    if (!label)
        return json_null();
    label += sizeof(before) - 1;
    left = page.size - (size_t)(label - page.data);
    const uint8_t *end = memchr(label, '"', left < 100 ? left : 100);
    json_t *version = end ? json_stringn((const char *)label, (size_t)(end - label)) : NULL;
    return version ? version : json_null();
}

enum err status_report_make(const struct status_answers *answers, json_t **ret_report,
                            struct diag *diag)
{
    json_t *health = json_loadb((const char *)answers->health.data, answers->health.size, 0, NULL);
    if (!json_is_string(json_object_get(health, "status")) ||
        !json_is_object(json_object_get(health, "components"))) {
        json_decref(health);
        return diag_set(diag, ERR_PROTOCOL, "what answers at %.200s is no ingestor", answers->url);
    }
    json_t *journal = members_json(answers, journal_members, NULL);
    if (journal)
        json_object_set_new(journal, "bridged_seconds", outage_json(journal));
    *ret_report = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "url", answers->url, "version",
        version_json(answers->metrics_last), "status", copy_member(health, "status"),
        "uptime_seconds", uptime_json(answers), "components", copy_member(health, "components"),
        "messages", members_json(answers, messages_members, NULL), "lake",
        members_json(answers, lake_members, NULL), "journal", journal, "memory_bytes",
        metric_json(answers, "process_resident_memory_bytes", NULL), "sources",
        sources_json(answers));
    json_decref(health);
    return *ret_report ? ERR_OK : ERR_NO_MEMORY;
}

const char *status_report_status(const json_t *report)
{
    const char *status = json_string_value(json_object_get(report, "status"));
    return status ? status : "";
}

/* --- the screen ------------------------------------------------------------------------------- */

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void bytes_print(double bytes, FILE *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    fprintf(out, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

static void duration_print(double seconds, FILE *out)
{
    if (seconds >= 1000.0 * SECONDS_PER_DAY)
        fputs("years", out);
    else if (seconds >= 2 * SECONDS_PER_DAY)
        fprintf(out, "%.0f days", floor(seconds / SECONDS_PER_DAY));
    else if (seconds >= 2 * SECONDS_PER_HOUR)
        fprintf(out, "%.0f hours", floor(seconds / SECONDS_PER_HOUR));
    else if (seconds >= 120)
        fprintf(out, "%.0f minutes", floor(seconds / 60));
    else
        fprintf(out, "%.0f s", seconds);
}

static void head_print(const json_t *report, FILE *out)
{
    fputs("ingestor ", out);
    terminal_text(out, text_of(report, "version"));
    fputs(" at ", out);
    terminal_text(out, text_of(report, "url"));
    fputs(": ", out);
    terminal_text(out, status_report_status(report));
    fputs(", up ", out);
    duration_print(number_of(report, "uptime_seconds"), out);
    fputs(", ", out);
    bytes_print(number_of(report, "memory_bytes"), out);
    fputs(" of memory\n\n", out);
}

static void components_print(const json_t *components, FILE *out)
{
    const char *name;
    json_t *value;
    size_t bad = 0;
    json_object_foreach((json_t *)(uintptr_t)components, name, value)
    {
        const char *text = json_string_value(value);
        if (!text || strcmp(text, "healthy") == 0)
            continue;
        fputs(bad++ ? "            " : "components  ", out);
        terminal_text(out, name);
        fputs(": ", out);
        terminal_text(out, text);
        fputc('\n', out);
    }
    if (bad == 0)
        fputs("components  all healthy\n", out);
}

static void messages_print(const json_t *messages, FILE *out)
{
    fprintf(out,
            "messages    received %.0f (%.0f/s), stored %.0f (%.0f/s), pending %.0f, "
            "rejected %.0f, repeated %.0f\n",
            number_of(messages, "received"), number_of(messages, "received_per_second"),
            number_of(messages, "stored"), number_of(messages, "stored_per_second"),
            number_of(messages, "pending"), number_of(messages, "rejected"),
            number_of(messages, "repeated"));
}

static void lake_print(const json_t *lake, FILE *out)
{
    fprintf(out, "lake        %.0f files, ", number_of(lake, "files"));
    bytes_print(number_of(lake, "bytes"), out);
    fprintf(out, "; lag %.1f s; %.0f uploads failed\n", number_of(lake, "lag_seconds"),
            number_of(lake, "failed_uploads"));
}

static void journal_print(const json_t *journal, FILE *out)
{
    const json_t *bridged = json_object_get(journal, "bridged_seconds");
    fputs("journal     ", out);
    bytes_print(number_of(journal, "used_bytes"), out);
    fputs(" and spool ", out);
    bytes_print(number_of(journal, "spool_bytes"), out);
    fputs(" of ", out);
    bytes_print(number_of(journal, "max_bytes"), out);
    if (json_is_number(bridged)) {
        fputs("; at ", out);
        bytes_print(number_of(journal, "bytes_per_second"), out);
        fputs("/s they bridge an outage of the store of about ", out);
        duration_print(json_number_value(bridged), out);
    }
    fputs(number_of(journal, "intake_paused") > 0 ? "; INTAKE IS PAUSED\n" : "\n", out);
}

static void source_print(const json_t *source, FILE *out)
{
    fputs("  ", out);
    terminal_cell(out, text_of(source, "name"), NAME_WIDTH);
    fputc(' ', out);
    terminal_cell(out, text_of(source, "type_name"), 10);
    fputc(' ', out);
    terminal_cell(out, text_of(source, "status"), 10);
    fprintf(out, " %12.0f %9.0f %9.0f  ", number_of(source, "received"),
            number_of(source, "received_per_second"), number_of(source, "pending"));
    terminal_text(out, text_of(source, "last_error"));
    fputc('\n', out);
}

static bool has_failed(const json_t *source)
{
    return strcmp(text_of(source, "status"), "error") == 0;
}

/* Those that fail first: they are why somebody looks. */
static void sources_print(const json_t *sources, FILE *out)
{
    size_t shown = 0;
    size_t index;
    const json_t *source;
    if (!json_is_array(sources)) {
        fputs("sources     cannot be told: the registry does not answer\n", out);
        return;
    }
    fprintf(out, "sources     %zu\n", json_array_size(sources));
    if (json_array_size(sources) > 0)
        fprintf(out, "  %-*s %-10s %-10s %12s %9s %9s  %s\n", NAME_WIDTH, "name", "type", "status",
                "received", "per s", "pending", "last error");
    for (int failed = 1; failed >= 0; failed--)
        json_array_foreach(sources, index, source)
        {
            if (has_failed(source) == failed && shown < STATUS_SOURCES_SHOWN) {
                source_print(source, out);
                shown++;
            }
        }
    if (json_array_size(sources) > shown)
        fprintf(out, "  … and %zu more (--json shows all)\n", json_array_size(sources) - shown);
}

void status_report_print(const json_t *report, FILE *out)
{
    head_print(report, out);
    components_print(json_object_get(report, "components"), out);
    messages_print(json_object_get(report, "messages"), out);
    lake_print(json_object_get(report, "lake"), out);
    journal_print(json_object_get(report, "journal"), out);
    sources_print(json_object_get(report, "sources"), out);
}
