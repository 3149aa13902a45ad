#include "journal/survey.h"

#include "base/alloc.h"
#include "journal/recovery.h"

#include <string.h>

#define SURVEY_BYTES_MAX (4 * GIB)

/* Into the map, where the values say nothing. */
static enum err pending_note(const struct ledger *ledger, struct map *on_their_way)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < ledger->pending_count && err == ERR_OK; i++)
        err = map_put(on_their_way, ledger->pending[i]->landed.dataset_id, on_their_way);
    return err;
}

static enum err dataset_add(struct journal_survey *survey, const struct map_entry *entry,
                            bool is_on_its_way)
{
    const struct ledger_dataset *dataset = entry->value;
    if (dataset->filed_through == 0)
        return ERR_OK;
    const char *id = arena_dup(&survey->arena, entry->key, entry->key_size);
    survey->datasets[survey->count++] =
        (struct journal_survey_dataset){id, dataset->filed_through, is_on_its_way};
    return id ? ERR_OK : ERR_NO_MEMORY;
}

static enum err datasets_take(struct journal_survey *survey, const struct ledger *ledger)
{
    struct map on_their_way;
    size_t cursor = 0;
    map_init(&on_their_way);
    enum err err = pending_note(ledger, &on_their_way);
    survey->datasets = mem_zalloc(ledger->datasets.live_count + 1, sizeof(*survey->datasets));
    if (!survey->datasets)
        err = ERR_NO_MEMORY;
    for (const struct map_entry *entry;
         err == ERR_OK && (entry = map_next(&ledger->datasets, &cursor));)
        err = dataset_add(survey, entry,
                          map_get(&on_their_way, bytes_from(entry->key, entry->key_size)));
    map_fini(&on_their_way);
    return err;
}

enum err journal_survey_read(const struct fs *fs, const char *folder, struct journal_survey *survey,
                             struct diag *diag)
{
    struct core core = {.options = {.fs = fs, .folder = folder}};
    *survey = (struct journal_survey){0};
    arena_init(&survey->arena, SURVEY_BYTES_MAX);
    ledger_init(&core.ledger);
    core.folder = mem_strdup(folder);
    enum err err = core.folder ? recovery_read(&core, diag) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = datasets_take(survey, &core.ledger);
    memcpy(survey->uuid, core.uuid, sizeof(survey->uuid));
    core_fini(&core);
    if (err != ERR_OK)
        journal_survey_fini(survey);
    return err;
}

void journal_survey_fini(struct journal_survey *survey)
{
    arena_fini(&survey->arena);
    mem_free(survey->datasets);
    *survey = (struct journal_survey){0};
}
