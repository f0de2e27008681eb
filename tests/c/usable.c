/* Which predictions a controller may use: prints a line for each status, fresh, with an old sample, and received long ago. */
#include <stdio.h>

#include "app.h"

int main(void)
{
    for (int status = 0; status < 256; status++) {
        struct app_prediction p = {.status = (uint8_t)status, .age_us = 900u, .received_us = 0xFFFFFF00u};
        bool fresh = app_usable(&p, 0xFFFFFF64u, 1000u);
        bool waited = app_usable(&p, 0x00000065u, 1000u);
        p.age_us = 1001u;
        printf("%d %d %d\n", fresh, app_usable(&p, 0xFFFFFF00u, 1000u), waited);
    }
    return 0;
}
