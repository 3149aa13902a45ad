#include "os/machine.h"

#include <stdio.h>
#include <unistd.h>

#define FILE_BYTES_MAX 4096

/* Whole small file; size 0 when it cannot be read. */
static struct bytes read_small(const struct fs *fs, const char *path, uint8_t *buffer)
{
    struct fs_file *file = NULL;
    size_t size = 0;
    if (fs_open(fs, path, FS_READ, &file, NULL) != ERR_OK)
        return bytes_from(buffer, 0);
    if (fs_read(fs, file, 0, buffer, FILE_BYTES_MAX, &size, NULL) != ERR_OK)
        size = 0;
    fs_close(fs, file);
    return bytes_from(buffer, size);
}

uint64_t machine_limit_from_text(struct bytes text)
{
    uint64_t value = 0;
    size_t digits = 0;
    for (; digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.data[digits] - '0'), &value))
            return UINT64_MAX;
    }
    return digits == 0 || value == 0 ? UINT64_MAX : value;
}

static uint64_t limit_at(const struct fs *fs, const char *path)
{
    uint8_t buffer[FILE_BYTES_MAX];
    return machine_limit_from_text(read_small(fs, path, buffer));
}

/* v2: a limit may stand at our own group or at any above it. */
static uint64_t cgroup_limit(const struct fs *fs)
{
    uint8_t buffer[FILE_BYTES_MAX + 1];
    struct bytes text = read_small(fs, "/proc/self/cgroup", buffer);
    buffer[text.size] = '\0';
    char *group = strstr((char *)buffer, "0::/");
    uint64_t limit = limit_at(fs, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
    uint64_t top = limit_at(fs, "/sys/fs/cgroup/memory.max");
    limit = top < limit ? top : limit;
    if (!group)
        return limit;
    group += strlen("0::");
    group[strcspn(group, "\n")] = '\0';
    for (char *end = group + strlen(group); end > group; end = strrchr(group, '/')) {
        *end = '\0';
        char path[FILE_BYTES_MAX + 64];
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
        uint64_t here = limit_at(fs, path);
        limit = here < limit ? here : limit;
    }
    return limit;
}

uint64_t machine_memory_bytes(const struct fs *fs)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t machine =
        pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 1ULL << 30;
    uint64_t limit = cgroup_limit(fs);
    return limit < machine ? limit : machine;
}
