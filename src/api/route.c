#include "api/route.h"

static const struct api_route_group *const groups[] = {
#define X(group) &group,
    API_ROUTE_GROUPS(X)
#undef X
};

const struct api_route *api_route_next(size_t *cursor)
{
    size_t index = (*cursor)++;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (index < groups[i]->count)
            return &groups[i]->routes[index];
        index -= groups[i]->count;
    }
    return NULL;
}

bool api_route_exists(const char *path)
{
    size_t cursor = 0;
    for (const struct api_route *route; (route = api_route_next(&cursor));)
        if (strcmp(route->path, path) == 0)
            return true;
    return false;
}

static size_t segment_size(const char *text, size_t size)
{
    size_t i = 0;
    while (i < size && text[i] != '/')
        i++;
    return i;
}

bool api_route_matches(const struct api_route *route, struct bytes path, struct bytes *parameters)
{
    const char *pattern = route->path;
    size_t pattern_size = strlen(pattern);
    const char *text = (const char *)path.data;
    size_t size = path.size;
    size_t count = 0;
    while (pattern_size > 0 && size > 0) {
        if (*pattern != '{') {
            if (*pattern != *text)
                return false;
            pattern++, pattern_size--, text++, size--;
            continue;
        }
        size_t name_size = segment_size(pattern, pattern_size);
        size_t value_size = segment_size(text, size);
        if (value_size == 0 || count == API_PATH_PARAMETERS_MAX)
            return false;
        if (parameters)
            parameters[count] = bytes_from(text, value_size);
        count++;
        pattern += name_size, pattern_size -= name_size, text += value_size, size -= value_size;
    }
    return pattern_size == 0 && size == 0;
}
