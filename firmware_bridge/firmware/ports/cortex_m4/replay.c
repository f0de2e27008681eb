/* A recording through the model by files, without a wire: trace.bin in, pred.bin out.
 *
 * trace.bin: samples [n][MODEL_CHANNELS], float, each followed by its age where the model depends on it; pred.bin: n times the prediction [MODEL_OUTPUTS], float, and u32 ticks
 * of the timer that the step took. Where the emulator lets 1 ns pass with each instruction, these are instructions.
 */
#include "model.h"
#include "semihosting.h"
#include "startup.h"

static model_state robot;
static float sample[MODEL_CHANNELS + MODEL_AGED];

void fault(void) { leave(3); }

static void step(void)
{
#if MODEL_AGED
    model_step_aged(&robot, sample, (uint32_t)sample[MODEL_CHANNELS]);
#else
    model_step(&robot, sample);
#endif
}

/* Ticks from one look at the timer to the next, for a step or for nothing; no interrupt comes between. */
static uint32_t timed(int steps)
{
    __asm volatile("cpsid i" ::: "memory");
    uint32_t begun = timer_read();
    if (steps) step();
    uint32_t ended = timer_read();
    __asm volatile("cpsie i" ::: "memory");
    return ended - begun;
}

int main(void)
{
    struct { float y[MODEL_OUTPUTS]; uint32_t ticks; } answer;
    int in = file_open("trace.bin", MODE_READ), out = file_open("pred.bin", MODE_WRITE);
    if (in < 0 || out < 0) leave(1);
    model_reset(&robot);
    timer_start(1);
    uint32_t looking = timed(0);
    while (file_read(in, sample, sizeof sample) == 0) {
        answer.ticks = timed(1) - looking;
        memcpy(answer.y, robot.y, sizeof answer.y);
        if (file_write(out, &answer, sizeof answer) != 0) leave(2);
    }
    leave(0);
}
