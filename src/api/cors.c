#include "api/cors.h"

#include "base/alloc.h"

enum err cors_init(struct cors *cors, const char *text)
{
    *cors = (struct cors){0};
    if (!text || !text[0])
        return ERR_OK;
    cors->origins = mem_strdup(text);
    if (!cors->origins)
        return ERR_NO_MEMORY;
    char *to = cors->origins;
    for (const char *from = text; *from; from++)
        if (*from != ' ' && *from != '\t')
            *to++ = *from;
    *to = '\0';
    for (const char *item = cors->origins; item; item = strchr(item, ',')) {
        item += *item == ',';
        cors->any |= strcspn(item, ",") == 1 && *item == '*';
    }
    return ERR_OK;
}

void cors_fini(struct cors *cors)
{
    mem_free(cors->origins);
    cors->origins = NULL;
}

const char *cors_allow_origin(const struct cors *cors, const char *origin)
{
    if (!origin || !cors->origins)
        return NULL;
    if (cors->any)
        return "*";
    size_t length = strlen(origin);
    for (const char *item = cors->origins; item; item = strchr(item, ',')) {
        item += *item == ',';
        if (length > 0 && strcspn(item, ",") == length && strncmp(item, origin, length) == 0)
            return origin;
    }
    return NULL;
}

bool cors_method_allowed(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "POST") == 0 ||
           strcmp(method, "PUT") == 0 || strcmp(method, "DELETE") == 0 ||
           strcmp(method, "HEAD") == 0;
}

bool cors_headers_valid(const char *names)
{
    for (const char *c = names; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && !(*c >= '0' && *c <= '9') && !strchr("!#$%&'*+-.^_`|~, ", *c))
            return false;
    }
    return true;
}
