#include "app/cli.h"
#include "base/alloc.h"

int main(int argc, char **argv)
{
    mem_tune();
    return cli_main(argc, argv);
}
