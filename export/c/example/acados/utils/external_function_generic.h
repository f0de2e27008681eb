/* What acados.c uses of acados, so that it opens in an editor without it; not in the generated model. */
struct blasfeo_dvec_args {
    struct blasfeo_dvec *x;
    int xi;
};
struct blasfeo_dmat_args {
    struct blasfeo_dmat *A;
    int ai, aj;
};
