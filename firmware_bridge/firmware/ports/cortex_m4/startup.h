/* What an image supplies to startup.c. */
#ifndef RTSYSID_STARTUP_H
#define RTSYSID_STARTUP_H

#include "chip.h"

/* Called upon any exception that nothing else handles, and where main returns. Does not return. */
void fault(void);

void uart_interrupt(void);

#endif
