#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "network.c"
#endif

/* ---- One robot: what model.h declares of model_state. */

const char model_fingerprint[17] = MODEL_FINGERPRINT;
const uint32_t model_state_bytes = sizeof(model_state), model_lanes_bytes = sizeof(model_lanes);
typedef char sizes_are_as_stated[sizeof(model_state) == MODEL_STATE_BYTES ? 1 : -1];

const float *model_window(const model_state *m)
{
    return m->line + m->next * MODEL_CHANNELS;
}

static void tick_one(model_state *m, const uint32_t age)
{
    const float *window = model_window(m);
    features(1, window, m->work);
    tick(1, 0, m->work, window + (MODEL_TAPS - 1) * MODEL_CHANNELS, &age, m->seen, m->state, m->target, m->work, m->y);
}

static uint32_t age_of(const model_state *m)
{
#if MODEL_AGED
    return m->age;
#else
    (void)m;
    return 0;
#endif
}

/* Set the first state from the first full window: zero, or from the initialiser network. */
static void start(model_state *m)
{
#if MODEL_INITIALISER
    float *room = m->work + MODEL_LAYER_MAX;
    features(1, model_window(m), m->work);
    dense_one(&initialiser_1, initialiser_1.columns, m->work, room);
    tanh_all(initialiser_1.rows, room, m->work);
    dense_one(&initialiser_2, initialiser_2.columns, m->work, room);
    cell_begin(room, m->state);
#else
    memset(m->state, 0, sizeof m->state);
#endif
}

void model_reset(model_state *m)
{
    memset(m, 0, sizeof *m);
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        m->y[i] = NAN;
}

const float *model_step(model_state *m, const float *sample)
{
    return model_step_aged(m, sample, 0);
}

const float *model_step_aged(model_state *m, const float *sample, uint32_t age)
{
#if MODEL_AGED
    m->age = age;
#endif
    m->next = push(1, MODEL_CHANNELS, m->line, m->next, sample);
    m->count += m->count < UINT32_MAX;
    if (m->count < MODEL_TAPS)
        return m->y;
    if (m->count == MODEL_TAPS)
        start(m);
    memcpy(m->state_before, m->state, sizeof m->state);
    tick_one(m, age);
    return m->y;
}

void model_forecast(const model_state *m, model_state *scratch, const float *u, uint32_t ticks, float *y)
{
    float row[MODEL_CHANNELS];
    uint32_t age = age_of(m);
    memcpy(row, model_window(m) + (MODEL_TAPS - 1) * MODEL_CHANNELS, sizeof row);
    memcpy(scratch, m, sizeof *m);
    memcpy(scratch->state, m->state_before, sizeof m->state);
    scratch->next = m->next > 0 ? m->next - 1 : MODEL_TAPS - 1; /* the newest row is written again, with other inputs */
    for (uint32_t n = 0; n < ticks; n++) {
        memcpy(row, u + n * MODEL_INPUTS, sizeof(float) * MODEL_INPUTS);
        scratch->next = push(1, MODEL_CHANNELS, scratch->line, scratch->next, row);
        tick_one(scratch, age);
        age += age < UINT32_MAX;
        memcpy(row + MODEL_INPUTS, scratch->y, sizeof scratch->y);
        memcpy(y + n * MODEL_OUTPUTS, scratch->y, sizeof scratch->y);
    }
}

float model_innovation(const model_state *m, const float *sample, const float *weight)
{
    float sum = 0.0f;
    for (int i = 0; i < MODEL_OUTPUTS; i++) {
        float off = (sample[MODEL_INPUTS + i] - m->y[i]) * weight[i];
        sum += off * off;
    }
    return sum;
}

float model_reconstruction_error(model_state *m)
{
#if MODEL_LAYERS
    float *room = m->work + MODEL_LAYER_MAX, sum = 0.0f;
    const float *above = m->seen;
    for (int k = MODEL_LAYERS - 1; k >= 0; k--) {
        dense_one(decoder[k], decoder[k]->columns, above, room);
        if (k > 0)
            tanh_all(decoder[k]->rows, room, m->work);
        above = m->work;
    }
    features(1, model_window(m), m->work);
    const float *f = m->work + UNSEEN;
    for (int i = 0; i < MODEL_ENCODER_WINDOW; i++)
        sum += (room[i] - f[i]) * (room[i] - f[i]);
    return sum / (float)MODEL_ENCODER_WINDOW;
#else
    (void)m;
    return 0.0f;
#endif
}
