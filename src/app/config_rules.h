#pragma once
/*
 * What a value must be beyond its kind, and what follows from several values together: the object
 * store from OBJECT_STORE_URL and MINIO_*, the database's file, the sync mode, the pod's name.
 * Checks are pure; a check's diag completes the sentence 'NAME: "value" …'.
 */
#include "app/config.h"

enum err config_rules_host(const char *text, struct diag *diag);
enum err config_rules_topic(const char *text, struct diag *diag);
enum err config_rules_group(const char *text, struct diag *diag);
enum err config_rules_endpoint(const char *text, struct diag *diag);
enum err config_rules_bucket(const char *text, struct diag *diag);
enum err config_rules_label(const char *text, struct diag *diag);
enum err config_rules_path(const char *text, struct diag *diag);
enum err config_rules_sync(const char *text, struct diag *diag);

/* Fills the worked-out members; problems gets a line for each that cannot be. ERR_NO_MEMORY, or
 * ERR_OK (also with problems). */
enum err config_rules_derive(struct config *config, struct buf *problems) ERR_MUST_USE;
/* Frees the worked-out members. */
void config_rules_free(struct config *config);
