#pragma once
/* Rows as a table for a terminal: cells of one width, in the order of the first row's columns. */
#include <jansson.h>
#include <stdio.h>

void row_table_head(const json_t *first, FILE *out);
void row_table_row(const json_t *first, const json_t *row, FILE *out);
