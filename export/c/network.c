#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "cell_lstm.c"
#endif

/* ---- The network: features -> encoder -> cell -> head -> next outputs, for one robot or for all lanes. */

enum { UNSEEN = MODEL_WINDOW - MODEL_ENCODER_WINDOW }; /* first features, which the encoder does not see */

/* Encode features [MODEL_ENCODER_WINDOW]. `work` is room for two layers; `f` may lie in the first. */
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

#if MODEL_LINEAR_PATH

/* Compute the linear map of each lane's age into the second part of `target`; where the ages of the lanes differ, both
   maps, of which the other one goes into the third part. */
INLINE void linear_output(const int lanes, const int shared, const float *f, const uint32_t *age, float *target)
{
    float *linear = target + MODEL_TARGETS_PADDED * lanes;
#if MODEL_NEAR_TICKS
    int near = 0;
    EACH_LANE near += age[lane] < MODEL_NEAR_TICKS;
    if (near > 0)
        dense_from(lanes, shared, &linear_near, f, linear);
    if (near == lanes)
        return;
    if (lanes > 1 && near > 0) {
        float *far = target + 2 * MODEL_TARGETS_PADDED * lanes;
        dense_from(lanes, shared, &linear_path, f, far);
        for (int t = 0; t < MODEL_TARGETS; t++)
            EACH_LANE AT(linear, t) = age[lane] < MODEL_NEAR_TICKS ? AT(linear, t) : AT(far, t);
        return;
    }
#else
    (void)age;
#endif
    dense_from(lanes, shared, &linear_path, f, linear);
}

#endif

#if MODEL_BANDS

/* Multiply the parts of each target by the gains of the band that the age of the lane belongs to. */
INLINE void times_gains(const int lanes, const uint32_t *age, float *target)
{
    EACH_LANE {
        int band = 0;
        while (band + 1 < MODEL_BANDS && age[lane] >= age_bands[band])
            band++;
        for (int t = 0; t < MODEL_TARGETS; t++) {
            AT(target, t) *= head_gain[band * MODEL_TARGETS + t];
#if MODEL_LINEAR_PATH
            AT(target, MODEL_TARGETS_PADDED + t) *= linear_gain[band * MODEL_TARGETS + t];
#endif
        }
    }
}

#endif

/* Compute the targets in engineering units from h: the head, plus the linear path where there is one. A head that sees the
   code, too, takes both from `seen`, which then gets h from after the tick. */
INLINE void head_output(const int lanes, float *seen, const float *h, const uint32_t *age, float *target)
{
#if MODEL_HEAD_CODE
    memcpy(seen + MODEL_CODE * lanes, h, sizeof(float) * (size_t)(MODEL_HIDDEN * lanes));
    dense(lanes, &head, seen, target);
#else
    (void)seen;
    dense(lanes, &head, h, target);
#endif
#if MODEL_BANDS
    times_gains(lanes, age, target);
#else
    (void)age;
#endif
    for (int t = 0; t < MODEL_TARGETS; t++)
        EACH_LANE {
#if MODEL_LINEAR_PATH
            AT(target, t) += AT(target, MODEL_TARGETS_PADDED + t);
#endif
            AT(target, t) = AT(target, t) * target_std[t] + target_mean[t];
        }
}

/* One tick on the features of a window: advance the state, predict y; `seen` keeps the code. `newest`
   is the last row, of this age; the first `shared` features are the same in all lanes. h is the first part of every
   state. */
INLINE void tick(const int lanes, const int shared, const float *f, const float *newest, const uint32_t *age,
                 float *seen, float *state, float *target, float *work, float *y)
{
#if MODEL_LINEAR_PATH
    linear_output(lanes, shared, f, age, target);
#endif
    const int same = shared > UNSEEN ? shared - UNSEEN : 0;
    encode(lanes, same, f + UNSEEN * lanes, work, seen);
    cell_tick(lanes, MODEL_LAYERS ? 0 : same, seen, work, state);
    head_output(lanes, seen, state, age, target);
    next_outputs(lanes, newest, target, y);
}

/* Append a row to a delay line of rows [width][lane], which holds every row twice; return the place of the next one. */
INLINE uint32_t push(const int lanes, const int width, float *line, uint32_t next, const float *row)
{
    const size_t size = sizeof(float) * (size_t)(width * lanes);
    memcpy(line + next * (uint32_t)(width * lanes), row, size);
    memcpy(line + (next + MODEL_TAPS) * (uint32_t)(width * lanes), row, size);
    return next + 1 < MODEL_TAPS ? next + 1 : 0;
}
