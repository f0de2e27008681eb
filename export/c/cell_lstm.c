#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "coordinates.c"
#include "example/lstm.h"
#endif

/* ---- The recurrent cell: LSTM. Its state [MODEL_STATE] is h [MODEL_HIDDEN], then c [MODEL_HIDDEN]. */

/* Advance the state by one tick. `seen` holds the code and gets h from before the tick; `work` is room for two layers.
   The first `shared` columns of `seen` are the same in all lanes.
   Gates come in the order input, forget, cell, output. Those that are sigmoids have halved weights: sigmoid(x) =
   (1 + tanh(x / 2)) / 2, so that one tanh serves all four. */
INLINE void cell_tick(const int lanes, const int shared, float *seen, float *work, float *state)
{
    const int n = MODEL_HIDDEN * lanes;
    float *h = state, *c = state + n;
    const float *i = work, *f = work + n, *g = work + 2 * n, *o = work + 3 * n;
    memcpy(seen + MODEL_CODE * lanes, h, sizeof(float) * (size_t)n);
    dense_from(lanes, shared, &gates, seen, work);
    tanh_all(4 * n, work, work);
    for (int k = 0; k < n; k++)
        c[k] = 0.5f * ((f[k] + 1.0f) * c[k] + (i[k] + 1.0f) * g[k]);
    for (int k = 0; k < n; k++)
        h[k] = 0.5f * (o[k] + 1.0f) * tanh_of(c[k]);
}

#if MODEL_INITIALISER

/* Make the first state from the output [MODEL_STATE] of the initialiser network. */
INLINE void cell_begin(const float *raw, float *state)
{
    tanh_all(MODEL_HIDDEN, raw, state);
    memcpy(state + MODEL_HIDDEN, raw + MODEL_HIDDEN, sizeof(float) * MODEL_HIDDEN);
}

#endif
