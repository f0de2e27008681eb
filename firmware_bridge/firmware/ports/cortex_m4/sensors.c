/* An example to start from: an interrupt reads the sensors, the main loop predicts on the board from every sample, and a
 * host may watch: `rtsysid record PORT`, or `rtsysid run BUNDLE PORT`.
 *
 * What is yours: read_sensors() and use(). Here the sensors are triangle waves, so that an emulator has some, and ten
 * times a second a line of log tells the newest prediction.
 */
#include "bytes.h"
#include "model.h"
#include "uart_port.h"

#define QUEUE 64u /* a power of two: samples that may wait for the model */
#define SAMPLING_TICKS (CORE_HZ / 1000000u * CHANNELS_PERIOD_US)

_Static_assert(CHANNELS_COUNT == MODEL_CHANNELS, "the model is one of these channels");
_Static_assert(CHANNELS_SIZE == 4u * CHANNELS_COUNT, "every channel is an f32: `rtsysid firmware` writes such a table");
_Static_assert(SAMPLING_TICKS <= 1u << 24, "SysTick counts 24 bits: sample by a timer of the chip instead");

static float queue[QUEUE][MODEL_CHANNELS];
static volatile uint32_t stored, stepped, lost; /* samples since boot */
static model_state robot;

/* Yours: raw values of your sensors, in engineering units, in the order of the channels. */
static void read_sensors(uint32_t count, float values[MODEL_CHANNELS])
{
    for (uint32_t c = 0; c < MODEL_CHANNELS; ++c) {
        uint32_t phase = (count + 7u * c) % 64u; /* a wave of 64 samples, from -0.1 to 0.1 */
        float wave = (float)(phase < 32u ? phase : 64u - phase) * (1.0f / 16.0f) - 1.0f;
        values[c] = 0.1f * wave;
    }
}

/* Yours: what a controller does with the outputs one tick ahead. The log shows their bits. */
static void use(uint32_t count, const float *y)
{
    static const char digits[] = "0123456789abcdef";
    static uint32_t told_us;
    char text[16u + 9u * MODEL_OUTPUTS], *at = text;
    uint32_t now = port_time_us(), words[1u + MODEL_OUTPUTS] = {count};
    if (now - told_us < 100000u) return;
    told_us = now;
    memcpy(words + 1, y, sizeof *y * MODEL_OUTPUTS);
    for (uint32_t k = 0; k <= MODEL_OUTPUTS && k < 20u; ++k) {
        for (uint32_t bit = 32; bit != 0; bit -= 4u) *at++ = digits[words[k] >> (bit - 4u) & 15u];
        *at++ = ' ';
    }
    at[-1] = '\0';
    app_log(WIRE_LEVEL_INFO, text);
}

void systick_interrupt(void) /* the sampling interrupt: it only reads, stamps and stores */
{
    uint32_t t_us = timer_read(); /* first: this is when the sample was */
    float *values = queue[stored % QUEUE];
    uint8_t bytes[CHANNELS_SIZE];
    if (stored - stepped == QUEUE) { /* the model is too slow: the sample is lost, and use() has to know */
        lost = lost + 1u;
        return;
    }
    read_sensors(stored, values);
    for (uint32_t c = 0; c < MODEL_CHANNELS; ++c) put_f32(bytes + 4u * c, values[c]);
    app_sample(t_us, bytes);
    stored = stored + 1u; /* last: from here on the main loop may take it */
}

/* Predict from the oldest sample that waits; after a lost one the model starts again, since its window has a gap. */
static void predict(void)
{
    static uint32_t forgiven;
    if (stepped != stored) {
        if (forgiven != lost) {
            forgiven = lost;
            model_reset(&robot);
        }
        const float *y = model_step(&robot, queue[stepped % QUEUE]);
        stepped = stepped + 1u;
        if (robot.count >= MODEL_TAPS) use(stepped - 1u, y);
    }
}

int main(void)
{
    model_reset(&robot);
    board_start();
    systick_start(SAMPLING_TICKS);
    for (;;) {
        predict();
        app_poll(); /* at least each millisecond: a slow model is stepped one sample at a time, and polled between */
        if (uart_writable() && stepped == stored) sleep_until_interrupt();
    }
}
