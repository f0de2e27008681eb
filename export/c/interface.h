/* One robot: delay line, state and the last answer. The caller owns it; only model_step and model_reset write to it. */
typedef struct {
    uint32_t count; /* samples since the last reset, up to the largest that fits */
    uint32_t next;  /* row of the delay line that the next sample takes */
    float line[2 * MODEL_TAPS * MODEL_CHANNELS]; /* every row twice, so that a window is always contiguous */
    float seen[MODEL_CODE + MODEL_HIDDEN];       /* what the LSTM saw last: the code, and h from before that step */
    float h[MODEL_HIDDEN];
    float c_before[MODEL_HIDDEN];
    float c[MODEL_HIDDEN];
    float y[MODEL_OUTPUTS];
    float target[2 * MODEL_TARGETS_PADDED]; /* room to work in */
    float work[2 * MODEL_LAYER_MAX];
} model_state;

/* Room for model_rollout: MODEL_LANES futures that are computed side by side. */
typedef struct {
    uint32_t next;
    float line[2 * MODEL_TAPS * MODEL_ROW_MAX * MODEL_LANES]; /* scaled rows, where none depends on the newest */
    float row[MODEL_CHANNELS * MODEL_LANES];                   /* the newest */
    float seen[(MODEL_CODE + MODEL_HIDDEN) * MODEL_LANES];
    float h[MODEL_HIDDEN * MODEL_LANES];
    float c[MODEL_HIDDEN * MODEL_LANES];
    float y[MODEL_OUTPUTS * MODEL_LANES];
    float target[2 * MODEL_TARGETS_PADDED * MODEL_LANES];
    float work[2 * MODEL_LAYER_MAX * MODEL_LANES];
} model_lanes;

extern const char model_fingerprint[17];
extern const uint32_t model_state_bytes, model_lanes_bytes;

/* Forget every sample and the state. */
void model_reset(model_state *m);

/* Push one sample [MODEL_CHANNELS] in engineering units, inputs first; the outputs one tick later [MODEL_OUTPUTS].
   The answer stands in m->y until the next step, and is NaN until MODEL_TAPS samples have come. */
const float *model_step(model_state *m, const float *sample);

/* Outputs y_{k+1} .. y_{k+ticks} [ticks][MODEL_OUTPUTS] if from tick k, the last one stepped, the inputs
   u [ticks][MODEL_INPUTS] were applied. `m` is only read; `scratch` is a second robot to compute in. */
void model_forecast(const model_state *m, model_state *scratch, const float *u, uint32_t ticks, float *y);

/* The same for many plans at once: u [plans][ticks][MODEL_INPUTS] -> y [plans][ticks][MODEL_OUTPUTS]. */
void model_forecast_plans(const model_state *m, model_lanes *scratch, const float *u, uint32_t plans, uint32_t ticks,
                          float *y);

/* The same from given windows [MODEL_TAPS][MODEL_CHANNELS] and states h, c [MODEL_HIDDEN]: one of each for every plan,
   or, where `shared` is not 0, one for all. */
void model_rollout(model_lanes *scratch, const float *window, const float *h, const float *c, int shared,
                   const float *u, uint32_t plans, uint32_t ticks, float *y);

/* How far a sample [MODEL_CHANNELS] is from what the last step predicted for it: the sum of the squares of measured less
   predicted, each times its weight [MODEL_OUTPUTS]. To be asked before the step with that sample. */
float model_innovation(const model_state *m, const float *sample, const float *weight);

/* How badly the code describes the last window: mean squared error in scaled units. Costs what the decoder costs. */
float model_reconstruction_error(model_state *m);

/* Weights alone: the window [MODEL_TAPS][MODEL_CHANNELS], oldest sample first. */
const float *model_window(const model_state *m);
