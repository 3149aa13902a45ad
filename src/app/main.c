#include "version.h"

#include <stdio.h>

int main(void)
{
    printf("ingestor %s (build %s)\n", INGESTOR_VERSION, INGESTOR_BUILD);
    return 0;
}
