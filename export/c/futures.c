/* ---- Many futures, MODEL_LANES at a time. */

/* from [MODEL_LANES][n] or, shared, [n] -> to [n][MODEL_LANES]; lanes beyond `used` repeat the last one. */
static void spread(float *to, const float *from, uint32_t n, uint32_t stride, uint32_t used)
{
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++) {
        const float *own = from + (lane < used ? lane : used - 1) * (size_t)stride;
        for (uint32_t i = 0; i < n; i++)
            to[i * MODEL_LANES + lane] = own[i];
    }
}

static void one_block(model_lanes *m, const float *u, uint32_t used, uint32_t ticks, float *y)
{
    for (uint32_t n = 0; n < ticks; n++) {
        spread(m->u, u + n * MODEL_INPUTS, MODEL_INPUTS, ticks * MODEL_INPUTS, used);
        push(MODEL_LANES, m->line, &m->next, m->u, m->y);
        tick_lanes(m);
        for (uint32_t lane = 0; lane < used; lane++)
            for (uint32_t i = 0; i < MODEL_OUTPUTS; i++)
                y[((size_t)lane * ticks + n) * MODEL_OUTPUTS + i] = m->y[i * MODEL_LANES + lane];
    }
}

void model_rollout(model_lanes *m, const float *window, const float *h, const float *c, int shared, const float *u,
                   uint32_t plans, uint32_t ticks, float *y)
{
    const uint32_t size = MODEL_TAPS * MODEL_CHANNELS, newest = (MODEL_TAPS - 1) * MODEL_CHANNELS + MODEL_INPUTS;
    for (uint32_t first = 0; first < plans; first += MODEL_LANES) {
        const uint32_t used = plans - first < MODEL_LANES ? plans - first : MODEL_LANES;
        const size_t own = shared ? 0 : first;
        spread(m->line, window + own * size, size, shared ? 0 : size, used);
        memcpy(m->line + size * MODEL_LANES, m->line, sizeof m->line / 2);
        spread(m->h, h + own * MODEL_HIDDEN, MODEL_HIDDEN, shared ? 0 : MODEL_HIDDEN, used);
        spread(m->c, c + own * MODEL_HIDDEN, MODEL_HIDDEN, shared ? 0 : MODEL_HIDDEN, used);
        spread(m->y, window + own * size + newest, MODEL_OUTPUTS, shared ? 0 : size, used);
        m->next = MODEL_TAPS - 1;
        one_block(m, u + (size_t)first * ticks * MODEL_INPUTS, used, ticks, y + (size_t)first * ticks * MODEL_OUTPUTS);
    }
}

void model_forecast_plans(const model_state *m, model_lanes *scratch, const float *u, uint32_t plans, uint32_t ticks,
                          float *y)
{
    model_rollout(scratch, model_window(m), m->seen + MODEL_CODE, m->c_before, 1, u, plans, ticks, y);
}
