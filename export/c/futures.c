#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "robot.c"
#endif

/* ---- Many forecasts, MODEL_LANES at a time: what model.h declares of model_lanes. */

/* Interleave: from [MODEL_LANES][n] or, shared, [n] -> to [n][MODEL_LANES]; lanes beyond `used` repeat the last one. */
static void to_lanes(float *to, const float *from, uint32_t n, uint32_t stride, uint32_t used)
{
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++) {
        const float *own = from + (lane < used ? lane : used - 1) * (size_t)stride;
        for (uint32_t i = 0; i < n; i++)
            to[i * MODEL_LANES + lane] = own[i];
    }
}

/* Append m->row to the delay line: as it is where features depend on the newest row, otherwise as features. */
static void push_row(model_lanes *m)
{
#if MODEL_FROM_NEWEST
    m->next = push(MODEL_LANES, MODEL_CHANNELS, m->line, m->next, m->row);
#else
    row_features(MODEL_LANES, m->row, m->row, m->work);
    m->next = push(MODEL_LANES, MODEL_ROW, m->line, m->next, m->work);
#endif
}

/* Fill the delay lines but for the newest row, which stays in m->row: the first tick appends it with its inputs. */
static void begin_lines(model_lanes *m, const float *window, uint32_t stride, uint32_t used)
{
    m->next = 0;
    for (uint32_t tap = 0; tap < MODEL_TAPS; tap++) {
        to_lanes(m->row, window + tap * MODEL_CHANNELS, MODEL_CHANNELS, stride, used);
        if (tap + 1 < MODEL_TAPS)
            push_row(m);
    }
}

/* Return the number of features that are the same in all lanes, where `past` rows of the window are. */
static int shared_features(int past)
{
    return MODEL_FROM_NEWEST || MODEL_INT8 ? 0 : past * MODEL_ROW;
}

/* Return the features of the window, computed into m->work where they depend on the newest row. */
static const float *lane_features(model_lanes *m)
{
#if MODEL_FROM_NEWEST
    features(MODEL_LANES, m->line + m->next * (uint32_t)(MODEL_CHANNELS * MODEL_LANES), m->work);
    return m->work;
#else
    return m->line + m->next * (uint32_t)(MODEL_ROW * MODEL_LANES);
#endif
}

/* Feed the outputs of tick `n` back into m->row, count the ages, and write the outputs [used][ticks][MODEL_OUTPUTS]. */
static void end_tick(model_lanes *m, uint32_t n, uint32_t ticks, uint32_t used, float *y)
{
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++)
        m->age[lane] += m->age[lane] < UINT32_MAX;
    memcpy(m->row + MODEL_INPUTS * MODEL_LANES, m->y, sizeof m->y);
    for (uint32_t lane = 0; lane < used; lane++)
        for (uint32_t i = 0; i < MODEL_OUTPUTS; i++)
            y[((size_t)lane * ticks + n) * MODEL_OUTPUTS + i] = m->y[i * MODEL_LANES + lane];
}

/* `past`: rows of the window that are the same in all lanes. */
static void one_block(model_lanes *m, int past, const float *u, uint32_t used, uint32_t ticks, float *y)
{
    for (uint32_t n = 0; n < ticks; n++) {
        to_lanes(m->row, u + n * MODEL_INPUTS, MODEL_INPUTS, ticks * MODEL_INPUTS, used);
        push_row(m);
        tick(MODEL_LANES, shared_features(past), lane_features(m), m->row, m->age, m->seen, m->state, m->target, m->work,
             m->y);
        past -= past > 0;
        end_tick(m, n, ticks, used, y);
    }
}

/* Set the age of each lane; lanes beyond `used` repeat the last one. */
static void set_ages(model_lanes *m, const uint32_t *age, int shared, uint32_t used)
{
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++)
        m->age[lane] = MODEL_AGED ? age[shared ? 0 : lane < used ? lane : used - 1] : 0;
}

void model_rollout(model_lanes *m, const float *window, const float *state, int shared, const float *u, uint32_t plans,
                   uint32_t ticks, float *y, const uint32_t *age)
{
    const uint32_t size = MODEL_TAPS * MODEL_CHANNELS;
    for (uint32_t first = 0; first < plans; first += MODEL_LANES) {
        const uint32_t used = plans - first < MODEL_LANES ? plans - first : MODEL_LANES;
        const size_t own = shared ? 0 : first;
        begin_lines(m, window + own * size, shared ? 0 : size, used);
        set_ages(m, MODEL_AGED ? age + own : age, shared, used);
        to_lanes(m->state, state + own * MODEL_STATE, MODEL_STATE, shared ? 0 : MODEL_STATE, used);
        one_block(m, shared ? MODEL_TAPS - 1 : 0, u + (size_t)first * ticks * MODEL_INPUTS, used, ticks,
                  y + (size_t)first * ticks * MODEL_OUTPUTS);
    }
}

void model_forecast_plans(const model_state *m, model_lanes *scratch, const float *u, uint32_t plans, uint32_t ticks,
                          float *y)
{
    const uint32_t age = age_of(m);
    model_rollout(scratch, model_window(m), m->state_before, 1, u, plans, ticks, y, &age);
}
