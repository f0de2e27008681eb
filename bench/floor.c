/* The floor: the arithmetic of the reference model as one would write it by hand for exactly this model. Column-major
   loops over sizes that are numbers, sums in any order the compiler likes (-O3 -march=native -ffast-math), the same
   approximation of tanh; the window is moved by memmove. */

#include <string.h>

enum { TAPS = 16, CHANNELS = 10, INPUTS = 4, OUTPUTS = 6, WINDOW = 160, WIDE = 64, CODE = 16, HIDDEN = 64 };

/* Filled by the bench, [column][row]. */
float w1[WINDOW][WIDE], b1[WIDE], w2[WIDE][CODE], b2[CODE], wg[CODE + HIDDEN][4 * HIDDEN], bg[4 * HIDDEN];
float wh[HIDDEN][OUTPUTS], bh[OUTPUTS], mean[CHANNELS], scale[CHANNELS], target_mean[OUTPUTS], target_std[OUTPUTS];
float y[OUTPUTS], c[HIDDEN], seen[CODE + HIDDEN];
static float window[TAPS][CHANNELS];

static inline float squash(float x)
{
    x = x > 9.02f ? 9.02f : x < -9.02f ? -9.02f : x;
    const float z = x * x;
    const float p = (((1.3318622e-08f * z + 2.0583148e-05f) * z + 3.4940142e-03f) * z + 1.3379701e-01f) * z + 1.0f;
    const float q = (((7.7618324e-07f * z + 3.2830596e-04f) * z + 2.5870996e-02f) * z + 4.6713016e-01f) * z + 1.0f;
    return x * p / q;
}

#define LAYER(rows, columns, w, b, x, out)                                                                            \
    do {                                                                                                              \
        for (int i = 0; i < (rows); i++)                                                                              \
            (out)[i] = (b)[i];                                                                                        \
        for (int j = 0; j < (columns); j++)                                                                           \
            for (int i = 0; i < (rows); i++)                                                                          \
                (out)[i] += (w)[j][i] * (x)[j];                                                                       \
    } while (0)

void floor_step(const float *sample)
{
    float f[WINDOW], a[WIDE], code[CODE], g[4 * HIDDEN], out[OUTPUTS];
    memmove(window[0], window[1], sizeof window - sizeof window[0]);
    memcpy(window[TAPS - 1], sample, sizeof window[0]);
    for (int t = 0; t < TAPS; t++)
        for (int k = 0; k < CHANNELS; k++)
            f[t * CHANNELS + k] = (window[t][k] - mean[k]) * scale[k];
    LAYER(WIDE, WINDOW, w1, b1, f, a);
    for (int i = 0; i < WIDE; i++)
        a[i] = squash(a[i]);
    LAYER(CODE, WIDE, w2, b2, a, code);
    for (int i = 0; i < CODE; i++)
        seen[i] = squash(code[i]);
    LAYER(4 * HIDDEN, CODE + HIDDEN, wg, bg, seen, g);
    for (int i = 0; i < 4 * HIDDEN; i++)
        g[i] = squash(g[i]);
    for (int k = 0; k < HIDDEN; k++)
        c[k] = 0.5f * ((g[HIDDEN + k] + 1.0f) * c[k] + (g[k] + 1.0f) * g[2 * HIDDEN + k]);
    for (int k = 0; k < HIDDEN; k++)
        seen[CODE + k] = 0.5f * (g[3 * HIDDEN + k] + 1.0f) * squash(c[k]);
    LAYER(OUTPUTS, HIDDEN, wh, bh, seen + CODE, out);
    for (int i = 0; i < OUTPUTS; i++)
        y[i] = window[TAPS - 1][INPUTS + i] + (out[i] * target_std[i] + target_mean[i]);
}
