/* Recorded samples through a generated model: floats in on stdin, floats out on stdout.

   replay SAMPLES PLANS TICKS
   in:  samples [SAMPLES][MODEL_CHANNELS], their ages [SAMPLES], then plans [PLANS][TICKS][MODEL_INPUTS]
   out: y [SAMPLES][MODEL_OUTPUTS], code, reconstruction error, the forecast of each plan by itself, those of all
        plans in one call, and the forecast of the first plan after that: nothing may have changed the state. */

#ifdef WITH_INT8
#include "model-int8.h"
#else
#include "model.h"
#endif

#include "pipes.h"

#include <stdio.h>
#include <stdlib.h>

static model_state robot, scratch;
static model_lanes lanes;

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const size_t samples = (size_t)atol(argv[1]);
    const uint32_t plans = (uint32_t)atol(argv[2]), ticks = (uint32_t)atol(argv[3]);
    float *sample = get(samples * MODEL_CHANNELS), *ages = get(samples), *u = get((size_t)plans * ticks * MODEL_INPUTS);
    float *y = room_for((size_t)plans * ticks * MODEL_OUTPUTS);
    model_reset(&robot);
    for (size_t k = 0; k < samples; k++) {
        const float *at = sample + k * MODEL_CHANNELS;
        const uint32_t age = (uint32_t)ages[k];
        put(age ? model_step_aged(&robot, at, age) : model_step(&robot, at), MODEL_OUTPUTS);
    }
    const float error = model_reconstruction_error(&robot);
    put(robot.seen, MODEL_CODE);
    put(&error, 1);
    for (uint32_t plan = 0; plan < plans; plan++) {
        model_forecast(&robot, &scratch, u + (size_t)plan * ticks * MODEL_INPUTS, ticks, y);
        put(y, (size_t)ticks * MODEL_OUTPUTS);
    }
    model_forecast_plans(&robot, &lanes, u, plans, ticks, y);
    put(y, (size_t)plans * ticks * MODEL_OUTPUTS);
    model_forecast(&robot, &scratch, u, ticks, y);
    put(y, (size_t)ticks * MODEL_OUTPUTS);
    free(sample);
    free(ages);
    free(u);
    free(y);
    return 0;
}
