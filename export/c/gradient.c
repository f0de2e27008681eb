#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "cell_lstm_back.c"
#endif

/* ---- Gradients of forecasts: a rollout that keeps what it computes, and the way back through it, in reverse mode.

   Arrays are [index][lane], as in kernels.c. A name with d is the gradient of what the name without it is. */

const uint32_t model_kept_fixed = MODEL_KEPT_FIXED, model_kept_tick = MODEL_KEPT_TICK;

enum { CARRIED = MODEL_STATE - MODEL_HIDDEN }; /* where in the state lies what the next tick needs next to h: c, or h itself */

/* Where the parts of a room lie. Rows are a track: the window of tick n begins at row n, and its prediction is the end of
   row MODEL_TAPS + n. */
typedef struct {
    float *rows, *codes, *gates, *carried, *targets; /* by tick */
    float *drows, *dh, *dcarried;                    /* of the tick that the way back has reached */
    float *state, *seen, *y, *target, *work;         /* room to compute in, as in model_state */
    float *dtarget, *dseen, *df, *dwork;
} parts;

INLINE float *part(const int lanes, float **room, uint32_t size)
{
    float *here = *room;
    *room += size * (uint32_t)lanes;
    return here;
}

INLINE parts parts_of(const int lanes, const model_kept *kept)
{
    const uint32_t ticks = kept->ticks;
    float *room = kept->room;
    parts p;
    p.rows = part(lanes, &room, (MODEL_TAPS + ticks) * MODEL_CHANNELS);
    p.codes = part(lanes, &room, ticks * MODEL_CODES);
    p.gates = part(lanes, &room, ticks * 4 * MODEL_HIDDEN);
    p.carried = part(lanes, &room, (ticks + 1) * MODEL_HIDDEN);
    p.targets = part(lanes, &room, ticks * MODEL_TARGETS);
    p.drows = part(lanes, &room, (MODEL_TAPS + ticks) * MODEL_CHANNELS);
    p.dh = part(lanes, &room, MODEL_HIDDEN);
    p.dcarried = part(lanes, &room, MODEL_HIDDEN);
    p.state = part(lanes, &room, MODEL_STATE);
    p.seen = part(lanes, &room, MODEL_CODE + MODEL_HIDDEN);
    p.y = part(lanes, &room, MODEL_OUTPUTS);
    p.target = part(lanes, &room, 3 * MODEL_TARGETS_PADDED);
    p.work = part(lanes, &room, 2 * MODEL_LAYER_MAX);
    p.dtarget = part(lanes, &room, 2 * MODEL_TARGETS_PADDED);
    p.dseen = part(lanes, &room, MODEL_BACK_MAX);
    p.df = part(lanes, &room, MODEL_BACK_MAX);
    p.dwork = part(lanes, &room, 2 * MODEL_BACK_MAX);
    return p;
}

INLINE void ages_at(const int lanes, const model_kept *kept, uint32_t n, uint32_t *age)
{
    EACH_LANE age[lane] = kept->age < UINT32_MAX - n ? kept->age + n : UINT32_MAX;
}

/* Encode features as `encode` does, and keep the output of each layer. */
INLINE void encode_and_keep(const int lanes, const float *f, float *work, float *codes, float *seen)
{
#if MODEL_LAYERS
    float *room = work + MODEL_LAYER_MAX * lanes;
    const float *below = f;
    for (int k = 0; k < MODEL_LAYERS; k++) {
        dense(lanes, encoder[k], below, room);
        tanh_all(encoder[k]->rows * lanes, room, codes);
        below = codes;
        codes += encoder[k]->rows * lanes;
    }
    memcpy(seen, below, sizeof(float) * (size_t)(MODEL_CODE * lanes));
#else
    (void)work, (void)codes;
    memcpy(seen, f, sizeof(float) * (size_t)(MODEL_CODE * lanes));
#endif
}

/* Tick n: what `tick` computes, kept. */
INLINE void tick_and_keep(const int lanes, const model_kept *kept, const parts *p, uint32_t n)
{
    const uint32_t row = MODEL_CHANNELS * (uint32_t)lanes, hidden = MODEL_HIDDEN * (uint32_t)lanes;
    const float *window = p->rows + n * row, *newest = window + (MODEL_TAPS - 1) * row;
    uint32_t age[MODEL_LANES];
    ages_at(lanes, kept, n, age);
    features(lanes, window, p->work);
#if MODEL_LINEAR_PATH
    linear_output(lanes, 0, p->work, age, p->target);
#endif
    encode_and_keep(lanes, p->work + UNSEEN * lanes, p->work, p->codes + n * MODEL_CODES * (uint32_t)lanes, p->seen);
    cell_tick(lanes, 0, p->seen, p->work, p->state);
    cell_keep(lanes, p->work, p->gates + n * 4 * hidden);
    memcpy(p->carried + (n + 1) * hidden, p->state + CARRIED * lanes, sizeof(float) * hidden);
    head_output(lanes, p->seen, p->state, age, p->target);
    memcpy(p->targets + n * MODEL_TARGETS * (uint32_t)lanes, p->target, sizeof(float) * (size_t)(MODEL_TARGETS * lanes));
    next_outputs(lanes, newest, p->target, p->y);
    memcpy(p->rows + (MODEL_TAPS + n) * row + MODEL_INPUTS * lanes, p->y, sizeof(float) * (size_t)(MODEL_OUTPUTS * lanes));
}

/* Add to the gradient of h that of the targets through the head; write those of the features through the linear map, and to
   `work` that of a code which the head sees. */
INLINE void head_back_through(const int lanes, const uint32_t *age, const parts *p)
{
    float *dlinear = p->dtarget + MODEL_TARGETS_PADDED * lanes;
    for (int t = 0; t < MODEL_TARGETS; t++)
        EACH_LANE AT(p->dtarget, t) *= target_std[t];
    memcpy(dlinear, p->dtarget, sizeof(float) * (size_t)(MODEL_TARGETS * lanes));
#if MODEL_BANDS
    times_gains(lanes, age, p->dtarget);
#endif
    dense(lanes, &head_back, p->dtarget, p->dwork);
    for (int k = 0; k < MODEL_HIDDEN * lanes; k++)
        p->dh[k] += p->dwork[MODEL_HEAD_CODE * lanes + k];
    memcpy(p->work, p->dwork, sizeof(float) * (size_t)(MODEL_HEAD_CODE * lanes));
#if MODEL_NEAR_TICKS
    dense(lanes, age[0] < MODEL_NEAR_TICKS ? &linear_near_back : &linear_path_back, dlinear, p->df);
#elif MODEL_LINEAR_PATH
    dense(lanes, &linear_path_back, dlinear, p->df);
#else
    memset(p->df, 0, sizeof(float) * (size_t)(MODEL_WINDOW * lanes));
#endif
    (void)age;
}

/* Add to the gradient of the features that of the code, which it changes. */
INLINE void encode_back(const int lanes, const float *codes, const parts *p)
{
    float *df = p->df + UNSEEN * lanes;
#if MODEL_LAYERS
    float *above = p->dseen, *below = p->dwork;
    codes += MODEL_CODES * lanes;
    for (int k = MODEL_LAYERS - 1; k >= 0; k--) {
        const int n = encoder[k]->rows * lanes;
        codes -= n;
        for (int i = 0; i < n; i++)
            above[i] *= 1.0f - codes[i] * codes[i];
        dense(lanes, encoder_back[k], above, below);
        float *next = above;
        above = below;
        below = next;
    }
#else
    const float *above = p->dseen;
    (void)codes;
#endif
    for (int i = 0; i < MODEL_ENCODER_WINDOW * lanes; i++)
        df[i] += above[i];
}

/* Go back by tick n. */
INLINE void tick_back(const int lanes, const model_kept *kept, const parts *p, uint32_t n)
{
    const uint32_t row = MODEL_CHANNELS * (uint32_t)lanes, hidden = MODEL_HIDDEN * (uint32_t)lanes;
    const float *window = p->rows + n * row, *newest = window + (MODEL_TAPS - 1) * row;
    float *dwindow = p->drows + n * row, *dnewest = dwindow + (MODEL_TAPS - 1) * row;
    uint32_t age[MODEL_LANES];
    ages_at(lanes, kept, n, age);
    next_outputs_back(lanes, newest, p->targets + n * MODEL_TARGETS * (uint32_t)lanes, p->y,
                      dnewest + row + MODEL_INPUTS * lanes, dnewest, p->dtarget);
    head_back_through(lanes, age, p);
    cell_back(lanes, p->gates + n * 4 * hidden, p->carried + n * hidden, p->carried + (n + 1) * hidden, p->dh, p->dcarried,
              p->dwork, p->dwork + MODEL_BACK_MAX * lanes, p->dseen);
    for (int k = 0; k < MODEL_HEAD_CODE * lanes; k++)
        p->dseen[k] += p->work[k];
    encode_back(lanes, p->codes + n * MODEL_CODES * (uint32_t)lanes, p);
    features_back(lanes, window, p->df, dwindow);
}

/* Begin the way back: no gradient but what the caller then writes to the rows. */
INLINE void begin_back(const int lanes, const model_kept *kept, const parts *p)
{
    memset(p->drows, 0, sizeof(float) * (size_t)((MODEL_TAPS + kept->ticks) * MODEL_CHANNELS * (uint32_t)lanes));
    memset(p->dh, 0, sizeof(float) * (size_t)(MODEL_HIDDEN * lanes));
    memset(p->dcarried, 0, sizeof(float) * (size_t)(MODEL_HIDDEN * lanes));
}

/* ---- One forecast */

int model_keep_from(model_kept *kept, const float *window, const float *state, uint32_t age, const float *u, uint32_t ticks,
                    float *y)
{
    if (ticks > kept->longest)
        return -1;
    kept->ticks = ticks;
    kept->age = age;
    const parts p = parts_of(1, kept);
    memcpy(p.rows, window, sizeof(float) * MODEL_TAPS * MODEL_CHANNELS);
    memcpy(p.state, state, sizeof(float) * MODEL_STATE);
    memcpy(p.carried, state + CARRIED, sizeof(float) * MODEL_HIDDEN);
    for (uint32_t n = 0; n < ticks; n++) {
        memcpy(p.rows + (MODEL_TAPS - 1 + n) * MODEL_CHANNELS, u + n * MODEL_INPUTS, sizeof(float) * MODEL_INPUTS);
        tick_and_keep(1, kept, &p, n);
        memcpy(y + n * MODEL_OUTPUTS, p.y, sizeof(float) * MODEL_OUTPUTS);
    }
    return 0;
}

int model_keep(const model_state *m, model_kept *kept, const float *u, uint32_t ticks, float *y)
{
    return model_keep_from(kept, model_window(m), m->state_before, age_of(m), u, ticks, y);
}

void model_gradient(model_kept *kept, const float *dy, float *du)
{
    const parts p = parts_of(1, kept);
    begin_back(1, kept, &p);
    for (uint32_t n = 0; n < kept->ticks; n++)
        memcpy(p.drows + (MODEL_TAPS + n) * MODEL_CHANNELS + MODEL_INPUTS, dy + n * MODEL_OUTPUTS,
               sizeof(float) * MODEL_OUTPUTS);
    for (uint32_t n = kept->ticks; n-- > 0;) {
        tick_back(1, kept, &p, n);
        memcpy(du + n * MODEL_INPUTS, p.drows + (MODEL_TAPS - 1 + n) * MODEL_CHANNELS, sizeof(float) * MODEL_INPUTS);
    }
}

const float *model_decide(model_state *m, const float *u)
{
    if (m->count == 0)
        return m->y;
    float row[MODEL_CHANNELS];
    memcpy(row, model_window(m) + (MODEL_TAPS - 1) * MODEL_CHANNELS, sizeof row);
    memcpy(row, u, sizeof(float) * MODEL_INPUTS);
    memcpy(m->state, m->state_before, sizeof m->state);
    m->next = m->next > 0 ? m->next - 1 : MODEL_TAPS - 1; /* the newest row is written again */
    m->count--;
    return model_step_aged(m, row, age_of(m));
}

/* ---- Many, MODEL_LANES at a time */

/* Keep the forecasts of `used` plans, from one window and state. */
static void keep_lanes(model_kept *kept, const parts *p, const float *window, const float *state, const float *u,
                       uint32_t used)
{
    const uint32_t row = MODEL_CHANNELS * MODEL_LANES;
    for (uint32_t tap = 0; tap < MODEL_TAPS; tap++)
        to_lanes(p->rows + tap * row, window + tap * MODEL_CHANNELS, MODEL_CHANNELS, 0, used);
    to_lanes(p->state, state, MODEL_STATE, 0, used);
    memcpy(p->carried, p->state + CARRIED * MODEL_LANES, sizeof(float) * MODEL_HIDDEN * MODEL_LANES);
    for (uint32_t n = 0; n < kept->ticks; n++) {
        to_lanes(p->rows + (MODEL_TAPS - 1 + n) * row, u + n * MODEL_INPUTS, MODEL_INPUTS, kept->ticks * MODEL_INPUTS, used);
        tick_and_keep(MODEL_LANES, kept, p, n);
    }
}

static void gradient_lanes(const model_kept *kept, const parts *p, uint32_t last)
{
    for (uint32_t n = last + 1; n-- > 0;)
        tick_back(MODEL_LANES, kept, p, n);
}

/* Copy from rows [MODEL_LANES ticks ..] to one plan: the gradients of its inputs. */
static void inputs_of(const parts *p, uint32_t ticks, uint32_t lane, float *du)
{
    for (uint32_t n = 0; n < ticks; n++)
        for (uint32_t i = 0; i < MODEL_INPUTS; i++)
            du[n * MODEL_INPUTS + i] = p->drows[((MODEL_TAPS - 1 + n) * MODEL_CHANNELS + i) * MODEL_LANES + lane];
}

int model_gradient_plans(model_kept *kept, const float *window, const float *state, uint32_t age, const float *u,
                         const float *dy, uint32_t plans, uint32_t ticks, float *du)
{
    if (ticks > kept->longest)
        return -1;
    kept->ticks = ticks;
    kept->age = age;
    const parts p = parts_of(MODEL_LANES, kept);
    for (uint32_t first = 0; first < plans; first += MODEL_LANES) {
        const uint32_t used = plans - first < MODEL_LANES ? plans - first : MODEL_LANES;
        const size_t from = (size_t)first * ticks;
        keep_lanes(kept, &p, window, state, u + from * MODEL_INPUTS, used);
        begin_back(MODEL_LANES, kept, &p);
        for (uint32_t n = 0; n < ticks; n++)
            to_lanes(p.drows + ((MODEL_TAPS + n) * MODEL_CHANNELS + MODEL_INPUTS) * MODEL_LANES,
                     dy + (from + n) * MODEL_OUTPUTS, MODEL_OUTPUTS, ticks * MODEL_OUTPUTS, used);
        gradient_lanes(kept, &p, ticks - 1);
        for (uint32_t lane = 0; lane < used; lane++)
            inputs_of(&p, ticks, lane, du + (from + (size_t)lane * ticks) * MODEL_INPUTS);
    }
    return 0;
}

int model_jacobian(model_kept *kept, const float *window, const float *state, uint32_t age, const float *u, uint32_t ticks,
                   float *jacobian)
{
    if (ticks > kept->longest)
        return -1;
    kept->ticks = ticks;
    kept->age = age;
    const parts p = parts_of(MODEL_LANES, kept);
    const uint32_t outputs = ticks * MODEL_OUTPUTS;
    keep_lanes(kept, &p, window, state, u, 1);
    for (uint32_t first = 0; first < outputs; first += MODEL_LANES) { /* each lane differentiates one output */
        const uint32_t used = outputs - first < MODEL_LANES ? outputs - first : MODEL_LANES;
        begin_back(MODEL_LANES, kept, &p);
        for (uint32_t lane = 0; lane < used; lane++) {
            const uint32_t n = (first + lane) / MODEL_OUTPUTS, i = (first + lane) % MODEL_OUTPUTS;
            p.drows[((MODEL_TAPS + n) * MODEL_CHANNELS + MODEL_INPUTS + i) * MODEL_LANES + lane] = 1.0f;
        }
        gradient_lanes(kept, &p, (first + used - 1) / MODEL_OUTPUTS);
        for (uint32_t lane = 0; lane < used; lane++)
            inputs_of(&p, ticks, lane, jacobian + (size_t)(first + lane) * ticks * MODEL_INPUTS);
    }
    return 0;
}
