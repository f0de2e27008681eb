#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "interface.h"
#endif

/* ---- Kernels: y = W x + b and tanh, for one robot or for MODEL_LANES forecasts at the same time.

   Arrays are [index][lane]; `lanes` is a constant where these functions are called, 1 or MODEL_LANES. Every sum runs
   over the columns in order, from the bias on, whatever the width of the machine's vectors: with -ffp-contract=off
   all targets and both kernels give the same bits. */

#include <math.h>
#include <string.h>

#if MODEL_INT8
typedef int8_t model_weight;
#else
typedef float model_weight;
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Loops over sums are unrolled, or the sums would live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* Floats that one register of the target holds. */
#if defined(__GNUC__) && defined(__AVX512F__)
#define VECTOR 16
#elif defined(__GNUC__) && defined(__AVX__)
#define VECTOR 8
#elif defined(__GNUC__) && (defined(__SSE2__) || defined(__aarch64__))
#define VECTOR 4
#else
#define VECTOR 1
#endif

#if VECTOR == 1
typedef float vector;
typedef model_weight packed;
#else
typedef float vector __attribute__((vector_size(4 * VECTOR), aligned(4), may_alias));
typedef model_weight packed __attribute__((vector_size(VECTOR * sizeof(model_weight)), aligned(1), may_alias));
#endif

/* Weights lie in tiles of TILE rows, column by column: [tile][column][row of the tile], the last tile padded. A pass
   sums AT_ONCE vectors of rows side by side: enough to hide the latency of an addition, and where a register holds one
   float, a whole tile, so that one load of x serves 16 sums and no sum leaves its register. */
enum { TILE = 16, AT_ONCE = VECTOR == 1 ? 16 : 8 };
enum { SPAN = VECTOR == 16 ? 64 : AT_ONCE * VECTOR };        /* rows of one pass */
enum { BLOCK = VECTOR == 16 ? 8 : VECTOR == 8 ? 4 : 2 };     /* rows of one pass over all lanes */
enum { VECTORS = (MODEL_LANES + VECTOR - 1) / VECTOR };      /* vectors that hold one value of all lanes */

typedef struct {
    int rows, columns;
    const model_weight *weight;
    const float *bias, *scale; /* [rows], padded to whole tiles; the scale serves int8 weights alone */
} layer;

INLINE vector widened(const model_weight *w)
{
#if MODEL_INT8 && VECTOR > 1
    return __builtin_convertvector(*(const packed *)(const void *)w, vector);
#elif MODEL_INT8
    return (float)*w;
#else
    return *(const vector *)(const void *)w;
#endif
}

/* `n` vectors of rows from `row` on, which starts a tile or ends within one; the first `columns` of their sums. */
INLINE void pass(const int n, const layer *of, int columns, int row, const float *x, float *y)
{
    const model_weight *w = of->weight + row / TILE * TILE * of->columns + row % TILE;
    vector sum[AT_ONCE];
    UNROLL for (int i = 0; i < n; i++)
#if MODEL_INT8
        sum[i] = (vector){0};
#else
        sum[i] = *(const vector *)(const void *)(of->bias + row + i * VECTOR);
#endif
    for (int column = 0; column < columns; column++) {
        const model_weight *at = w + column * TILE;
        UNROLL for (int i = 0; i < n; i++)
            sum[i] += widened(at + i * VECTOR / TILE * TILE * of->columns + i * VECTOR % TILE) * x[column];
    }
    UNROLL for (int i = 0; i < n; i++) {
        const int to = row + i * VECTOR;
#if MODEL_INT8
        sum[i] = sum[i] * *(const vector *)(const void *)(of->scale + to) +
                 *(const vector *)(const void *)(of->bias + to);
#endif
        *(vector *)(void *)(y + to) = sum[i];
    }
}

/* One robot: registers run over rows; the first `columns` of the sums. y has room for whole tiles. */
static void dense_one(const layer *of, int columns, const float *x, float *y)
{
    int row = 0;
    for (; row + SPAN <= of->rows; row += SPAN)
        pass(SPAN / VECTOR, of, columns, row, x, y);
#if VECTOR > 1
    for (; row < of->rows; row += TILE)
        pass(TILE / VECTOR, of, columns, row, x, y);
#else
    for (; row < of->rows; row += 4)
        pass(4, of, columns, row, x, y);
#endif
}

/* Many futures: registers run over lanes, and a weight that was read serves all of them. `begun` [rows] are the sums
   over the first `column` columns. */
static void dense_lanes(const layer *of, const float *begun, int first, const float *x, float *y)
{
    for (int row = 0; row < of->rows; row += BLOCK) {
        const model_weight *w = of->weight + row / TILE * TILE * of->columns + row % TILE;
        vector sum[BLOCK * VECTORS];
        UNROLL for (int i = 0; i < BLOCK * VECTORS; i++)
#if MODEL_INT8
            sum[i] = (vector){0};
#else
            sum[i] = (vector){0} + begun[row + i / VECTORS];
#endif
        for (int column = first; column < of->columns; column++) {
            UNROLL for (int i = 0; i < BLOCK * VECTORS; i++) {
                const int lane = i % VECTORS * VECTOR;
                sum[i] += *(const vector *)(const void *)(x + column * MODEL_LANES + lane) *
                          (float)w[column * TILE + i / VECTORS];
            }
        }
        UNROLL for (int i = 0; i < BLOCK * VECTORS; i++) {
            const int to = row + i / VECTORS;
#if MODEL_INT8
            sum[i] = sum[i] * of->scale[to] + begun[to];
#endif
            *(vector *)(void *)(y + to * MODEL_LANES + i % VECTORS * VECTOR) = sum[i];
        }
    }
}

/* y = W x + b, where all lanes have the same first `shared` columns of x: those are summed once. */
static void dense_shared(const layer *of, int shared, const float *x, float *y)
{
    float same[MODEL_LAYER_MAX], begun[MODEL_LAYER_MAX + SPAN]; /* more than is written, or compilers warn of what may be */
    for (int column = 0; column < shared; column++)
        same[column] = x[column * MODEL_LANES];
    dense_one(of, shared, same, begun);
    dense_lanes(of, begun, shared, x, y);
}

INLINE void dense_from(const int lanes, const int shared, const layer *of, const float *x, float *y)
{
    if (lanes == 1)
        dense_one(of, of->columns, x, y);
    else if (shared > 0)
        dense_shared(of, shared, x, y);
    else
        dense_lanes(of, of->bias, 0, x, y);
}

INLINE void dense(const int lanes, const layer *of, const float *x, float *y)
{
    dense_from(lanes, 0, of, x, y);
}

/* Within 5e-7 of tanh for every float, and NaN for NaN: x P(x^2) / Q(x^2), fitted to the smallest largest relative
   error on |x| <= 9.02, beyond which tanh is 1 to the last bit. All terms have one sign: nothing cancels. */
INLINE float tanh_of(float x)
{
    float size = fabsf(x);
    size = size > 9.02f ? 9.02f : size;
    const float z = size * size;
    float p = 1.7159121e-02f, q = z + 4.2297481e+02f;
    p = p * z + 2.6518413e+01f;
    q = q * z + 3.3331042e+04f;
    p = p * z + 4.5015327e+03f;
    q = q * z + 6.0182974e+05f;
    p = p * z + 1.7237812e+05f;
    q = q * z + 1.2883556e+06f;
    p = p * z + 1.2883556e+06f;
    return copysignf(size * p / q, x);
}

INLINE void tanh_all(int n, const float *from, float *to)
{
    for (int i = 0; i < n; i++)
        to[i] = tanh_of(from[i]);
}
