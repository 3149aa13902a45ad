/* LD_PRELOADed under a program: names have the addresses that stand in the file that
 * RESOLVER_SHIM_FILE names, a "name address" a line, read again at each look. What is not there is
 * looked up as ever. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int getaddrinfo_function(const char *name, const char *service,
                                 const struct addrinfo *hints, struct addrinfo **found);

static bool address_of(const char *name, char address[64])
{
    char line_name[256];
    bool found = false;
    const char *path = getenv("RESOLVER_SHIM_FILE");
    FILE *file = path ? fopen(path, "re") : NULL;
    while (file && !found && fscanf(file, "%255s %63s", line_name, address) == 2)
        found = strcmp(line_name, name) == 0;
    if (file)
        fclose(file);
    return found;
}

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict found)
{
    static getaddrinfo_function *real;
    char address[64];
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name && address_of(name, address) ? address : name, service, hints, found);
}
