#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "coordinates.c"
#include "example/gru.h"
#endif

/* ---- The recurrent cell: GRU. Its state [MODEL_STATE] is h [MODEL_HIDDEN]. */

/* Advance the state by one tick. `seen` holds the code and gets h from before the tick; `work` is room for two layers.
   The first `shared` columns of `seen` are the same in all lanes.
   n = tanh(new_into code + r * (new_of_h h)), h = (1 - z) n + z h; the gates r and z are sigmoids with halved weights:
   sigmoid(x) = (1 + tanh(x / 2)) / 2. */
INLINE void cell_tick(const int lanes, const int shared, float *seen, float *work, float *state)
{
    const int n = MODEL_HIDDEN * lanes;
    float *h = state, *candidate = work + MODEL_LAYER_MAX * lanes, *of_h = candidate + MODEL_HIDDEN_PADDED * lanes;
    const float *r = work, *z = work + n;
    memcpy(seen + MODEL_CODE * lanes, h, sizeof(float) * (size_t)n);
    dense_from(lanes, shared, &gates, seen, work);
    dense_from(lanes, shared, &new_into, seen, candidate);
    dense(lanes, &new_of_h, h, of_h);
    tanh_all(2 * n, work, work);
    for (int k = 0; k < n; k++)
        candidate[k] = tanh_of(candidate[k] + 0.5f * (r[k] + 1.0f) * of_h[k]);
    for (int k = 0; k < n; k++)
        h[k] = candidate[k] + 0.5f * (z[k] + 1.0f) * (h[k] - candidate[k]);
}

#if MODEL_INITIALISER

/* Make the first state from the output [MODEL_STATE] of the initialiser network. */
INLINE void cell_begin(const float *raw, float *state)
{
    tanh_all(MODEL_HIDDEN, raw, state);
}

#endif
