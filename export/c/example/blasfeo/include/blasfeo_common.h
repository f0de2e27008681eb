/* What acados.c uses of BLASFEO, so that it opens in an editor without it; not in the generated model. */
struct blasfeo_dvec {
    double *pa;
};
struct blasfeo_dmat {
    double *pA;
    int m;
};
#define BLASFEO_DVECEL(vector, i) ((vector)->pa[i])
#define BLASFEO_DMATEL(matrix, i, j) ((matrix)->pA[(i) + (j) * (matrix)->m])
