/* Registers of a test: each access calls a function, so that the test can let things happen between two of them. */
#include <stdint.h>

volatile uint32_t *accessed(uint32_t address);

#define REGISTER(address) (*accessed(address))
