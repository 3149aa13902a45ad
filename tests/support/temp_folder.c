#include "support/temp_folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void temp_folder_make(char *ret_path, size_t size)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(ret_path, size, "%s/ingestor-test-XXXXXX", parent ? parent : "/tmp");
    if (length < 0 || (size_t)length >= size || !mkdtemp(ret_path)) {
        perror("temp_folder_make");
        abort();
    }
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

void temp_folder_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
