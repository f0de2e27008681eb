#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "draws.c"
#endif

/* ---- Sampled futures, MODEL_LANES at a time: what model.h declares of model_sample. The noise is that of
   rtsysid/model/backends/noise.py. */

enum { WHITE = MODEL_LATENT, SLOW = MODEL_LATENT + MODEL_TARGETS };

/* Keep each of n values [n][lane] below its limit. */
static void limit_all(const int n, const float *limit, float *x)
{
    for (int k = 0; k < n; k++)
        for (int i = k * MODEL_LANES; i < (k + 1) * MODEL_LANES; i++)
            x[i] = x[i] < limit[k] ? x[i] : limit[k];
}

/* Compute the logarithm of the scale of each target [MODEL_TARGETS_PADDED][lane]; keep h from before the tick. */
static void spread_scales(model_lanes *m)
{
    float *room = m->work + MODEL_LAYER_MAX * MODEL_LANES;
    memcpy(m->seen + MODEL_CODE * MODEL_LANES, m->state, sizeof(float) * MODEL_HIDDEN * MODEL_LANES);
    dense(MODEL_LANES, &spread_hidden, m->seen, room);
    tanh_all(spread_hidden.rows * MODEL_LANES, room, m->work);
    dense(MODEL_LANES, &spread_scale, m->work, m->scale);
    limit_all(MODEL_TARGETS, spread_limit, m->scale);
}

/* Move the code by latent values. */
static void add_latent(model_lanes *m)
{
#if MODEL_LATENT
    float *room = m->work + MODEL_LAYER_MAX * MODEL_LANES;
    dense(MODEL_LANES, &latent_scale, m->seen, m->work);
    limit_all(MODEL_LATENT, latent_limit, m->work);
    for (int i = 0; i < MODEL_LATENT * MODEL_LANES; i++)
        m->work[i] = exp_of(m->work[i]) * m->draws[i];
    dense(MODEL_LANES, &latent_into, m->work, room);
    for (int i = 0; i < MODEL_CODE * MODEL_LANES; i++)
        m->seen[i] += room[i];
#else
    (void)m;
#endif
}

static void advance_slow(model_lanes *m)
{
#if MODEL_FACTORS
    const float *fresh = m->draws + SLOW * MODEL_LANES;
    for (int r = 0; r < MODEL_FACTORS; r++)
        for (int i = r * MODEL_LANES; i < (r + 1) * MODEL_LANES; i++)
            m->slow[i] = slow_kept[r] * m->slow[i] + slow_fresh[r] * fresh[i];
#else
    (void)m;
#endif
}

/* Add the noise of tick `n`, and the offset of the member of each lane, to targets in engineering units. */
static void add_noise(model_lanes *m, uint32_t n)
{
    const int lanes = MODEL_LANES;
    int band = 0;
    while (band < MODEL_SPREAD_AGES && n >= spread_first[band])
        band++;
#if MODEL_MEMBERS > 1
    dense(MODEL_LANES, &members_offset, m->state, m->work);
#endif
    for (int t = 0; t < MODEL_TARGETS; t++) {
        float noise[MODEL_LANES];
        memcpy(noise, m->draws + (WHITE + t) * MODEL_LANES, sizeof noise);
#if MODEL_FACTORS
        for (int r = 0; r < MODEL_FACTORS; r++)
            EACH_LANE noise[lane] += spread_factors[t * MODEL_FACTORS + r] * AT(m->slow, r);
#endif
        EACH_LANE {
            float scale = AT(m->scale, t) + spread_age[band * MODEL_TARGETS + t];
#if MODEL_MEMBERS > 1
            const int own = (int)m->member[lane] * MODEL_TARGETS + t;
            scale += members_scale[own];
            AT(m->target, t) += AT(m->work, own) * target_std[t];
#endif
            AT(m->target, t) += exp_of(scale) * noise[lane] * target_std[t];
        }
    }
}

/* `past`: rows of the window that are the same in all lanes. */
static void sample_tick(model_lanes *m, int past, uint32_t n, uint64_t seed)
{
    const int shared = shared_features(past), same = shared > UNSEEN ? shared - UNSEEN : 0;
    const float *f = lane_features(m);
#if MODEL_LINEAR_PATH
    linear_output(MODEL_LANES, shared, f, m->age, m->target);
#endif
    encode(MODEL_LANES, same, f + UNSEEN * MODEL_LANES, m->work, m->seen);
    spread_scales(m);
    draw_normal(MODEL_LANES, m->future, n + 1, seed, m->draws);
    advance_slow(m);
    add_latent(m);
    cell_tick(MODEL_LANES, MODEL_LAYERS || MODEL_LATENT ? 0 : same, m->seen, m->work, m->state);
    head_output(MODEL_LANES, m->seen, m->state, m->age, m->target);
    add_noise(m, n);
    next_outputs(MODEL_LANES, m->row, m->target, m->y);
}

/* Draw what futures begin with: slow values, and a member by its share. */
static void begin_futures(model_lanes *m, uint32_t first, uint64_t seed)
{
    (void)seed;
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++)
        m->future[lane] = first + lane;
#if MODEL_FACTORS
    draw_normal(MODEL_LANES, m->future, 0, seed, m->draws);
    memcpy(m->slow, m->draws + SLOW * MODEL_LANES, sizeof m->slow);
#endif
#if MODEL_MEMBERS > 1
    uint32_t words[4 * MODEL_LANES];
    philox(MODEL_LANES, m->future, 0, BLOCKS, seed, words);
    for (uint32_t lane = 0; lane < MODEL_LANES; lane++) {
        const float uniform = (float)(words[lane] >> 8) * 5.9604645e-8f;
        m->member[lane] = 0;
        for (int k = 0; k + 1 < MODEL_MEMBERS; k++)
            m->member[lane] += uniform >= members_until[k];
    }
#endif
}

/* Return the factor of an output `ahead` ticks ahead: linear between the ticks that have one. */
static float stretch_factor(uint32_t ahead, int output)
{
    int k = 0;
    while (k + 2 < MODEL_STRETCH_TICKS && ahead >= stretch_ticks[k + 1])
        k++;
    const float *at = spread_stretch + k * MODEL_OUTPUTS + output;
    const uint32_t first = stretch_ticks[k], last = stretch_ticks[k + 1], within = ahead < last ? ahead : last;
    return at[0] + (float)(within - first) / (float)(last - first) * (at[MODEL_OUTPUTS] - at[0]);
}

#if MODEL_OUTPUT_ROTATIONS

/* Replace each quaternion among outputs by the one of q and -q that is nearer to the point forecast. */
static void near_quaternions(const float *point, float *y)
{
    for (int k = 0; k < MODEL_OUTPUT_ROTATIONS; k++) {
        const unsigned short *at = output_rotations + 4 * k;
        float product = 0.0f;
        for (int i = 0; i < 4; i++)
            product += y[at[i]] * point[at[i]];
        for (int i = 0; i < 4; i++)
            y[at[i]] = product < 0.0f ? -y[at[i]] : y[at[i]];
    }
}

static void unit_outputs(float *y)
{
    for (int k = 0; k < MODEL_OUTPUT_ROTATIONS; k++) {
        const unsigned short *at = output_rotations + 4 * k;
        float square = 0.0f;
        for (int i = 0; i < 4; i++)
            square += y[at[i]] * y[at[i]];
        const float length = sqrtf(square + 1e-12f);
        for (int i = 0; i < 4; i++)
            y[at[i]] /= length;
    }
}

#endif

/* Multiply the deviation of outputs [MODEL_OUTPUTS] from the point forecast by the factor of each. */
static void stretch(const float *factor, const float *point, float *y)
{
#if MODEL_OUTPUT_ROTATIONS
    near_quaternions(point, y);
#endif
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        y[i] -= point[i];
#if MODEL_ANGLE_OUTPUTS
    for (int k = 0; k < MODEL_ANGLE_OUTPUTS; k++)
        y[angle_outputs[k]] = short_way(y[angle_outputs[k]], angle_period[k], angle_per_period[k]);
#endif
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        y[i] = point[i] + factor[i] * y[i];
#if MODEL_OUTPUT_ROTATIONS
    unit_outputs(y);
#endif
#if MODEL_ANGLE_OUTPUTS
    within_turn(1, 0, y);
#endif
}

/* Stretch tick n of the futures of a block, [used][ticks][MODEL_OUTPUTS], around the point forecast. */
static void stretch_tick(const float *point, uint32_t used, uint32_t ticks, uint32_t n, float *y)
{
    float factor[MODEL_OUTPUTS];
    for (int i = 0; i < MODEL_OUTPUTS; i++)
        factor[i] = stretch_factor(n + 1, i);
    for (uint32_t lane = 0; lane < used; lane++)
        stretch(factor, point, y + ((size_t)lane * ticks + n) * MODEL_OUTPUTS);
}

/* The point forecast waits in the first future, which is written last: block by block from the end, tick by tick. */
void model_sample(const model_state *m, model_lanes *scratch, const float *u, uint32_t first, uint32_t count,
                  uint64_t seed, uint32_t ticks, float *y)
{
    const uint32_t age = age_of(m);
    const float *window = model_window(m);
    model_rollout(scratch, window, m->state_before, 1, u, count > 0, ticks, y, &age);
    for (uint32_t left = count; left > 0;) {
        const uint32_t used = left % MODEL_LANES ? left % MODEL_LANES : MODEL_LANES, done = left - used;
        left = done;
        int past = MODEL_TAPS - 1;
        begin_lines(scratch, window, 0, MODEL_LANES);
        set_ages(scratch, &age, 1, MODEL_LANES);
        to_lanes(scratch->state, m->state_before, MODEL_STATE, 0, MODEL_LANES);
        begin_futures(scratch, first + done, seed);
        for (uint32_t n = 0; n < ticks; n++) {
            to_lanes(scratch->row, u + n * MODEL_INPUTS, MODEL_INPUTS, 0, MODEL_LANES);
            push_row(scratch);
            sample_tick(scratch, past, n, seed);
            past -= past > 0;
            float *block = y + (size_t)done * ticks * MODEL_OUTPUTS, point[MODEL_OUTPUTS];
            memcpy(point, y + n * MODEL_OUTPUTS, sizeof point); /* the last block overwrites it */
            end_tick(scratch, n, ticks, used, block);
            stretch_tick(point, used, ticks, n, block);
        }
    }
}
