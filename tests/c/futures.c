/* Sampled futures of a model: `futures ROWS TICKS COUNT SEED < floats > floats`.
 *
 * stdin: samples [ROWS][MODEL_CHANNELS], a plan [TICKS][MODEL_INPUTS]. stdout: the futures [COUNT][TICKS][MODEL_OUTPUTS],
 * the same from number 3 on in a second call, and what the next step predicts [MODEL_OUTPUTS].
 */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

static model_state robot;
static model_lanes room;

int main(int argc, char **argv)
{
    if (argc != 5)
        return 1;
    const int rows = atoi(argv[1]);
    const uint32_t ticks = (uint32_t)atoi(argv[2]), count = (uint32_t)atoi(argv[3]);
    const uint64_t seed = strtoull(argv[4], 0, 10);
    float sample[MODEL_CHANNELS], *u = calloc(ticks * MODEL_INPUTS, sizeof *u);
    float *y = calloc((size_t)count * ticks * MODEL_OUTPUTS, sizeof *y);
    if (u == 0 || y == 0)
        return 2;
    model_reset(&robot);
    for (int k = 0; k < rows; k++) {
        if (fread(sample, sizeof sample, 1, stdin) != 1)
            return 3;
        model_step(&robot, sample);
    }
    if (fread(u, sizeof *u * MODEL_INPUTS, ticks, stdin) != ticks)
        return 3;
    model_sample(&robot, &room, u, 0, count, seed, ticks, y);
    fwrite(y, sizeof *y * MODEL_OUTPUTS, (size_t)count * ticks, stdout);
    model_sample(&robot, &room, u, 3, count - 3, seed, ticks, y);
    fwrite(y, sizeof *y * MODEL_OUTPUTS, (size_t)(count - 3) * ticks, stdout);
    fwrite(model_step(&robot, sample), sizeof(float) * MODEL_OUTPUTS, 1, stdout);
    free(u);
    free(y);
    return 0;
}
