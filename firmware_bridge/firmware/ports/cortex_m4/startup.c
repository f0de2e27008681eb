/* From reset to main on a Cortex-M, in C. The linker script of the board says where memory lies. */
#include <stdint.h>
#include <string.h>

#include "startup.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define FPU_FULL_ACCESS (0xFu << 20) /* coprocessors 10 and 11 */

extern uint8_t stack_top[], data_start[], data_end[], data_loaded[], bss_start[], bss_end[];

void reset(void);
int main(void);

static void unexpected(void) { fault(); }
__attribute__((weak)) void systick_interrupt(void) {} /* to wake is all it does */

void reset(void)
{
#ifdef __ARM_FP /* a Cortex-M3 has no such unit */
    CPACR |= FPU_FULL_ACCESS; /* before any float is touched */
#endif
    __asm volatile("dsb\n isb" ::: "memory");
    memcpy(data_start, data_loaded, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    main();
    fault();
}

__attribute__((weak)) void uart_interrupt(void) { fault(); } /* of an image without a wire */

#pragma GCC diagnostic ignored "-Woverride-init" /* below, the UART's is the exception from the line before it */

/* Stack pointer, 15 exceptions of the core, then the interrupts of the chip, of which only the UART's is used. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16 + INTERRUPTS] = {
    [0] = stack_top, [1] = reset, [2 ... 15 + INTERRUPTS] = unexpected,
    [15] = systick_interrupt, [16 + UART_INTERRUPT] = uart_interrupt,
};
