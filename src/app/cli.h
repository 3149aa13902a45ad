#pragma once
/*
 * The command line: finds the command, reads its options, calls it. Runs on the main thread before
 * any other exists. Answers go to standard output, complaints to standard error.
 *
 * Exit codes (docs/operations.md): see enum cli_exit.
 */
#include "app/config.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILURE = 1, /* the command was understood and did not succeed */
    CLI_USAGE = 2,   /* wrong options or configuration; nothing was started */
    CLI_JOURNAL = 3, /* the journal is locked by another process, damaged, or of a newer version */
    CLI_LAKE = 4,    /* files of the lake are damaged, or rows are missing or doubled */
};

int cli_main(int argc, char **argv);

/* What an option that is not of the configuration may be. */
struct cli_flag {
    const char *name; /* "json" */
    bool takes_value;
    const char **value; /* set to the value, or to "" when it takes none */
};

#define CLI_FLAGS_MAX   8
#define CLI_OPTIONS_MAX (2 * CONFIG_VARIABLES_MAX)

struct cli_arguments {
    const struct cli_flag *flags; /* ended by a NULL name */
    bool takes_config;            /* the options of the configuration too */
    size_t operand_max;
    /* Filled in: */
    struct config_option options[CLI_OPTIONS_MAX];
    size_t option_count;
    const char *operands[4];
    size_t operand_count;
};

/* argv[0] is the first argument. ERR_INVALID with a sentence that names the nearest option. */
enum err cli_parse(struct cli_arguments *arguments, int argc, char *const *argv,
                   struct diag *diag) ERR_MUST_USE;
