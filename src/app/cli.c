#include "app/cli.h"

#include "app/config_print.h"
#include "app/config_table.h"
#include "app/simulate.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "journal/inspect.h"
#include "version.h"

#include "app/lake.h"
#include "app/serve.h"
#include "app/status.h"
#include "app/try.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OPTION_BYTES_MAX 64
#define PROBLEMS_MAX     (256 * KIB)
#define ANSWER_MAX       (16 * MIB)
#define STATUS_URL_BYTES 1024

struct command {
    const char *name;
    const char *summary;
    const char *help;
    int (*run)(const struct command *command, int argc, char **argv);
};

/* Options */

static const struct cli_flag *find_flag(const struct cli_arguments *arguments, const char *name)
{
    for (const struct cli_flag *flag = arguments->flags; flag->name; flag++) {
        if (strcmp(flag->name, name) == 0)
            return flag;
    }
    return NULL;
}

static enum err unknown_option(const struct cli_arguments *arguments, const char *name,
                               struct diag *diag)
{
    char options[CONFIG_VARIABLES_MAX][CONFIG_NAME_BYTES_MAX];
    struct nearest nearest = {0};
    for (const struct cli_flag *flag = arguments->flags; flag->name; flag++)
        nearest_offer(&nearest, name, flag->name);
    for (size_t i = 0; arguments->takes_config && i < config_table_count; i++) {
        config_table_option(&config_table[i], options[i]);
        nearest_offer(&nearest, name, options[i]);
    }
    if (nearest.word)
        return diag_set(diag, ERR_INVALID, "unknown option --%s; did you mean --%s?", name,
                        nearest.word);
    return diag_set(diag, ERR_INVALID, "unknown option --%s", name);
}

static enum err take_option(struct cli_arguments *arguments, const char *name, const char *value,
                            struct diag *diag)
{
    const struct cli_flag *flag = find_flag(arguments, name);
    if (flag) {
        *flag->value = value ? value : "";
        return ERR_OK;
    }
    if (arguments->option_count == CLI_OPTIONS_MAX)
        return diag_set(diag, ERR_TOO_MANY, "more than %d options", CLI_OPTIONS_MAX);
    arguments->options[arguments->option_count++] =
        (struct config_option){config_table[config_table_find(name)].name, value};
    return ERR_OK;
}

/* Options are spelled --like-this, so a variable's own name or key is not one. */
static bool is_config_option(const char *name)
{
    char option[CONFIG_NAME_BYTES_MAX];
    size_t index = config_table_find(name);
    if (index == SIZE_MAX)
        return false;
    config_table_option(&config_table[index], option);
    return strcmp(option, name) == 0;
}

/* --name value or --name=value. *used: how many arguments it took. */
static enum err parse_option(struct cli_arguments *arguments, int argc, char *const *argv,
                             int *ret_used, struct diag *diag)
{
    char name[OPTION_BYTES_MAX];
    const char *text = argv[0] + 2;
    size_t size = strcspn(text, "=");
    const char *value = text[size] == '=' ? text + size + 1 : NULL;
    if (size >= sizeof(name))
        return diag_set(diag, ERR_INVALID, "unknown option %.80s", argv[0]);
    memcpy(name, text, size);
    name[size] = '\0';
    const struct cli_flag *flag = find_flag(arguments, name);
    if (!flag && !(arguments->takes_config && is_config_option(name)))
        return unknown_option(arguments, name, diag);
    bool takes_value = !flag || flag->takes_value;
    *ret_used = 1;
    if (!takes_value && value)
        return diag_set(diag, ERR_INVALID, "option --%s takes no value", name);
    if (takes_value && !value) {
        if (argc < 2)
            return diag_set(diag, ERR_INVALID, "option --%s needs a value", name);
        value = argv[1];
        *ret_used = 2;
    }
    return take_option(arguments, name, value, diag);
}

static enum err take_operand(struct cli_arguments *arguments, const char *text, struct diag *diag)
{
    if (arguments->operand_count == arguments->operand_max)
        return diag_set(diag, ERR_INVALID, "unexpected argument \"%.100s\"", text);
    arguments->operands[arguments->operand_count++] = text;
    return ERR_OK;
}

enum err cli_parse(struct cli_arguments *arguments, int argc, char *const *argv, struct diag *diag)
{
    bool options_over = false;
    for (int i = 0, used; i < argc; i += used) {
        enum err err;
        used = 1;
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
            continue;
        }
        if (options_over || argv[i][0] != '-' || argv[i][1] == '\0')
            err = take_operand(arguments, argv[i], diag);
        else if (argv[i][1] != '-')
            err =
                diag_set(diag, ERR_INVALID, "unknown option %.80s; options begin with --", argv[i]);
        else
            err = parse_option(arguments, argc - i, argv + i, &used, diag);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* What the commands share */

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return false;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

static int usage(const struct command *command, const struct diag *diag)
{
    fprintf(stderr, "ingestor %s: %s\nSee `ingestor %s --help`.\n", command->name, diag->text,
            command->name);
    return CLI_USAGE;
}

/* errors: NULL, or a list that gets them too. */
static void print_problems(struct buf *problems, json_t *errors)
{
    const char *text = buf_cstr(problems);
    for (const char *line = text; line && *line;) {
        size_t size = strcspn(line, "\n");
        fprintf(stderr, "ingestor: %.*s\n", (int)size, line);
        json_array_append_new(errors, json_stringn(line, size));
        line += size + (line[size] == '\n');
    }
}

struct loaded {
    struct cli_arguments arguments;
    const char *path;
    const char *json;
    struct config_input input;
    struct config *config;
    json_t *errors; /* NULL: nobody asks */
};

/* What file, environment and options make. CLI_OK, or the exit code; what is wrong is told. */
static int load_config(const struct cli_arguments *arguments, const char *path,
                       struct config_input *ret_input, struct config **ret_config, json_t *errors)
{
    struct buf problems;
    *ret_input = (struct config_input){
        .fs = &fs_posix,
        .path = path,
        .environment = (const char *const *)environ,
        .options = arguments->options,
        .option_count = arguments->option_count,
    };
    buf_init(&problems, PROBLEMS_MAX);
    enum err err = config_load(ret_input, ret_config, &problems);
    print_problems(&problems, errors);
    buf_fini(&problems);
    if (err && err != ERR_INVALID)
        fprintf(stderr, "ingestor: configuration: %s\n", err_text(err));
    assert(err || *ret_config);
    return err == ERR_OK ? CLI_OK : err == ERR_INVALID ? CLI_USAGE : CLI_FAILURE;
}

/* Parses the arguments and loads the configuration. CLI_OK, or the exit code. */
static int load(const struct command *command, int argc, char **argv, struct loaded *loaded)
{
    const struct cli_flag flags[] = {
        {"config", true, &loaded->path}, {"json", false, &loaded->json}, {0}};
    struct diag diag = {0};
    loaded->arguments = (struct cli_arguments){.flags = flags, .takes_config = true};
    if (cli_parse(&loaded->arguments, argc - 1, argv + 1, &diag) != ERR_OK)
        return usage(command, &diag);
    return load_config(&loaded->arguments, loaded->path, &loaded->input, &loaded->config,
                       loaded->errors);
}

static int print_answer(struct buf *answer, enum err err)
{
    int exit_code = CLI_OK;
    if (err || fwrite(answer->data, 1, answer->size, stdout) != answer->size ||
        fflush(stdout) != 0) {
        fprintf(stderr, "ingestor: the answer could not be written: %s\n",
                err ? err_text(err) : "output error");
        exit_code = CLI_FAILURE;
    }
    buf_fini(answer);
    return exit_code;
}

/* Commands */

static int run_config(const struct command *command, int argc, char **argv)
{
    struct loaded loaded = {0};
    int exit_code = load(command, argc, argv, &loaded);
    if (exit_code != CLI_OK)
        return exit_code;
    struct buf answer;
    buf_init(&answer, ANSWER_MAX);
    enum err err = loaded.json ? config_print_json(loaded.config, &answer)
                               : config_print_table(loaded.config, &answer);
    config_free(loaded.config);
    return print_answer(&answer, err);
}

static int check_json(int exit_code, json_t *errors)
{
    json_t *verdict = json_pack("{s:b, s:O}", "valid", exit_code == CLI_OK, "errors", errors);
    char *text = verdict ? json_dumps(verdict, 0) : NULL;
    if (text)
        printf("%s\n", text);
    free(text); /* jansson's own */
    json_decref(verdict);
    return text ? exit_code : CLI_FAILURE;
}

static int run_check(const struct command *command, int argc, char **argv)
{
    struct loaded loaded = {.errors = json_array()};
    int exit_code = load(command, argc, argv, &loaded);
    if (loaded.json && exit_code != CLI_FAILURE) {
        exit_code = check_json(exit_code, loaded.errors);
    } else if (exit_code == CLI_OK) {
        size_t sources = json_array_size(loaded.config->sources);
        printf("The configuration is valid%s%s (%zu source%s in it).\n",
               loaded.config->path ? ": " : "", loaded.config->path ? loaded.config->path : "",
               sources, sources == 1 ? "" : "s");
    }
    json_decref(loaded.errors);
    config_free(loaded.config);
    return exit_code;
}

static int run_serve(const struct command *command, int argc, char **argv)
{
    struct loaded loaded = {0};
    int exit_code = load(command, argc, argv, &loaded);
    if (exit_code != CLI_OK)
        return exit_code;
    log_configure(loaded.config->log_level, loaded.config->log_format);
    exit_code = serve_main(loaded.config, &loaded.input);
    config_free(loaded.config);
    return exit_code;
}

static int run_try(const struct command *command, int argc, char **argv)
{
    (void)command;
    return try_main(argc, argv);
}

static int run_simulate(const struct command *command, int argc, char **argv)
{
    (void)command;
    return simulate_main(argc, argv);
}

static int inspect_journal(const char *folder, const struct inspect_options *options)
{
    struct diag diag = {0};
    enum err err = journal_inspect(&fs_posix, folder, options, stdout, &diag);
    if (err == ERR_OK && fflush(stdout) == 0)
        return CLI_OK;
    fprintf(stderr, "ingestor: %s\n", diag.text[0] ? diag.text : err_text(err));
    return err == ERR_VERSION || err_class(err) == ERR_CLASS_CORRUPT ? CLI_JOURNAL : CLI_FAILURE;
}

/* journal inspect [FOLDER] */
static int run_journal(const struct command *command, int argc, char **argv)
{
    const char *json = NULL;
    const char *records = NULL;
    const char *payloads = NULL;
    const char *segment = NULL;
    const char *path = NULL;
    const struct cli_flag flags[] = {{"json", false, &json},         {"records", false, &records},
                                     {"payloads", false, &payloads}, {"segment", true, &segment},
                                     {"config", true, &path},        {0}};
    struct cli_arguments arguments = {.flags = flags, .takes_config = true, .operand_max = 2};
    struct diag diag = {0};
    struct config *config = NULL;
    if (cli_parse(&arguments, argc - 1, argv + 1, &diag) != ERR_OK)
        return usage(command, &diag);
    if (arguments.operand_count == 0 || strcmp(arguments.operands[0], "inspect") != 0) {
        diag_set(&diag, ERR_INVALID, "say what to do: `ingestor journal inspect [FOLDER]`");
        return usage(command, &diag);
    }
    const struct inspect_options options = {.json = json != NULL,
                                            .records = records || payloads,
                                            .payloads = payloads != NULL,
                                            .segment = segment};
    if (arguments.operand_count == 2)
        return inspect_journal(arguments.operands[1], &options);
    struct config_input input;
    int exit_code = load_config(&arguments, path, &input, &config, NULL);
    if (exit_code == CLI_OK)
        exit_code = inspect_journal(config->journal_dir, &options);
    config_free(config);
    return exit_code;
}

/* lake VERB [TARGET] */
static int run_lake(const struct command *command, int argc, char **argv)
{
    const char *json = NULL;
    const char *table = NULL;
    const char *limit = NULL;
    const char *engine = NULL;
    const char *path = NULL;
    const struct cli_flag flags[] = {{"json", false, &json},  {"table", false, &table},
                                     {"limit", true, &limit}, {"engine", true, &engine},
                                     {"config", true, &path}, {0}};
    struct cli_arguments arguments = {.flags = flags, .takes_config = true, .operand_max = 2};
    struct config *config = NULL;
    struct config_input input;
    struct diag diag = {0};
    if (cli_parse(&arguments, argc - 1, argv + 1, &diag) != ERR_OK)
        return usage(command, &diag);
    struct lake_command lake = {.verb = arguments.operands[0],
                                .target = arguments.operands[1],
                                .engine = engine,
                                .json = json != NULL,
                                .table = table || (!json && isatty(STDOUT_FILENO))};
    if (lake_command_check(&lake, limit, &diag) != ERR_OK)
        return usage(command, &diag);
    int exit_code = load_config(&arguments, path, &input, &config, NULL);
    if (exit_code == CLI_OK)
        exit_code = lake_main(config, &lake);
    config_free(config);
    return exit_code;
}

/* The address of the API that this configuration makes. */
static void service_url(const struct config *config, char ret_url[STATUS_URL_BYTES])
{
    bool any = strcmp(config->host, "0.0.0.0") == 0 || strcmp(config->host, "::") == 0;
    bool is_ipv6 = strchr(config->host, ':') && !any;
    snprintf(ret_url, STATUS_URL_BYTES, "http://%s%s%s:%u", is_ipv6 ? "[" : "",
             any ? "127.0.0.1" : config->host, is_ipv6 ? "]" : "", (unsigned)config->port);
}

/* Without a path: those of the API are put after it. */
static bool url_given(const char *text, char ret_url[STATUS_URL_BYTES])
{
    bool is_http = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
    int size = snprintf(ret_url, STATUS_URL_BYTES, "%s%s", is_http ? "" : "http://", text);
    if (size < 0 || size >= STATUS_URL_BYTES)
        return false;
    while (size > 0 && ret_url[size - 1] == '/')
        ret_url[--size] = '\0';
    return true;
}

static int run_status(const struct command *command, int argc, char **argv)
{
    const char *json = NULL;
    const char *path = NULL;
    const char *seconds = "1";
    const struct cli_flag flags[] = {
        {"config", true, &path}, {"json", false, &json}, {"seconds", true, &seconds}, {0}};
    struct cli_arguments arguments = {.flags = flags, .takes_config = true, .operand_max = 1};
    struct config *config = NULL;
    struct config_input input;
    struct diag diag = {0};
    char url[STATUS_URL_BYTES];
    char *end;
    if (cli_parse(&arguments, argc - 1, argv + 1, &diag) != ERR_OK)
        return usage(command, &diag);
    struct status_options options = {.url = url, .seconds = strtod(seconds, &end), .json = json};
    if (end == seconds || *end || !(options.seconds >= 0.1 && options.seconds <= 3600))
        diag_set(&diag, ERR_INVALID, "--seconds must be a number from 0.1 to 3600");
    else if (arguments.operand_count == 1 && !url_given(arguments.operands[0], url))
        diag_set(&diag, ERR_INVALID, "the URL is too long");
    if (diag.text[0])
        return usage(command, &diag);
    if (arguments.operand_count == 0) {
        int exit_code = load_config(&arguments, path, &input, &config, NULL);
        if (exit_code != CLI_OK)
            return exit_code;
        service_url(config, url);
        config_free(config);
    }
    return status_main(&options);
}

static int run_version(const struct command *command, int argc, char **argv)
{
    const char *json = NULL;
    const struct cli_flag flags[] = {{"json", false, &json}, {0}};
    struct cli_arguments arguments = {.flags = flags};
    struct diag diag = {0};
    if (cli_parse(&arguments, argc - 1, argv + 1, &diag) != ERR_OK)
        return usage(command, &diag);
    if (json)
        printf("{\"version\": \"%s\", \"build\": \"%s\"}\n", INGESTOR_VERSION, INGESTOR_BUILD);
    else
        printf("ingestor %s (build %s)\n", INGESTOR_VERSION, INGESTOR_BUILD);
    return CLI_OK;
}

static const struct command commands[] = {
    {"serve", "run the service",
     "Usage: ingestor serve [--config FILE] [options]\n"
     "\n"
     "Connects to the sources, journals what they send, lands it as Parquet, and answers the API.\n"
     "SIGTERM or Ctrl-C drains and flushes within 10 s; a second one leaves at once, the journal\n"
     "keeps the rest. SIGHUP reads LOG_LEVEL and sources: again.\n"
     "\n"
     "Example: ingestor serve --mqtt-broker mqtt.example.org --mqtt-topic 'plant/#' \\\n"
     "             --object-store-url file:///srv/lake\n",
     run_serve},
    {"status", "how a running service is, at a glance",
     "Usage: ingestor status [URL] [--seconds N] [--json] [--config FILE] [options]\n"
     "\n"
     "Asks the service at URL (default: where HOST and PORT say) how it is: health, rates over\n"
     "N seconds (1), lag, what journal and spool hold and how long an outage of the store they\n"
     "would bridge at this rate, and each source.\n"
     "Exit code 0: healthy or degraded; 1: unhealthy, or no answer.\n"
     "\n"
     "Example: ingestor status http://127.0.0.1:8001\n",
     run_status},
    {"try", "connect to an address and show what would be stored", NULL, run_try},
    {"simulate", "publish as a city full of sensors", NULL, run_simulate},
    {"journal", "journal inspect: what the journal holds",
     "Usage: ingestor journal inspect [FOLDER] [--records] [--payloads] [--segment NAME] [--json]\n"
     "\n"
     "Walks a journal's folder (default: JOURNAL_DIR) read-only, also while a service uses it or\n"
     "when it is damaged. --records lists each block's records, --payloads the messages too.\n"
     "\n"
     "Example: ingestor journal inspect ./data/journal --payloads\n",
     run_journal},
    {"lake", "look at the Parquet files: ls, head, cat, schema, ddl, verify",
     "Usage: ingestor lake ls [DATASET]\n"
     "       ingestor lake head|cat DATASET|FILE [--limit ROWS] [--table | --json]\n"
     "       ingestor lake schema DATASET|FILE\n"
     "       ingestor lake ddl DATASET --engine duckdb|spark|trino\n"
     "       ingestor lake verify [DATASET|FILE]\n"
     "       each with [--json] [--config FILE] [options]\n"
     "\n"
     "Reads the store that the configuration names, and changes nothing. FILE is an object's key,\n"
     "or a path on this machine (with a / in it unless it ends in .parquet). Rows are a table on "
     "a\n"
     "terminal, else a JSON object a line. verify reads every file again: pages, levels, counts,\n"
     "statistics, and by the journal ranges in the footers whether rows are doubled.\n"
     "Exit code 1: the store or the dataset cannot be had; 4: damaged, doubled or missing.\n"
     "\n"
     "Example: ingestor lake head sensors_room1 --object-store-url file:///srv/lake\n",
     run_lake},
    {"check", "validate the configuration without starting",
     "Usage: ingestor check [--config FILE] [--json] [options]\n"
     "\n"
     "Reads the configuration as `serve` would and says everything that is wrong with it.\n"
     "Exit code 0: valid; 2: not.\n"
     "\n"
     "Example: ingestor check --config /etc/ingestor.yaml\n",
     run_check},
    {"config", "print the effective configuration",
     "Usage: ingestor config [--config FILE] [--json] [options]\n"
     "\n"
     "Prints every value, secrets masked, and where each came from: default, file, environment\n"
     "or command line (each is stronger than those before it).\n"
     "\n"
     "Example: MQTT_PORT=1884 ingestor config --log-level DEBUG\n",
     run_config},
    {"version", "print the version",
     "Usage: ingestor version [--json]\n"
     "\n"
     "Example: ingestor version --json\n",
     run_version},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    fprintf(out, "ingestor takes messages from MQTT, makes them durable before it acknowledges,\n"
                 "and lands them as Parquet in S3 or a folder, each exactly once.\n"
                 "\n"
                 "Usage: ingestor COMMAND [options]\n"
                 "\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n`ingestor COMMAND --help` says more, with an example. Every variable of the\n"
                 "configuration is an option too: MQTT_PORT is --mqtt-port.\n");
}

static int unknown_command(const char *name)
{
    struct nearest nearest = {0};
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        nearest_offer(&nearest, name, commands[i].name);
    fprintf(stderr, "ingestor: unknown command \"%.100s\"", name);
    if (nearest.word)
        fprintf(stderr, "; did you mean \"%s\"?\n", nearest.word);
    else
        fprintf(stderr, "; `ingestor help` lists all\n");
    return CLI_USAGE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* help, help COMMAND, --help, -h */
static int run_help(int argc, char **argv)
{
    const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;
    if (argc > 2 && !command)
        return unknown_command(argv[2]);
    char *const help_argv[] = {argv[0], (char *)(uintptr_t) "--help", NULL};
    if (command && !command->help) /* it has a parser and a help of its own */
        return command->run(command, 2, (char **)(uintptr_t)help_argv);
    fputs(command ? command->help : "", stdout);
    if (!command)
        print_help(stdout);
    return CLI_OK;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2)
        return run_help(argc, argv);
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0)
        name = "version";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return run_help(argc, argv);
    const struct command *command = find_command(name);
    if (!command)
        return unknown_command(name);
    if (command->help && wants_help(argc - 1, argv + 1)) {
        fputs(command->help, stdout);
        return CLI_OK;
    }
    return command->run(command, argc - 1, argv + 1);
}
