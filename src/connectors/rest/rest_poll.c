/*
 *   begin -> [token] -> page -> (redirect | try again)* -> kept -> page … -> done
 *
 * Everything ends in finish(), which calls done from a timer of 0 ms when it could not be called
 * from the transfer's end: an owner never finds done called within its own begin.
 */
#include "connectors/rest/rest_poll.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "connectors/rest/rest_page.h"
#include "connectors/rest/rest_url.h"
#include "os/clock.h"
#include "version.h"

#include <stdarg.h>
#include <stdio.h>

#define PAGES_FIRST 4

static void on_transfer_done(void *ctx);

void rest_poll_init(struct rest_poll *poll, const struct rest_config *config,
                    struct rest_state *state, struct rest_engine *engine, uv_loop_t *loop,
                    uint64_t seed, void (*done)(void *ctx), void *ctx)
{
    *poll = (struct rest_poll){.config = config,
                               .state = state,
                               .engine = engine,
                               .done = done,
                               .ctx = ctx,
                               .seed = seed,
                               .retry_after_s = -1};
    buf_init(&poll->position, REST_POSITION_BYTES_MAX);
    buf_init(&poll->next, REST_POSITION_BYTES_MAX);
    buf_init(&poll->url, REST_CONFIG_BYTES_MAX);
    buf_init(&poll->form, REST_CONFIG_BYTES_MAX);
    buf_init(&poll->client, REST_CONFIG_BYTES_MAX);
    rest_token_init(&poll->token);
    rest_transfer_init(&poll->transfer, engine, on_transfer_done, poll);
    uv_timer_init(loop, &poll->timer);
    poll->timer.data = poll;
}

void rest_poll_drop_pages(struct rest_poll *poll)
{
    for (uint32_t i = 0; i < poll->kept_count; i++) {
        buf_fini(&poll->pages[i].body);
        buf_fini(&poll->pages[i].content_type);
    }
    poll->kept_count = 0;
    size_t bytes = poll->kept_bytes;
    poll->kept_bytes = 0;
    rest_engine_release(poll->engine, bytes);
}

static void headers_free(struct rest_poll *poll)
{
    curl_slist_free_all(poll->headers);
    poll->headers = NULL;
}

void rest_poll_cancel(struct rest_poll *poll)
{
    poll->active = false;
    uv_timer_stop(&poll->timer);
    rest_transfer_cancel(&poll->transfer);
    headers_free(poll);
    rest_poll_drop_pages(poll);
}

void rest_poll_fini(struct rest_poll *poll)
{
    rest_transfer_fini(&poll->transfer);
    rest_token_fini(&poll->token);
    mem_free(poll->pages);
    buf_fini(&poll->position);
    buf_fini(&poll->next);
    buf_fini(&poll->url);
    buf_fini(&poll->form);
    buf_fini(&poll->client);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void finish(struct rest_poll *poll, enum rest_poll_result result)
{
    poll->result = result;
    poll->active = false;
    headers_free(poll);
    if (result == REST_POLL_FAILED)
        rest_poll_drop_pages(poll);
    poll->done(poll->ctx);
}

static void fail(struct rest_poll *poll, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct rest_poll *poll, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(poll->sentence, sizeof(poll->sentence), format, arguments);
    va_end(arguments);
    finish(poll, REST_POLL_FAILED);
}

static void fail_memory(struct rest_poll *poll)
{
    fail(poll, "out of memory for a request");
}

static const char *method_text(const struct rest_poll *poll)
{
    return poll->config->is_post ? "POST" : "GET";
}

/* --- asking ----------------------------------------------------------------------------------- */

static bool header_add(struct rest_poll *poll, const char *line)
{
    struct curl_slist *longer = line ? curl_slist_append(poll->headers, line) : NULL;
    if (longer)
        poll->headers = longer;
    return longer != NULL;
}

static bool header_add_validator(struct rest_poll *poll, const char *name, const char *value)
{
    char line[REST_VALIDATOR_BYTES_MAX + 64];
    if (!value[0])
        return true;
    snprintf(line, sizeof(line), "%s: %s", name, value);
    return header_add(poll, line);
}

/* An answer that is known already is worth asking for only when it belongs to this very request. */
static bool validators_add(struct rest_poll *poll)
{
    const struct rest_state *state = poll->state;
    poll->conditional = poll->page_count == 0 && poll->position.size == 0 && !poll->is_post &&
                        (state->etag[0] || state->last_modified[0]) &&
                        state->validators_of == poll->request_hash;
    return !poll->conditional ||
           (header_add_validator(poll, "If-None-Match", state->etag) &&
            header_add_validator(poll, "If-Modified-Since", state->last_modified));
}

/* Another host than the configured one gets nothing that may be secret. */
static bool headers_make(struct rest_poll *poll, bool own_host)
{
    const struct rest_config *config = poll->config;
    headers_free(poll);
    bool good = header_add(poll, "Expect:");
    for (size_t i = 0; good && i < config->header_count; i++)
        if (own_host || !config->headers[i].is_sensitive)
            good = header_add(poll, config->headers[i].line);
    if (good && own_host && config->auth_header)
        good = header_add(poll, config->auth_header);
    if (good && own_host && poll->token.header.size > 0)
        good = header_add(poll, buf_cstr(&poll->token.header));
    return good && (!own_host || validators_add(poll));
}

static void transfer_start(struct rest_poll *poll)
{
    poll->requests++;
    poll->retry_after_s = -1;
    if (rest_transfer_start(&poll->transfer, &poll->request) != ERR_OK)
        fail_memory(poll);
}

static void page_send(struct rest_poll *poll)
{
    const struct rest_config *config = poll->config;
    const char *url = buf_cstr(&poll->url);
    bool own_host = url && rest_url_same_origin(url, config->source);
    poll->token_phase = false;
    if (!url || !headers_make(poll, own_host)) {
        fail_memory(poll);
        return;
    }
    poll->request = (struct rest_request){
        .url = url,
        .headers = poll->headers,
        .is_post = poll->is_post,
        .body = config->body,
        .timeout_ms = config->timeout_ms,
        .response_max_bytes = config->response_max_bytes,
        .ca_file = config->ca_file,
        .cert_file = own_host ? config->cert_file : NULL,
        .key_file = own_host ? config->key_file : NULL,
        .verify = config->verify,
        .proxy = config->proxy,
    };
    transfer_start(poll);
}

static void token_send(struct rest_poll *poll)
{
    const struct rest_config *config = poll->config;
    const struct rest_oauth2 *oauth2 = &config->oauth2;
    bool own_host = rest_url_same_origin(oauth2->token_url, config->source);
    poll->token_phase = true;
    headers_free(poll);
    bool good = rest_token_form(oauth2, &poll->form) == ERR_OK &&
                rest_token_client(oauth2, &poll->client) == ERR_OK &&
                header_add(poll, "Accept: application/json") &&
                header_add(poll, "User-Agent: ingestor/" INGESTOR_VERSION) &&
                (oauth2->in_body || header_add(poll, buf_cstr(&poll->client)));
    if (!good) {
        fail_memory(poll);
        return;
    }
    poll->request = (struct rest_request){
        .url = oauth2->token_url,
        .headers = poll->headers,
        .is_post = true,
        .body = buf_bytes(&poll->form),
        .timeout_ms = config->timeout_ms,
        .response_max_bytes = REST_TOKEN_ANSWER_BYTES,
        .ca_file = config->ca_file,
        .cert_file = own_host ? config->cert_file : NULL,
        .key_file = own_host ? config->key_file : NULL,
        .verify = config->verify,
        .proxy = config->proxy,
    };
    transfer_start(poll);
}

static bool token_lacks(const struct rest_poll *poll)
{
    return poll->config->auth == REST_AUTH_OAUTH2 &&
           !rest_token_good(&poll->token, clock_monotonic_ns(&clock_system));
}

static void send_what_is_due(struct rest_poll *poll)
{
    if (token_lacks(poll))
        token_send(poll);
    else
        page_send(poll);
}

static void on_timer(uv_timer_t *timer)
{
    struct rest_poll *poll = timer->data;
    if (poll->active)
        send_what_is_due(poll);
}

/* The page at poll->position, from its configured address on. From the loop, not from the caller:
 * a failure to start must not call done from within begin. */
static void page_ask(struct rest_poll *poll)
{
    struct bytes cursor = bytes_from(poll->state->cursor.json, poll->state->cursor.size);
    if (cursor.size == 0)
        cursor = poll->config->cursor_initial;
    poll->redirects = 0;
    poll->is_post = poll->config->is_post;
    rest_retry_begin(&poll->retry, clock_monotonic_ns(&clock_system), poll->seed + poll->requests);
    if (rest_page_url(poll->config, buf_bytes(&poll->position), cursor, &poll->url) != ERR_OK)
        buf_clear(&poll->url); /* page_send will say so */
    poll->request_hash = rest_state_request(poll->config, buf_bytes(&poll->url));
    uv_timer_start(&poll->timer, on_timer, 0, 0);
}

void rest_poll_begin(struct rest_poll *poll)
{
    const struct rest_state *state = poll->state;
    poll->active = true;
    poll->has_more = poll->refused = false;
    poll->page_count = 0;
    poll->warning[0] = poll->sentence[0] = poll->etag[0] = poll->last_modified[0] = '\0';
    buf_clear(&poll->position);
    poll->cursor = state->cursor;
    if (state->resume.size > 0 &&
        buf_append(&poll->position, state->resume.data, state->resume.size) == ERR_OK)
        poll->cursor = state->resume_cursor;
    page_ask(poll);
}

void rest_poll_go_on(struct rest_poll *poll)
{
    poll->active = true;
    poll->has_more = false;
    page_ask(poll);
}

/* --- what was answered ------------------------------------------------------------------------ */

/* What a person reads of a request that failed. */
static void sentence_make(struct rest_poll *poll, const char *reason)
{
    const char *url = poll->token_phase ? poll->config->oauth2.token_url : poll->config->shown;
    size_t size = strcspn(url, "?#"); /* a query may hold a secret */
    snprintf(poll->sentence, sizeof(poll->sentence), "%s %.*s: %.300s",
             poll->token_phase ? "POST" : method_text(poll), size < 200 ? (int)size : 200, url,
             reason);
}

static void try_again_or_fail(struct rest_poll *poll, const char *reason)
{
    uint32_t wait_ms;
    sentence_make(poll, reason);
    if (rest_retry_again(&poll->retry, clock_monotonic_ns(&clock_system), poll->retry_after_s,
                         &wait_ms)) {
        uv_timer_start(&poll->timer, on_timer, wait_ms, 0);
        return;
    }
    finish(poll, REST_POLL_FAILED);
}

static void fail_with(struct rest_poll *poll, const char *reason)
{
    sentence_make(poll, reason);
    finish(poll, REST_POLL_FAILED);
}

static const char *status_words(long status)
{
    static const struct {
        long status;
        const char *words;
    } known[] = {
        {400, "Bad Request"},
        {401, "Unauthorized: check the credentials"},
        {403, "Forbidden: check the credentials"},
        {404, "Not Found: check the url"},
        {405, "Method Not Allowed: check the method"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].words;
    return "";
}

static void on_bad_status(struct rest_poll *poll)
{
    char reason[200], word[64] = "";
    long status = poll->transfer.status;
    if (poll->token_phase)
        rest_token_error(buf_bytes(&poll->transfer.body), word);
    snprintf(reason, sizeof(reason), "%ld %s%s%s", status, status_words(status),
             word[0] ? ": " : "", word);
    if (status == 408 || status == 429 || status >= 500) {
        try_again_or_fail(poll, reason);
        return;
    }
    poll->refused = status >= 400 && !poll->token_phase;
    fail_with(poll, reason);
}

static void on_token(struct rest_poll *poll)
{
    struct diag diag = {0};
    if (poll->transfer.status != 200) {
        on_bad_status(poll);
        return;
    }
    enum err err = rest_token_take(&poll->token, buf_bytes(&poll->transfer.body),
                                   clock_monotonic_ns(&clock_system), &diag);
    if (err != ERR_OK)
        fail(poll, "%s", diag.text[0] ? diag.text : err_text(err));
    else
        page_send(poll);
}

/* 303, and by custom 301 and 302, make a GET of a POST (RFC 9110 §15.4). */
static void on_redirect(struct rest_poll *poll)
{
    long status = poll->transfer.status;
    if (++poll->redirects > REST_REDIRECTS_MAX) {
        fail_with(poll, "more than 10 redirects");
        return;
    }
    const char *base = buf_cstr(&poll->url);
    const char *to = buf_cstr(&poll->transfer.location);
    struct buf url;
    buf_init(&url, REST_CONFIG_BYTES_MAX);
    enum err err = base && to ? rest_url_resolve(base, to, &url) : ERR_NO_MEMORY;
    if (err != ERR_OK) {
        buf_fini(&url);
        fail_with(poll,
                  err == ERR_INVALID ? "redirected to what is not http or https" : "out of memory");
        return;
    }
    buf_fini(&poll->url);
    poll->url = url;
    if (status != 307 && status != 308)
        poll->is_post = false;
    page_send(poll);
}

static bool is_redirect(const struct rest_transfer *transfer)
{
    long status = transfer->status;
    return transfer->location.size > 0 &&
           (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* --- a page ----------------------------------------------------------------------------------- */

static struct rest_page *page_new(struct rest_poll *poll)
{
    if (poll->kept_count == poll->kept_capacity) {
        uint32_t capacity = poll->kept_capacity ? poll->kept_capacity * 2 : PAGES_FIRST;
        struct rest_page *pages = mem_realloc(poll->pages, capacity * sizeof(*pages));
        if (!pages)
            return NULL;
        /* records point into the bodies' memory, which does not move; the path is the config's */
        poll->pages = pages;
        poll->kept_capacity = capacity;
    }
    return &poll->pages[poll->kept_count];
}

static enum err cursor_see(void *ctx, struct bytes record, bool is_element)
{
    struct rest_poll *poll = ctx;
    struct bytes value;
    (void)is_element;
    if (rest_path_first(&poll->config->cursor_field, record, &value))
        rest_cursor_offer(&poll->cursor, value, record);
    return ERR_OK;
}

static void page_read(struct rest_poll *poll, struct rest_page *page)
{
    const struct rest_config *config = poll->config;
    bool unread = content_format_converts(page->format) && !page->converted;
    rest_body_open(&page->records, buf_bytes(&page->body), &config->data_path,
                   config->common.format == CONTENT_TEXT || unread);
    if (page->status == 204 || page->status == 205)
        page->records.record_count = 0; /* there is no content to be a record */
    if (page->records.mismatched && page->records.record_count > 0)
        snprintf(
            poll->warning, sizeof(poll->warning),
            "data_path \"%.100s\" does not match the response of %.200s: the whole response is "
            "the record",
            config->data_path_text, config->shown);
    if (config->has_cursor && page->records.kind == REST_BODY_JSON) {
        enum err err = rest_body_each(&page->records, 0, cursor_see, poll);
        (void)err; /* cursor_see never fails */
    }
}

static void validator_keep(const struct buf *field, char ret_text[REST_VALIDATOR_BYTES_MAX])
{
    ret_text[0] = '\0';
    if (field->size > 0 && field->size < REST_VALIDATOR_BYTES_MAX)
        snprintf(ret_text, REST_VALIDATOR_BYTES_MAX, "%.*s", (int)field->size,
                 (const char *)field->data);
}

static struct rest_page *page_keep(struct rest_poll *poll)
{
    struct rest_transfer *transfer = &poll->transfer;
    struct rest_page *page = page_new(poll);
    if (!page)
        return NULL;
    *page = (struct rest_page){.status = transfer->status,
                               .arrived_us = clock_realtime_us(&clock_system)};
    buf_init(&page->content_type, REST_FIELD_BYTES_MAX);
    if (transfer->content_type.size > 0 &&
        buf_append(&page->content_type, transfer->content_type.data, transfer->content_type.size) !=
            ERR_OK)
        return NULL;
    rest_transfer_take_body(transfer, &page->body);
    page->format = common_options_format_of(&poll->config->common, buf_bytes(&page->content_type));
    if (rest_body_convert(&page->body, page->format, page->arrived_us, &page->converted) !=
        ERR_OK) {
        buf_fini(&page->body);
        buf_fini(&page->content_type);
        return NULL;
    }
    poll->kept_bytes += page->body.size;
    poll->kept_count++;
    page_read(poll, page);
    return page;
}

/* Sets poll->next to the position after this page. */
static enum err next_find(struct rest_poll *poll, const struct rest_page *page)
{
    const char *warning = NULL;
    const char *link = buf_cstr(&poll->transfer.link), *url = buf_cstr(&poll->url);
    if (!link || !url)
        return ERR_NO_MEMORY;
    struct rest_page_seen seen = {
        .url = url,
        .text = page->records.kind == REST_BODY_JSON ? page->records.text : (struct bytes){0},
        .records = page->records.record_count,
        .link = link,
    };
    enum err err =
        rest_page_next(poll->config, buf_bytes(&poll->position), &seen, &poll->next, &warning);
    if (warning)
        snprintf(poll->warning, sizeof(poll->warning), "%.200s: %s", poll->config->shown, warning);
    return err;
}

/* max_pages are read. With a cursor the next poll goes on there, or what was not read would be
 * passed over for ever. */
static void pages_end(struct rest_poll *poll)
{
    poll->has_more = false;
    if (!poll->config->has_cursor)
        buf_clear(&poll->position);
    snprintf(poll->warning, sizeof(poll->warning),
             "%.200s: there are more pages than pagination.max_pages (%u); %s", poll->config->shown,
             poll->config->pagination.pages_max,
             poll->config->has_cursor ? "the next poll goes on there" : "the rest was not read");
}

static void on_page(struct rest_poll *poll)
{
    if (poll->page_count++ == 0 && poll->position.size == 0 && poll->transfer.status == 200) {
        validator_keep(&poll->transfer.etag, poll->etag);
        validator_keep(&poll->transfer.last_modified, poll->last_modified);
    }
    const struct rest_page *page = page_keep(poll);
    if (!page || next_find(poll, page) != ERR_OK) {
        fail_memory(poll);
        return;
    }
    if (poll->redirects > 0 || poll->next.size > 0 || poll->page_count > 1)
        poll->etag[0] = poll->last_modified[0] = '\0'; /* they speak of one answer only */
    struct buf old = poll->position;
    poll->position = poll->next;
    poll->next = old;
    poll->has_more = poll->position.size > 0;
    if (poll->has_more && poll->page_count >= poll->config->pagination.pages_max)
        pages_end(poll);
    if (!poll->has_more || poll->kept_bytes > REST_POLL_KEPT_BYTES ||
        poll->kept_count >= REST_POLL_KEPT_PAGES)
        finish(poll, REST_POLL_READ);
    else
        page_ask(poll);
}

static void retry_after_read(struct rest_poll *poll)
{
    const char *text = buf_cstr(&poll->transfer.retry_after);
    poll->retry_after_s = -1;
    if (text && text[0])
        poll->retry_after_s = rest_retry_after(text, clock_realtime_us(&clock_system) / US_PER_S);
}

static void on_transfer_done(void *ctx)
{
    struct rest_poll *poll = ctx;
    struct rest_transfer *transfer = &poll->transfer;
    if (transfer->failure == REST_FAILURE_RETRY) {
        try_again_or_fail(poll, transfer->reason);
        return;
    }
    if (transfer->failure == REST_FAILURE_FINAL) {
        fail_with(poll, transfer->reason);
        return;
    }
    poll->status = transfer->status;
    retry_after_read(poll);
    bool token_was_fresh = poll->token.fresh;
    poll->token.fresh = false;
    if (poll->token_phase) {
        on_token(poll);
    } else if (transfer->status == 304 && poll->conditional) {
        finish(poll, REST_POLL_UNCHANGED);
    } else if (is_redirect(transfer)) {
        on_redirect(poll);
    } else if (transfer->status >= 200 && transfer->status < 300) {
        on_page(poll);
    } else if (transfer->status == 401 && poll->token.header.size > 0 && !token_was_fresh) {
        rest_token_drop(&poll->token); /* it may have ended before its time */
        token_send(poll);
    } else {
        on_bad_status(poll);
    }
}

void rest_poll_validators(const struct rest_poll *poll, struct rest_state *state)
{
    snprintf(state->etag, sizeof(state->etag), "%s", poll->etag);
    snprintf(state->last_modified, sizeof(state->last_modified), "%s", poll->last_modified);
    state->validators_of = poll->request_hash;
}
