#pragma once
/*
 * Recovery: from a journal folder to a core that may append (recovery.c says how). Runs once, in
 * core_open, on its thread. On failure the core is left for core_fini.
 */
#include "journal/core.h"

/* ret_tail: blocks at the log's end that nothing calls durable; they are not applied, and are to be
 * written again into the first segment. Also set on failure. */
enum err recovery_run(struct core *core, struct block_list *ret_tail,
                      struct diag *diag) ERR_MUST_USE;

/* Reads what is there into a core that was zeroed but for its options, folder and ledger, and
 * changes nothing: for one that does not append. The journal may be in use. ERR_NOT_FOUND: there is
 * none. */
enum err recovery_read(struct core *core, struct diag *diag) ERR_MUST_USE;

/* recovery_folder.c. The lock is held until core_fini closes its file; ERR_BUSY names the holder.
 */
enum err recovery_lock(struct core *core, struct diag *diag) ERR_MUST_USE;
/* Leaves core->uuid empty when there is none yet. */
enum err recovery_uuid_read(struct core *core, struct diag *diag) ERR_MUST_USE;
/* Draws one if there is none, and writes it unless it was read from its file. */
enum err recovery_uuid_settle(struct core *core, bool had_file, struct diag *diag) ERR_MUST_USE;
