#pragma once
/*
 * The table of all variables, and how a value's text becomes a value. Each variable has one name
 * (MQTT_PORT) and from it a YAML key (mqtt_port) and an option (--mqtt-port). Pure but for the
 * struct config it is given; any thread.
 */
#include "app/config.h"

enum config_kind {
    CONFIG_TEXT,    /* char * */
    CONFIG_LIST,    /* struct config_list; text: items separated by commas */
    CONFIG_INTEGER, /* uint64_t */
    CONFIG_BYTES,   /* uint64_t; text: 67108864, 64MiB, 64 MB … */
    CONFIG_BOOLEAN, /* bool */
    CONFIG_WORD,    /* an enum; the words in the order of its values */
};

struct config_variable {
    const char *name;
    enum config_kind kind;
    size_t offset; /* in struct config */
    uint64_t min;
    uint64_t max;
    const char *const *words;
    /* More than the kind's own check; says what is wrong with the text in diag. May be NULL. */
    enum err (*check)(const char *text, struct diag *diag);
    const char *fallback; /* the default, as text */
    const char *help;
    bool secret;
    /* Appends the value as people may see it, for one that holds a secret somewhere. May be NULL.
     */
    enum err (*show)(const char *text, struct buf *out);
};

extern const struct config_variable config_table[];
extern const size_t config_table_count;

#define CONFIG_NAME_BYTES_MAX  64
#define CONFIG_VALUE_BYTES_MAX 4096
#define CONFIG_LIST_ITEMS_MAX  256

/* The index in the table, by name, key or option's name; SIZE_MAX when there is none. */
size_t config_table_find(const char *name);
void config_table_key(const struct config_variable *variable, char ret_key[CONFIG_NAME_BYTES_MAX]);
void config_table_option(const struct config_variable *variable,
                         char ret_option[CONFIG_NAME_BYTES_MAX]);

/* Sets the variable from text. diag says what is allowed ("is not a whole number from 1 to 5");
 * the value before stays on failure. */
enum err config_table_set(const struct config_variable *variable, struct config *config,
                          const char *text, struct diag *diag) ERR_MUST_USE;
/* The same from a list of texts; CONFIG_LIST only. */
enum err config_table_set_list(const struct config_variable *variable, struct config *config,
                               const char *const *items, size_t count,
                               struct diag *diag) ERR_MUST_USE;
/* Appends the value as text; not masked. */
void config_table_get(const struct config_variable *variable, const struct config *config,
                      struct buf *out);
/* Appends what is allowed: "whole number, 1 to 65535". */
void config_table_allowed(const struct config_variable *variable, struct buf *out);
void config_table_free(struct config *config);
