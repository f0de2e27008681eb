/* The state of the link, and its name. */
#include "app_state.h"

struct app app;

uint8_t app_state(void)
{
    if (!app.ready) return WIRE_STATE_IDLE;
    if (app.lost) return WIRE_STATE_SAFE;
    return app.streams ? WIRE_STATE_STREAMING : WIRE_STATE_READY;
}
