#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "whole_plan.c"
#endif

/* ---- acados: a forecast as discrete dynamics of the type "generic", with its exact Jacobian.

   One stage is a whole plan: its inputs are those of all ticks, u [MODEL_HORIZON][MODEL_INPUTS], and the state that it leads
   to is the forecast, y [MODEL_HORIZON][MODEL_OUTPUTS]. The state before it is not read. The parameters [MODEL_PARAMETERS] are
   what rtsysid's casadi_state gives. One call at a time: both functions compute in static memory.
   Ref: acados, external_function_generic.h and ocp_nlp_dynamics_disc.c. */

#include "acados/utils/external_function_generic.h"
#include "blasfeo/include/blasfeo_common.h"

/* in: state, inputs; out: the next state. */
int model_acados(void **in, void **out, void *parameters);
int model_acados(void **in, void **out, void *parameters)
{
    static one_call call;
    const struct blasfeo_dvec_args *u = in[1], *y = out[0];
    const double *arg[] = {parameters, &BLASFEO_DVECEL(u->x, u->xi)};
    keep_call(arg, &call);
    widened_to(call.y, FORECAST, &BLASFEO_DVECEL(y->x, y->xi));
    return 0;
}

/* out: the next state, and its derivatives by inputs and state, transposed: [PLANNED + FORECAST][FORECAST]. */
int model_acados_jacobian(void **in, void **out, void *parameters);
int model_acados_jacobian(void **in, void **out, void *parameters)
{
    static jacobian_call call;
    const struct blasfeo_dvec_args *u = in[1];
    const struct blasfeo_dmat_args *to = out[1];
    const double *arg[] = {parameters, &BLASFEO_DVECEL(u->x, u->xi)};
    model_acados(in, out, parameters);
    differentiate(arg, &call);
    for (int output = 0; output < FORECAST; output++) {
        for (int input = 0; input < PLANNED; input++)
            BLASFEO_DMATEL(to->A, to->ai + input, to->aj + output) = (double)call.jacobian[output * PLANNED + input];
        for (int state = 0; state < FORECAST; state++)
            BLASFEO_DMATEL(to->A, to->ai + PLANNED + state, to->aj + output) = 0.0;
    }
    return 0;
}
