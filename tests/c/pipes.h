/* Floats from stdin and to stdout, for the drivers of these tests. Exit code 2: too few floats, or no memory. */

#ifndef PIPES_H
#define PIPES_H

#include <stdio.h>
#include <stdlib.h>

static float *room_for(size_t n)
{
    float *values = malloc((n + 1) * sizeof *values);
    if (values == NULL)
        exit(2);
    return values;
}

static float *get(size_t n)
{
    float *values = room_for(n);
    if (fread(values, sizeof *values, n, stdin) != n)
        exit(2);
    return values;
}

static void put(const float *values, size_t n)
{
    fwrite(values, sizeof *values, n, stdout);
}

#endif
