#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "example/sizes.h"
#endif

/* One robot: delay line, state and the last prediction. The caller owns it; only model_step, model_step_aged and model_reset write it. */
typedef struct {
    uint32_t count; /* samples since the last reset, up to the largest that fits */
    uint32_t next;  /* row of the delay line that the next sample takes */
#if MODEL_AGED
    uint32_t age;   /* of the newest row: ticks since the newest measurement */
#endif
    float line[2 * MODEL_TAPS * MODEL_CHANNELS]; /* every row twice, so that a window is always contiguous */
    float seen[MODEL_CODE + MODEL_HIDDEN];       /* the last code, and h: from before that step, or after it for the head */
    float state[MODEL_STATE];                    /* of the recurrent cell */
    float state_before[MODEL_STATE];             /* the same before the last step: a forecast starts from it */
    float y[MODEL_OUTPUTS];
    float target[2 * MODEL_TARGETS_PADDED]; /* room to work in */
    float work[2 * MODEL_LAYER_MAX];
} model_state;

/* Room for model_rollout: MODEL_LANES forecasts that are computed at the same time. */
typedef struct {
    uint32_t next;
    uint32_t age[MODEL_LANES]; /* of the newest row */
    float line[2 * MODEL_TAPS * MODEL_ROW_MAX * MODEL_LANES]; /* scaled rows, where none depends on the newest */
    float row[MODEL_CHANNELS * MODEL_LANES];                   /* the newest */
    float seen[(MODEL_CODE + MODEL_HIDDEN) * MODEL_LANES];
    float state[MODEL_STATE * MODEL_LANES];
    float y[MODEL_OUTPUTS * MODEL_LANES];
    float target[(2 + (MODEL_NEAR_TICKS > 0)) * MODEL_TARGETS_PADDED * MODEL_LANES];
    float work[2 * MODEL_LAYER_MAX * MODEL_LANES];
#if MODEL_DRAWS
    uint32_t future[MODEL_LANES], member[MODEL_LANES];
    float draws[(MODEL_DRAWS + 3) / 4 * 4 * MODEL_LANES];
    float slow[(MODEL_FACTORS + (MODEL_FACTORS == 0)) * MODEL_LANES];
    float scale[MODEL_TARGETS_PADDED * MODEL_LANES]; /* logarithm of the scale of the noise */
#endif
} model_lanes;

extern const char model_fingerprint[17];
extern const uint32_t model_state_bytes, model_lanes_bytes;

/* Forget every sample and the state. */
void model_reset(model_state *m);

/* Push one sample [MODEL_CHANNELS] in engineering units, inputs first; return the outputs [MODEL_OUTPUTS] of the next tick.
   The result stays in m->y until the next step. It is NaN until MODEL_TAPS samples have come. */
const float *model_step(model_state *m, const float *sample);

/* The same for a sample that is not measured but replaces a missing one. `age`: ticks since the newest measurement;
   1 for the first missing sample. Without MODEL_AGED the model does not depend on it. */
const float *model_step_aged(model_state *m, const float *sample, uint32_t age);

/* Predict y_{k+1} .. y_{k+ticks} [ticks][MODEL_OUTPUTS] under the inputs u [ticks][MODEL_INPUTS], applied from tick k on,
   the last one stepped. Ages count up from its age. `m` is only read; `scratch` is a second robot to compute in. */
void model_forecast(const model_state *m, model_state *scratch, const float *u, uint32_t ticks, float *y);

/* The same for many plans in one call: u [plans][ticks][MODEL_INPUTS] -> y [plans][ticks][MODEL_OUTPUTS]. */
void model_forecast_plans(const model_state *m, model_lanes *scratch, const float *u, uint32_t plans, uint32_t ticks,
                          float *y);

/* The same from given windows [MODEL_TAPS][MODEL_CHANNELS], states [MODEL_STATE] and ages of the newest rows: one of each
   for every plan or, where `shared` is not 0, one for all. `age` is only read with MODEL_AGED. */
void model_rollout(model_lanes *scratch, const float *window, const float *state, int shared, const float *u,
                   uint32_t plans, uint32_t ticks, float *y, const uint32_t *age);

#if MODEL_DRAWS

/* Sample the futures from number `first` on under one plan u [ticks][MODEL_INPUTS], applied from the last tick stepped:
   y [count][ticks][MODEL_OUTPUTS]. A future depends on the seed and its number alone. `m` is only read. With
   -DMODEL_LANES=1 the scratch takes a sixteenth of the memory. */
void model_sample(const model_state *m, model_lanes *scratch, const float *u, uint32_t first, uint32_t count,
                  uint64_t seed, uint32_t ticks, float *y);

#endif

/* Compare a sample [MODEL_CHANNELS] with its prediction by the last step: sum over the outputs of the square of
   (measured - predicted) * weight [MODEL_OUTPUTS]. Call it before the step with that sample. */
float model_innovation(const model_state *m, const float *sample, const float *weight);

/* Reconstruct the last window from its code; return the mean squared error in scaled units. Runs the decoder. */
float model_reconstruction_error(model_state *m);

/* Return the window [MODEL_TAPS][MODEL_CHANNELS], oldest sample first. */
const float *model_window(const model_state *m);
