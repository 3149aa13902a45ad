#include "api/data_source.h"

#include "api/model.h"
#include "api/query.h"

#define ID_SHOWN_MAX 100

static const char *sentence(enum err err, const struct diag *diag)
{
    return diag->text[0] ? diag->text : err_text(err);
}

/* What is the caller's to mend; false: something else. */
static bool answer_callers(struct api_response *response, enum err err, const struct diag *diag,
                           int64_t id, enum err *ret_err)
{
    if (err == ERR_NOT_FOUND && id != DATA_SOURCE_NO_ID)
        *ret_err = api_fail(response, 404, "Data source %lld not found", (long long)id);
    else if (err == ERR_NOT_FOUND)
        *ret_err = api_fail(response, 404, "%s", sentence(err, diag));
    else if (err == ERR_CONFLICT || err == ERR_EXISTS)
        *ret_err = api_fail(response, 409, "%s", sentence(err, diag));
    else if (err == ERR_INVALID || err == ERR_SYNTAX || err == ERR_UNSUPPORTED ||
             err == ERR_TOO_LARGE || err == ERR_TOO_DEEP)
        *ret_err = api_fail(response, 400, "%s", sentence(err, diag));
    else
        return false;
    return true;
}

static enum err answer_unavailable(struct api_response *response, enum err err,
                                   const struct diag *diag)
{
    enum err failed = api_fail(response, 503, "%s", sentence(err, diag));
    api_response_header(response, "Retry-After", "5");
    return failed;
}

enum err data_source_refused(struct api_response *response, enum err err, const struct diag *diag,
                             int64_t id)
{
    enum err failed;
    if (answer_callers(response, err, diag, id, &failed))
        return failed;
    if (err == ERR_NO_MEMORY || err == ERR_BUG)
        return err;
    return answer_unavailable(response, err, diag);
}

enum err data_source_failed(struct api_response *response, enum err err, const struct diag *diag,
                            int64_t id)
{
    enum err failed;
    if (answer_callers(response, err, diag, id, &failed))
        return failed;
    switch (err) {
    case ERR_NO_MEMORY:
    case ERR_BUG:
        return err;
    case ERR_IO:
    case ERR_BUSY:
    case ERR_NO_SPACE:
    case ERR_READ_ONLY:
        return answer_unavailable(response, err, diag);
    default:
        return api_fail(response, 500, "%s", sentence(err, diag));
    }
}

enum err data_source_no_manager(struct api_response *response)
{
    return api_fail(response, 503, "Data sources cannot be managed yet: the service is starting");
}

/* An id that no int64_t holds: nothing has it, and it is named as it was sent. */
static enum err answer_beyond(struct api_response *response, struct bytes id)
{
    bool is_long = id.size > ID_SHOWN_MAX;
    return api_fail(response, 404, "Data source %.*s%s not found",
                    (int)(is_long ? ID_SHOWN_MAX : id.size), (const char *)id.data,
                    is_long ? "…" : "");
}

enum err data_source_id(const struct api_services *services, struct api_request *request,
                        int64_t *ret_id, struct api_response *response, bool *ret_good)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    api_path_integer(request, 0, "id", ret_id, &invalid);
    *ret_good = invalid.count == 0 && services->manager;
    if (invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    if (!*ret_good)
        return data_source_no_manager(response);
    *ret_good = *ret_id > INT64_MIN && *ret_id < INT64_MAX;
    return *ret_good ? ERR_OK : answer_beyond(response, request->parameters[0]);
}

enum err data_source_wish(const struct api_services *services, struct api_request *request,
                          struct registry_wish *ret_wish, struct api_response *response,
                          bool *ret_good)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    *ret_wish = (struct registry_wish){
        .name = model_text(request->json, "name", NULL, &invalid),
        .type_name = model_text(request->json, "type_name", NULL, &invalid),
        .config = model_object(request->json, "config", &invalid),
        .enabled = model_boolean(request->json, "enabled", true, &invalid),
        .created_by = model_text(request->json, "created_by", "api", &invalid),
    };
    *ret_good = invalid.count == 0 && services->manager;
    if (invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    return *ret_good ? ERR_OK : data_source_no_manager(response);
}
