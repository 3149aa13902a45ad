#pragma once
/* A folder of a test's own under $TMPDIR (or /tmp), and its end. Any thread. */
#include <stddef.h>

/* Aborts when it cannot be made. */
void temp_folder_make(char *ret_path, size_t size);
/* With all that is in it. */
void temp_folder_remove(const char *path);
