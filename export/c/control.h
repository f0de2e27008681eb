#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "example/control_sizes.h"
#endif

/* Room for the gradient of a forecast of up to `ticks` ticks, in floats; for many plans at once, MODEL_LANES times as much. */
#define MODEL_KEPT_TICK (2 * MODEL_CHANNELS + MODEL_CODES + 5 * MODEL_HIDDEN + MODEL_TARGETS)
#define MODEL_KEPT_FIXED (2 * MODEL_TAPS * MODEL_CHANNELS + MODEL_STATE + 4 * MODEL_HIDDEN + MODEL_CODE + MODEL_OUTPUTS + \
                          5 * MODEL_TARGETS_PADDED + 2 * MODEL_LAYER_MAX + 4 * MODEL_BACK_MAX)
#define MODEL_KEPT_ROOM(ticks) (MODEL_KEPT_FIXED + (ticks) * MODEL_KEPT_TICK)

/* A forecast with all that its gradient needs. The caller sets `longest` and `room`, and owns the room. */
typedef struct {
    uint32_t longest; /* ticks that the room is made for */
    uint32_t ticks;   /* of the forecast that is kept */
    uint32_t age;     /* of its first row */
    float *room;      /* [MODEL_KEPT_ROOM(longest)] */
} model_kept;

extern const uint32_t model_kept_fixed, model_kept_tick; /* floats */

/* Put the inputs u [MODEL_INPUTS] that were decided in the place of those that the last step was given; return the outputs
   of the next tick. Before the first step it does nothing. */
const float *model_decide(model_state *m, const float *u);

/* Predict as model_forecast does, and keep what the gradient needs. Return 0, or -1, with nothing done, where there are more
   ticks than the room is made for. */
int model_keep(const model_state *m, model_kept *kept, const float *u, uint32_t ticks, float *y);

/* The same from a given window [MODEL_TAPS][MODEL_CHANNELS], state [MODEL_STATE] and age of the newest row. */
int model_keep_from(model_kept *kept, const float *window, const float *state, uint32_t age, const float *u, uint32_t ticks,
                    float *y);

/* Take dy [ticks][MODEL_OUTPUTS], the derivative of a cost by each output of the forecast that is kept, back to du
   [ticks][MODEL_INPUTS], its derivative by each input. The forecast stays: any number of costs may follow. */
void model_gradient(model_kept *kept, const float *dy, float *du);

/* Both for many plans: u [plans][ticks][MODEL_INPUTS], dy [plans][ticks][MODEL_OUTPUTS] -> du as u. Return as model_keep. */
int model_gradient_plans(model_kept *lanes, const float *window, const float *state, uint32_t age, const float *u,
                         const float *dy, uint32_t plans, uint32_t ticks, float *du);

/* The derivative of each output of a forecast by each input: [ticks][MODEL_OUTPUTS][ticks][MODEL_INPUTS]. Return as
   model_keep. */
int model_jacobian(model_kept *lanes, const float *window, const float *state, uint32_t age, const float *u, uint32_t ticks,
                   float *jacobian);

/* One tick as a linear map: the derivatives of the next outputs, then of the next state, by the window, whose newest row has
   the inputs of now, and by the state. rows_of is MODEL_OUTPUTS + MODEL_STATE:
   of_window [rows_of][MODEL_TAPS][MODEL_CHANNELS], of_state [rows_of][MODEL_STATE]. The matrices A and B of
   x = (window before now, outputs of now, state) are parts of them. Return as model_keep; the room is for 1 tick. */
int model_linearise(model_kept *lanes, const float *window, const float *state, uint32_t age, float *of_window,
                    float *of_state);
