#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "whole_plan.c"
#endif

/* ---- CasADi: a forecast as an external function, with its exact Jacobian and adjoint.

   y = forecast(state, u): state [MODEL_PARAMETERS] is the window, the state of the cell and the age of the newest row, as
   rtsysid's casadi_state gives them; u is [MODEL_INPUTS x MODEL_HORIZON], y [MODEL_OUTPUTS x MODEL_HORIZON]. The state is a
   parameter: nothing is differentiated by it. Computed in float32. Ref: CasADi's documentation, section "external". */

typedef long long int casadi_int;

enum { ENTRIES = MODEL_INPUTS * MODEL_OUTPUTS * MODEL_HORIZON * (MODEL_HORIZON + 1) / 2 };

int forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem);
int forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem)
{
    one_call *call = (one_call *)(void *)w;
    (void)iw, (void)mem;
    keep_call(arg, call);
    widened_to(call->y, FORECAST, res[0]);
    return 0;
}

/* arg: state, u, y, and the derivative of a cost by y; res: that by the state, which is not computed, and by u. */
int adj1_forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem);
int adj1_forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem)
{
    one_call *call = (one_call *)(void *)w;
    (void)iw, (void)mem;
    model_kept kept = keep_call(arg, call);
    narrowed(arg[3], FORECAST, call->dy);
    model_gradient(&kept, call->dy, call->du);
    for (int i = 0; res[0] != NULL && i < MODEL_PARAMETERS; i++)
        res[0][i] = 0.0;
    widened_to(call->du, PLANNED, res[1]);
    return 0;
}

/* res: by the state, which has no entry, and by u: columns of inputs, each from its own tick on. */
int jac_forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem);
int jac_forecast(const double **arg, double **res, casadi_int *iw, double *w, int mem)
{
    jacobian_call *call = (jacobian_call *)(void *)w; /* the work vector that CasADi gives it */
    (void)iw, (void)mem;
    differentiate(arg, call);
    double *to = res[1];
    for (int column = 0; to != NULL && column < PLANNED; column++)
        for (int row = column / MODEL_INPUTS * MODEL_OUTPUTS; row < FORECAST; row++)
            *to++ = (double)call->jacobian[row * PLANNED + column];
    return 0;
}

static const casadi_int of_state[] = {MODEL_PARAMETERS, 1, 1}, of_u[] = {MODEL_INPUTS, MODEL_HORIZON, 1},
                        of_y[] = {MODEL_OUTPUTS, MODEL_HORIZON, 1}; /* the last 1: dense */

/* An output does not depend on later inputs. */
static const casadi_int *of_jacobian(void)
{
    static casadi_int pattern[2 + PLANNED + 1 + ENTRIES];
    casadi_int entries = 0;
    pattern[0] = FORECAST;
    pattern[1] = PLANNED;
    for (int column = 0; column < PLANNED; column++) {
        pattern[2 + column] = entries;
        for (int row = column / MODEL_INPUTS * MODEL_OUTPUTS; row < FORECAST; row++)
            pattern[2 + PLANNED + 1 + entries++] = row;
    }
    pattern[2 + PLANNED] = entries;
    return pattern;
}

static const casadi_int *of_nothing(void)
{
    static casadi_int pattern[2 + MODEL_PARAMETERS + 1] = {FORECAST, MODEL_PARAMETERS};
    return pattern;
}

/* What CasADi asks of each function: how many arguments and results, how large, and how much work space. */
#define ASKED(function, inputs, outputs, call)                                                                           \
    casadi_int function##_n_in(void);                                                                                    \
    casadi_int function##_n_in(void) { return inputs; }                                                                  \
    casadi_int function##_n_out(void);                                                                                   \
    casadi_int function##_n_out(void) { return outputs; }                                                                \
    int function##_work(casadi_int *sz_arg, casadi_int *sz_res, casadi_int *sz_iw, casadi_int *sz_w);                    \
    int function##_work(casadi_int *sz_arg, casadi_int *sz_res, casadi_int *sz_iw, casadi_int *sz_w)                     \
    {                                                                                                                    \
        *sz_arg = inputs, *sz_res = outputs, *sz_iw = 0;                                                                 \
        *sz_w = (casadi_int)((sizeof(call) + sizeof(double) - 1) / sizeof(double));                                      \
        return 0;                                                                                                        \
    }                                                                                                                    \
    const casadi_int *function##_sparsity_in(casadi_int i);                                                              \
    const casadi_int *function##_sparsity_in(casadi_int i) { return i == 0 ? of_state : i == 1 ? of_u : of_y; }          \
    const casadi_int *function##_sparsity_out(casadi_int i);

ASKED(forecast, 2, 1, one_call)
ASKED(adj1_forecast, 4, 2, one_call)
ASKED(jac_forecast, 3, 2, jacobian_call)

const casadi_int *forecast_sparsity_out(casadi_int i) { return i == 0 ? of_y : NULL; }
const casadi_int *adj1_forecast_sparsity_out(casadi_int i) { return i == 0 ? of_state : of_u; }
const casadi_int *jac_forecast_sparsity_out(casadi_int i) { return i == 0 ? of_nothing() : of_jacobian(); }

const char *forecast_name_in(casadi_int i);
const char *forecast_name_in(casadi_int i) { return i == 0 ? "state" : "u"; }
const char *forecast_name_out(casadi_int i);
const char *forecast_name_out(casadi_int i) { return i == 0 ? "y" : NULL; }
