/* The functions that an image supplies to startup.c. */
#ifndef RTSYSID_STARTUP_H
#define RTSYSID_STARTUP_H

#include "chip.h"

/* Called upon any exception that nothing else handles, and where main returns. Does not return. */
void fault(void);

void uart_interrupt(void);

static inline void sleep_until_interrupt(void)
{
#ifdef __arm__
    __asm volatile("wfi");
#endif
}

/* Interrupt, and so wake, each millisecond. */
static inline void systick_start(void)
{
    REGISTER(0xE000E014u) = CORE_HZ / 1000u - 1u;
    REGISTER(0xE000E018u) = 0;
    REGISTER(0xE000E010u) = 7u; /* on, interrupting, from the core's clock */
}

#endif
