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

/* Around what an interrupt must not see half done. */
static inline void interrupts_off(void)
{
#ifdef __arm__
    __asm volatile("cpsid i" ::: "memory");
#endif
}

static inline void interrupts_on(void)
{
#ifdef __arm__
    __asm volatile("cpsie i" ::: "memory");
#endif
}

void systick_interrupt(void); /* an image may supply it; without, it wakes and does nothing */

/* Interrupt, and so wake, each `ticks` of the core's clock, 2^24 at most. */
static inline void systick_start(uint32_t ticks)
{
    REGISTER(0xE000E014u) = ticks - 1u;
    REGISTER(0xE000E018u) = 0;
    REGISTER(0xE000E010u) = 7u; /* on, interrupting, from the core's clock */
}

#endif
