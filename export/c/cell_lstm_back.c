#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "coordinates_back.c"
#endif

/* ---- The LSTM backwards. Kept of a tick: its gates [4][MODEL_HIDDEN], and c after it. */

/* Keep the gates, which cell_tick left in `work`. */
INLINE void cell_keep(const int lanes, const float *work, float *kept)
{
    memcpy(kept, work, sizeof(float) * (size_t)(4 * MODEL_HIDDEN * lanes));
}

/* Take the gradients of h and c from after a tick to before it, and write that of the code and of h together. `work` and
   `room` are room for a layer. */
INLINE void cell_back(const int lanes, const float *kept, const float *before, const float *after, float *dh, float *dc,
                      float *work, float *room, float *dseen)
{
    const int n = MODEL_HIDDEN * lanes;
    const float *i = kept, *f = kept + n, *g = kept + 2 * n, *o = kept + 3 * n;
    (void)room;
    for (int k = 0; k < n; k++) {
        const float squashed = tanh_of(after[k]), dout = 0.5f * dh[k];
        const float d = 0.5f * (dc[k] + dout * (o[k] + 1.0f) * (1.0f - squashed * squashed));
        work[k] = d * g[k] * (1.0f - i[k] * i[k]);
        work[n + k] = d * before[k] * (1.0f - f[k] * f[k]);
        work[2 * n + k] = d * (i[k] + 1.0f) * (1.0f - g[k] * g[k]);
        work[3 * n + k] = dout * squashed * (1.0f - o[k] * o[k]);
        dc[k] = d * (f[k] + 1.0f);
    }
    dense(lanes, &gates_back, work, dseen);
    memcpy(dh, dseen + MODEL_CODE * lanes, sizeof(float) * (size_t)n);
}
