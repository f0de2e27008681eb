/* Seconds that the C decoder takes for the bytes in a file, and the frames that it finds: wire_decode FILE SCHEMA SESSION. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wire.h"

static uint8_t bytes[1 << 24];

int main(int argc, char **argv)
{
    static struct wire_decoder decoder;
    struct wire_frame frame;
    struct timespec begun, ended;
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 1;
    size_t size = fread(bytes, 1, sizeof bytes, file);
    wire_decoder_start(&decoder, (uint32_t)strtoul(argv[2], NULL, 10), (uint8_t)strtoul(argv[3], NULL, 10));
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (size_t i = 0; i < size; i++) wire_decode(&decoder, bytes[i], &frame);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double seconds = (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
    printf("%.9f %u\n", seconds, (unsigned)decoder.count.ok);
    return 0;
}
