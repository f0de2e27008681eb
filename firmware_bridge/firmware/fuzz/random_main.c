/* Inputs for a fuzz target from a plain generator, with libFuzzer's `-runs=N` and `-seed=N`; others are passed over.
 * It follows no coverage, and needs nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "hostile.h"

static unsigned long option(int argc, char **argv, const char *name, unsigned long otherwise)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, strlen(name)) == 0) return strtoul(argv[i] + strlen(name), NULL, 10);
    return otherwise;
}

int main(int argc, char **argv)
{
    static struct line line;
    uint8_t input[64];
    unsigned long seed = option(argc, argv, "-seed=", 1);
    LLVMFuzzerInitialize(&argc, &argv);
    line_seed(&line, (const uint8_t *)&seed, sizeof seed);
    for (unsigned long runs = option(argc, argv, "-runs=", 1); runs > 0; runs--) {
        size_t size = 1 + line_draw(&line, sizeof input);
        for (size_t i = 0; i < size; i++) input[i] = (uint8_t)line_draw(&line, 256);
        LLVMFuzzerTestOneInput(input, size);
    }
    return 0;
}
