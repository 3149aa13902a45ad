#pragma once
/*
 * sources/registry_api.h without a database, connectors or a network: a few sources in memory,
 * failures on demand, and pushes that are answered later from a thread of their own. A program that
 * calls fake_registry_new gets these definitions and not the manager's.
 *
 *   config.broker "away"       start and test fail: refused
 *   config.broker "slow"       start takes 300 ms
 *   ingestion id "push"        takes pushes and answers 202 with the number of lines
 *   ingestion id "push-never"  takes them and answers at fake_registry_free
 *   ingestion id "push-STATUS" answers that status; 422: two bytes are missing, more invalid JSON
 *   ingestion id "push-off"    is not running
 */
#include "sources/registry_api.h"

struct fake_registry;

enum err fake_registry_new(struct manager **ret_manager);
void fake_registry_free(struct manager *manager);
/* All that needs the database fails so from now on; ERR_OK: no more. */
void fake_registry_fail(struct manager *manager, enum err err, const char *reason);
