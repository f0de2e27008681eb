/* The model on the board, where the firmware is built with one: -DONBOARD_HASH=0x... and the generated model.{c,h}. */
#ifndef RTSYSID_ONBOARD_H
#define RTSYSID_ONBOARD_H

#include <stdbool.h>
#include <string.h>

#include "messages.h"
#include "port.h"

#ifdef ONBOARD_HASH
#include "model.h"

static struct {
    model_state model;
    uint32_t expected; /* index of the next row */
    uint32_t spent_us; /* by the latest step */
} onboard;

static inline void onboard_reset(void)
{
    model_reset(&onboard.model);
    onboard.expected = 0;
}

/* Whether this row is accepted: the next one, row 0 (a restart), or the last one again because its answer was lost. */
static inline bool onboard_accepts(const struct wire_trace_sample *m)
{
    bool again = m->index + 1u == onboard.expected;
    return m->values_count == MODEL_CHANNELS && (m->index == 0 || m->index == onboard.expected || again);
}

/* Predict from an accepted row; a repeated row does not step the model. */
static inline struct wire_prediction onboard_step(const struct wire_trace_sample *m)
{
    float sample[MODEL_CHANNELS];
    memcpy(sample, m->values, sizeof sample);
    if (m->index == 0) onboard_reset();
    if (m->index == onboard.expected) {
        uint32_t begun = port_time_us();
        model_step(&onboard.model, sample);
        onboard.spent_us = port_time_us() - begun;
        onboard.expected++;
    }
    bool ready = onboard.model.count >= MODEL_TAPS;
    return (struct wire_prediction){
        .status = ready ? WIRE_STATUS_OK : WIRE_STATUS_WARM_UP, .age_us = onboard.spent_us,
        .y_count = MODEL_OUTPUTS, .y = onboard.model.y,
    };
}

#else /* no model */
static inline void onboard_reset(void) {}
#endif

#endif
