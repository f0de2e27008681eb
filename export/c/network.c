/* ---- The network: window -> features -> encoder -> LSTM -> head -> next outputs. */

/* Features to the code, which the LSTM sees beside h; `work` is room for two layers, of which `f` may be the first. */
INLINE void encode(const int lanes, const int shared, const float *f, float *work, float *code)
{
#if MODEL_LAYERS
    float *room = work + MODEL_LAYER_MAX * lanes;
    for (int k = 0; k < MODEL_LAYERS; k++) {
        dense_from(lanes, k == 0 ? shared : 0, encoder[k], k == 0 ? f : work, room);
        tanh_all(encoder[k]->rows * lanes, room, k == MODEL_LAYERS - 1 ? code : work);
    }
#else
    (void)work, (void)shared;
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

/* What the head, and the linear path where there is one, answer in engineering units: `target`. */
INLINE void head_output(const int lanes, const float *h, float *target)
{
    dense(lanes, &head, h, target);
    for (int t = 0; t < MODEL_TARGETS; t++)
        EACH_LANE {
#if MODEL_LINEAR_PATH
            AT(target, t) += AT(target, MODEL_TARGETS_PADDED + t);
#endif
            AT(target, t) = AT(target, t) * target_std[t] + target_mean[t];
        }
}

/* One tick on the features of a window: h and c advance, y is the answer, `seen` keeps code and h from before. `newest`
   is the last row; the first `shared` features are the same in all lanes. */
INLINE void tick(const int lanes, const int shared, const float *f, const float *newest, float *seen, float *h,
                 float *c, float *target, float *work, float *y)
{
#if MODEL_LINEAR_PATH
    dense_from(lanes, shared, &linear_path, f, target + MODEL_TARGETS_PADDED * lanes);
#endif
    encode(lanes, shared, f, work, seen);
    memcpy(seen + MODEL_CODE * lanes, h, sizeof(float) * (size_t)(MODEL_HIDDEN * lanes));
    dense_from(lanes, MODEL_LAYERS ? 0 : shared, &gates, seen, work);
    cell(lanes, work, h, c);
    head_output(lanes, h, target);
    next_outputs(lanes, newest, target, y);
}

/* Append a row to a delay line of rows [width][lane], where it stands twice; the place of the next one. */
INLINE uint32_t push(const int lanes, const int width, float *line, uint32_t next, const float *row)
{
    const size_t size = sizeof(float) * (size_t)(width * lanes);
    memcpy(line + next * (uint32_t)(width * lanes), row, size);
    memcpy(line + (next + MODEL_TAPS) * (uint32_t)(width * lanes), row, size);
    return next + 1 < MODEL_TAPS ? next + 1 : 0;
}

static void tick_one(model_state *m)
{
    const float *window = model_window(m);
    features(1, window, m->work);
    tick(1, 0, m->work, window + (MODEL_TAPS - 1) * MODEL_CHANNELS, m->seen, m->h, m->c, m->target, m->work, m->y);
}

/* State before the first step on the first full window: zero, or what the initialiser makes of it. */
static void start(model_state *m)
{
#if MODEL_INITIALISER
    float *room = m->work + MODEL_LAYER_MAX;
    features(1, model_window(m), m->work);
    dense_one(&initialiser_1, initialiser_1.columns, m->work, room);
    tanh_all(initialiser_1.rows, room, m->work);
    dense_one(&initialiser_2, initialiser_2.columns, m->work, room);
    tanh_all(MODEL_HIDDEN, room, m->h);
    memcpy(m->c, room + MODEL_HIDDEN, sizeof m->c);
#else
    memset(m->h, 0, sizeof m->h);
    memset(m->c, 0, sizeof m->c);
#endif
}
