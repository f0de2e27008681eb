#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "gradient.c"
#endif

/* ---- The forecast of a whole plan for solvers that compute in double: arg[0] is the state of the model, arg[1] the plan. */

#ifndef MODEL_HORIZON
#define MODEL_HORIZON 40
#endif

enum {
    MODEL_PARAMETERS = MODEL_TAPS * MODEL_CHANNELS + MODEL_STATE + 1,
    PLANNED = MODEL_HORIZON * MODEL_INPUTS,
    FORECAST = MODEL_HORIZON * MODEL_OUTPUTS
};

/* Everything that a forecast needs, or its Jacobian. */
typedef struct {
    float state[MODEL_PARAMETERS], u[PLANNED], y[FORECAST], dy[FORECAST], du[PLANNED];
    float room[MODEL_KEPT_ROOM(MODEL_HORIZON)];
} one_call;
typedef struct {
    float state[MODEL_PARAMETERS], u[PLANNED], jacobian[FORECAST * PLANNED];
    float room[MODEL_LANES * MODEL_KEPT_ROOM(MODEL_HORIZON)];
} jacobian_call;

static void narrowed(const double *from, int n, float *to)
{
    for (int i = 0; i < n; i++)
        to[i] = from != NULL ? (float)from[i] : 0.0f;
}

static void widened_to(const float *from, int n, double *to)
{
    for (int i = 0; to != NULL && i < n; i++)
        to[i] = (double)from[i];
}

static uint32_t age_in(const float *state)
{
    const float age = state[MODEL_PARAMETERS - 1];
    return age > 0.0f && age < 1e9f ? (uint32_t)age : 0;
}

static void take_arguments(const double **arg, float *state, float *u)
{
    narrowed(arg[0], MODEL_PARAMETERS, state);
    narrowed(arg[1], PLANNED, u);
}

static model_kept keep_call(const double **arg, one_call *call)
{
    model_kept kept = {.longest = MODEL_HORIZON, .room = call->room};
    take_arguments(arg, call->state, call->u);
    model_keep_from(&kept, call->state, call->state + MODEL_TAPS * MODEL_CHANNELS, age_in(call->state), call->u, MODEL_HORIZON,
                    call->y);
    return kept;
}

static void differentiate(const double **arg, jacobian_call *call)
{
    model_kept lanes = {.longest = MODEL_HORIZON, .room = call->room};
    take_arguments(arg, call->state, call->u);
    model_jacobian(&lanes, call->state, call->state + MODEL_TAPS * MODEL_CHANNELS, age_in(call->state), call->u, MODEL_HORIZON,
                   call->jacobian);
}
