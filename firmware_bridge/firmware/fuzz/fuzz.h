/* The interface of a fuzz target: libFuzzer calls it, or random_main.c where there is no libFuzzer. */
#ifndef RTSYSID_FUZZ_H
#define RTSYSID_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
