#pragma once
/*
 * New datasets' columns, pinned together: a pin is a sync of the database, and one for each of
 * thousands of new topics would be all that a worker does. A part of datasets.c, not of its
 * interface. The worker's thread only.
 */
#include "pipeline/datasets.h"

/* Before the dataset is cut: pins its columns and those of the ones that are cut next, in one
 * transaction. Whatever fails is the cut's to do again, for itself. */
void dataset_pins_ahead(struct datasets *datasets, struct dataset *dataset);
