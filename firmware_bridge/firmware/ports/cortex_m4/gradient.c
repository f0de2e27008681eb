/* One gradient of a plan on the board: trace.bin in, pred.bin out.
 *
 * trace.bin, floats: samples [MODEL_TAPS][MODEL_CHANNELS], a plan [HORIZON][MODEL_INPUTS], and the derivative of a cost by
 * each output [HORIZON][MODEL_OUTPUTS]. pred.bin: the forecast [HORIZON][MODEL_OUTPUTS] and the gradient
 * [HORIZON][MODEL_INPUTS], floats, then u32 ticks of the timer that each of both took.
 */
#include "model-control.h"
#include "semihosting.h"
#include "startup.h"

#ifndef HORIZON
#define HORIZON 10
#endif

static model_state robot;
static float room[MODEL_KEPT_ROOM(HORIZON)];
static model_kept kept = {.longest = HORIZON, .room = room};
static float sample[MODEL_CHANNELS], u[HORIZON * MODEL_INPUTS], dy[HORIZON * MODEL_OUTPUTS];
static struct { float y[HORIZON * MODEL_OUTPUTS], du[HORIZON * MODEL_INPUTS]; uint32_t ticks[2]; } answer;

void fault(void) { leave(3); }

/* Ticks from one look at the timer to the next: 0 for nothing, 1 for the forecast, 2 for the gradient. */
static uint32_t timed(int what)
{
    __asm volatile("cpsid i" ::: "memory");
    uint32_t begun = timer_read();
    if (what == 1) model_keep(&robot, &kept, u, HORIZON, answer.y);
    if (what == 2) model_gradient(&kept, dy, answer.du);
    uint32_t ended = timer_read();
    __asm volatile("cpsie i" ::: "memory");
    return ended - begun;
}

int main(void)
{
    int in = file_open("trace.bin", MODE_READ), out = file_open("pred.bin", MODE_WRITE);
    if (in < 0 || out < 0) leave(1);
    model_reset(&robot);
    for (int tap = 0; tap < MODEL_TAPS; tap++) {
        if (file_read(in, sample, sizeof sample) != 0) leave(2);
        model_step(&robot, sample);
    }
    if (file_read(in, u, sizeof u) != 0 || file_read(in, dy, sizeof dy) != 0) leave(2);
    timer_start(1);
    uint32_t looking = timed(0);
    for (int k = 0; k < 2; k++)
        answer.ticks[k] = timed(k + 1) - looking;
    leave(file_write(out, &answer, sizeof answer) != 0);
}
