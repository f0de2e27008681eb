/* Gradients of a generated model: floats in on stdin, floats out on stdout.

   gradients SAMPLES PLANS TICKS
   in:  samples [SAMPLES][MODEL_CHANNELS], their ages [SAMPLES], plans [PLANS][TICKS][MODEL_INPUTS], then the derivative of a
        cost by each output [PLANS][TICKS][MODEL_OUTPUTS]
   out: of each plan its forecast and the gradient of its cost, the gradients of all plans in one call, the Jacobian of the
        first plan, the linear map of one tick by window and by state, and the next outputs after the first inputs of the first plan were decided. */

#include "model-control.h"

#include "pipes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static model_state robot, scratch;

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    const size_t samples = (size_t)atol(argv[1]);
    const uint32_t plans = (uint32_t)atol(argv[2]), ticks = (uint32_t)atol(argv[3]);
    const size_t of_inputs = (size_t)ticks * MODEL_INPUTS, of_outputs = (size_t)ticks * MODEL_OUTPUTS;
    float *sample = get(samples * MODEL_CHANNELS), *ages = get(samples);
    float *u = get(plans * of_inputs), *dy = get(plans * of_outputs);
    float *y = room_for(of_outputs), *again = room_for(of_outputs), *du = room_for(plans * of_inputs);
    float *jacobian = room_for(of_outputs * of_inputs);
    model_kept one = {.longest = ticks, .room = room_for(MODEL_KEPT_ROOM(ticks))};
    model_kept lanes = {.longest = ticks, .room = room_for(MODEL_LANES * MODEL_KEPT_ROOM(ticks))};
    model_reset(&robot);
    uint32_t age = 0;
    for (size_t k = 0; k < samples; k++)
        model_step_aged(&robot, sample + k * MODEL_CHANNELS, age = (uint32_t)ages[k]);
    for (uint32_t plan = 0; plan < plans; plan++) {
        if (model_keep(&robot, &one, u + plan * of_inputs, ticks, y))
            return 3;
        model_forecast(&robot, &scratch, u + plan * of_inputs, ticks, again);
        if (memcmp(y, again, of_outputs * sizeof *y))
            return 4;
        put(y, of_outputs);
        model_gradient(&one, dy + plan * of_outputs, du);
        put(du, of_inputs);
    }
    const float *window = model_window(&robot), *state = robot.state_before;
    if (model_gradient_plans(&lanes, window, state, age, u, dy, plans, ticks, du))
        return 5;
    put(du, plans * of_inputs);
    if (model_jacobian(&lanes, window, state, age, u, ticks, jacobian))
        return 6;
    put(jacobian, of_outputs * of_inputs);
    if (model_keep(&robot, &one, u, ticks + 1, y) != -1 || model_jacobian(&lanes, window, state, age, u, ticks + 1, y) != -1)
        return 7;
    const size_t rows = MODEL_OUTPUTS + MODEL_STATE;
    float *of_window = room_for(rows * MODEL_TAPS * MODEL_CHANNELS), *of_state = room_for(rows * MODEL_STATE);
    if (model_linearise(&lanes, window, state, age, of_window, of_state))
        return 9;
    put(of_window, rows * MODEL_TAPS * MODEL_CHANNELS), put(of_state, rows * MODEL_STATE);
    free(of_window), free(of_state);
    put(model_decide(&robot, u), MODEL_OUTPUTS);
    model_reset(&robot);
    if (model_decide(&robot, u) != robot.y || robot.count != 0)
        return 8;
    free(sample), free(ages), free(u), free(dy), free(y), free(again), free(du), free(jacobian);
    free(one.room), free(lanes.room);
    return 0;
}
