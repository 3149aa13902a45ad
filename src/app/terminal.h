#pragma once
/*
 * Texts that others wrote (names, errors, what a server answered), for a person's terminal: control
 * characters, which could move the cursor or worse, and bytes that are not UTF-8 become '?'.
 */
#include <stddef.h>
#include <stdio.h>

/* The text's first characters, at most width (of code points), and spaces up to width. */
void terminal_cell(FILE *out, const char *text, size_t width);
/* All of it. */
void terminal_text(FILE *out, const char *text);
/* JSON, whose C0 characters are escaped: C1 and DEL, which JSON lets pass, are so, too. */
void terminal_json(FILE *out, const char *json, size_t size);
