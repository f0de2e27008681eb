#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "cell_gru.c"
#include "example/gru_back.h"
#endif

/* ---- The GRU backwards. Kept of a tick: r, z, the candidate and the product with h, [4][MODEL_HIDDEN], and h after it. */

/* Keep what cell_tick left in `work`. */
INLINE void cell_keep(const int lanes, const float *work, float *kept)
{
    const int n = MODEL_HIDDEN * lanes;
    const size_t size = sizeof(float) * (size_t)n;
    memcpy(kept, work, 2 * size);
    memcpy(kept + 2 * n, work + MODEL_LAYER_MAX * lanes, size);
    memcpy(kept + 3 * n, work + (MODEL_LAYER_MAX + MODEL_HIDDEN_PADDED) * lanes, size);
}

/* Take the gradient of h from after a tick to before it, and write that of the code and of h together. `work` and `room` are
   room for a layer. */
INLINE void cell_back(const int lanes, const float *kept, const float *before, const float *after, float *dh, float *dc,
                      float *work, float *room, float *dseen)
{
    const int n = MODEL_HIDDEN * lanes;
    const float *r = kept, *z = kept + n, *candidate = kept + 2 * n, *of_h = kept + 3 * n;
    float *dcandidate = work + 2 * n, *dof_h = work + 3 * n;
    (void)after, (void)dc;
    for (int k = 0; k < n; k++) {
        const float half = 0.5f * dh[k];
        dcandidate[k] = half * (1.0f - z[k]) * (1.0f - candidate[k] * candidate[k]);
        dof_h[k] = 0.5f * dcandidate[k] * (r[k] + 1.0f);
        work[k] = 0.5f * dcandidate[k] * of_h[k] * (1.0f - r[k] * r[k]);
        work[n + k] = half * (before[k] - candidate[k]) * (1.0f - z[k] * z[k]);
        dh[k] = half * (z[k] + 1.0f);
    }
    dense(lanes, &gates_back, work, dseen);
    dense(lanes, &new_of_h_back, dof_h, room);
    for (int k = 0; k < n; k++)
        dh[k] += dseen[MODEL_CODE * lanes + k] + room[k];
    dense(lanes, &new_into_back, dcandidate, room);
    for (int k = 0; k < MODEL_CODE * lanes; k++)
        dseen[k] += room[k];
}
