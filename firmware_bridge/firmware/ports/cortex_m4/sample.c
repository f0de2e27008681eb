/* Sampled futures on the board: trace.bin in, pred.bin out.
 *
 * trace.bin, floats: samples [MODEL_TAPS][MODEL_CHANNELS] and a plan [HORIZON][MODEL_INPUTS]. pred.bin, floats: the
 * futures [FUTURES][HORIZON][MODEL_OUTPUTS] of seed 0x100000007, one after the other with -DMODEL_LANES=1.
 */
#include "model.h"
#include "semihosting.h"
#include "startup.h"

#ifndef HORIZON
#define HORIZON 10
#endif
enum { FUTURES = 5 };

static model_state robot;
static model_lanes room;
static float sample[MODEL_CHANNELS], u[HORIZON * MODEL_INPUTS], y[FUTURES * HORIZON * MODEL_OUTPUTS];

void fault(void) { leave(3); }

int main(void)
{
    int in = file_open("trace.bin", MODE_READ), out = file_open("pred.bin", MODE_WRITE);
    if (in < 0 || out < 0) leave(1);
    model_reset(&robot);
    for (int tap = 0; tap < MODEL_TAPS; tap++) {
        if (file_read(in, sample, sizeof sample) != 0) leave(2);
        model_step(&robot, sample);
    }
    if (file_read(in, u, sizeof u) != 0) leave(2);
    model_sample(&robot, &room, u, 0, FUTURES, 0x100000007u, HORIZON, y);
    leave(file_write(out, y, sizeof y) != 0);
}
