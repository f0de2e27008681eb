#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "futures.c"
#endif

/* ---- Draws: Philox4x32-10, a generator without a state, and normal numbers of its words. The numbers of a future
   depend on the seed, its number and the tick alone. rtsysid/model/backends/draws.py computes the same. */

enum { BLOCKS = (MODEL_DRAWS + 3) / 4 }; /* of four numbers each */

/* Compute four words [4][lane] for each future [lane]. */
INLINE void philox(const int lanes, const uint32_t *future, uint32_t tick, uint32_t block, uint64_t seed,
                   uint32_t *words)
{
    uint32_t *a = words, *b = words + lanes, *c = words + 2 * lanes, *d = words + 3 * lanes;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    EACH_LANE a[lane] = future[lane], b[lane] = tick, c[lane] = block, d[lane] = 0;
    for (int round = 0; round < 10; round++) {
        EACH_LANE {
            const uint64_t first = (uint64_t)0xD2511F53u * a[lane], second = (uint64_t)0xCD9E8D57u * c[lane];
            a[lane] = (uint32_t)(second >> 32) ^ b[lane] ^ k0;
            c[lane] = (uint32_t)(first >> 32) ^ d[lane] ^ k1;
            b[lane] = (uint32_t)second;
            d[lane] = (uint32_t)first;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Within 2e-7 of the natural logarithm, relative, for 2^-24 <= x < 1. Ref: S. Moshier, Cephes, logf. */
INLINE float log_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 23) - 126;
    bits = (bits & 0x007fffffu) | 0x3f000000u;
    float m;
    memcpy(&m, &bits, sizeof m);
    const int low = m < 0.70710678f;
    exponent -= low;
    m = (low ? m + m : m) - 1.0f;
    const float z = m * m, e = (float)exponent;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * z - 2.12194440e-4f * e - 0.5f * z;
    return m + p + 0.693359375f * e;
}

/* Within 2e-7 of the exponential, relative, for -12 <= x <= 4, to which x is limited. Ref: the same, expf. */
INLINE float exp_of(float x)
{
    x = x < -12.0f ? -12.0f : x > 4.0f ? 4.0f : x;
    const int n = (int)(x * 1.44269504f + 64.5f) - 64;
    x = x - 0.693359375f * (float)n + 2.12194440e-4f * (float)n;
    float p = 1.9875691500e-4f;
    p = p * x + 1.3981999507e-3f;
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    p = p * x * x + x + 1.0f;
    const uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Turn two words into two normal numbers: a radius and a direction. Ref: G. Box, M. Muller, 1958. */
INLINE void normal_pair(uint32_t first, uint32_t second, float *one, float *other)
{
    const float radius = sqrtf(-2.0f * log_of(((float)(first >> 9) + 0.5f) * 1.1920929e-7f));
    const int32_t turn = (int32_t)(second >> 8), quarter = (turn + (1 << 21)) >> 22;
    const float x = (float)(turn - quarter * (1 << 22)) * 3.7450704e-7f, z = x * x; /* 2 pi / 2^24 */
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    const float c = ((2.4433157118e-5f * z - 1.3887316255e-3f) * z + 4.1666645683e-2f) * z * z - 0.5f * z + 1.0f;
    const float even = quarter & 1 ? s : c, odd = quarter & 1 ? c : s;
    *one = radius * ((quarter + 1) & 2 ? -even : even);
    *other = radius * (quarter & 2 ? -odd : odd);
}

/* Draw the normal numbers [4 BLOCKS][lane] of a tick. */
INLINE void draw_normal(const int lanes, const uint32_t *future, uint32_t tick, uint64_t seed, float *draws)
{
    uint32_t words[4 * MODEL_LANES];
    for (int block = 0; block < BLOCKS; block++) {
        float *to = draws + 4 * block * lanes;
        philox(lanes, future, tick, (uint32_t)block, seed, words);
        EACH_LANE normal_pair(AT(words, 0), AT(words, 1), &AT(to, 0), &AT(to, 1));
        EACH_LANE normal_pair(AT(words, 2), AT(words, 3), &AT(to, 2), &AT(to, 3));
    }
}
