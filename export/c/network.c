/* ---- The network: window -> features -> encoder -> LSTM -> head -> next outputs. */

/* Features to the code, which the LSTM sees beside h. `f` and `room` are overwritten. */
INLINE void encode(const int lanes, float *f, float *room, float *code)
{
#if MODEL_LAYERS
    for (int k = 0; k < MODEL_LAYERS; k++) {
        dense(lanes, encoder[k], f, room);
        tanh_all(encoder[k]->rows * lanes, room, k == MODEL_LAYERS - 1 ? code : f);
    }
#else
    (void)room;
    memcpy(code, f, sizeof(float) * (size_t)(MODEL_CODE * lanes));
#endif
}

/* One tick of the LSTM. Gates stand in the order input, forget, cell, output; those that are sigmoids have halved
   weights: sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one tanh serves all four. */
INLINE void cell(const int lanes, float *gate, float *h, float *c)
{
    const int n = MODEL_HIDDEN * lanes;
    const float *i = gate, *f = gate + n, *g = gate + 2 * n, *o = gate + 3 * n;
    tanh_all(4 * n, gate, gate);
    for (int k = 0; k < n; k++)
        c[k] = 0.5f * ((f[k] + 1.0f) * c[k] + (i[k] + 1.0f) * g[k]);
    for (int k = 0; k < n; k++)
        h[k] = 0.5f * (o[k] + 1.0f) * tanh_of(c[k]);
}

/* What the head, and the direct path where there is one, answer in engineering units: `target`. */
INLINE void answer(const int lanes, const float *h, float *target)
{
    dense(lanes, &head, h, target);
    for (int t = 0; t < MODEL_TARGETS; t++)
        EACH_LANE {
#if MODEL_DIRECT
            AT(target, t) += AT(target, MODEL_ANSWERS + t);
#endif
            AT(target, t) = AT(target, t) * target_std[t] + target_mean[t];
        }
}

/* One tick on a window: h and c advance, y is the answer, `seen` keeps code and h from before. */
INLINE void tick(const int lanes, const float *window, float *seen, float *h, float *c, float *target, float *work,
                 float *y)
{
    float *room = work + MODEL_WIDEST * lanes;
    features(lanes, window, work);
#if MODEL_DIRECT
    dense(lanes, &direct, work, target + MODEL_ANSWERS * lanes);
#endif
    encode(lanes, work, room, seen);
    memcpy(seen + MODEL_CODE * lanes, h, sizeof(float) * (size_t)(MODEL_HIDDEN * lanes));
    dense(lanes, &gates, seen, work);
    cell(lanes, work, h, c);
    answer(lanes, h, target);
    following(lanes, window + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes, target, y);
}

/* Append one row to the delay line: inputs and outputs, [..][lane] each. */
INLINE void push(const int lanes, float *line, uint32_t *next, const float *u, const float *y)
{
    const size_t inputs = sizeof(float) * (size_t)(MODEL_INPUTS * lanes);
    const size_t outputs = sizeof(float) * (size_t)(MODEL_OUTPUTS * lanes);
    for (uint32_t twin = 0; twin < 2; twin++) {
        float *row = line + (*next + twin * MODEL_TAPS) * (uint32_t)(MODEL_CHANNELS * lanes);
        memcpy(row, u, inputs);
        memcpy(row + MODEL_INPUTS * lanes, y, outputs);
    }
    *next = *next + 1 < MODEL_TAPS ? *next + 1 : 0;
}

static void tick_one(model_state *m)
{
    tick(1, model_window(m), m->seen, m->h, m->c, m->target, m->work, m->y);
}

static void tick_lanes(model_lanes *m)
{
    const float *window = m->line + m->next * (uint32_t)(MODEL_CHANNELS * MODEL_LANES);
    tick(MODEL_LANES, window, m->seen, m->h, m->c, m->target, m->work, m->y);
}

/* State before the first step on the first full window: zero, or what the initialiser makes of it. */
static void start(model_state *m)
{
#if MODEL_INITIALISER
    float *room = m->work + MODEL_WIDEST;
    features(1, model_window(m), m->work);
    dense_one(&initialiser_1, m->work, room);
    tanh_all(initialiser_1.rows, room, m->work);
    dense_one(&initialiser_2, m->work, room);
    tanh_all(MODEL_HIDDEN, room, m->h);
    memcpy(m->c, room + MODEL_HIDDEN, sizeof m->c);
#else
    memset(m->h, 0, sizeof m->h);
    memset(m->c, 0, sizeof m->c);
#endif
}
