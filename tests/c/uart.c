/* The UART of an STM32 (RM0090, 30.6.1), on which a byte comes before any access to a register; ports/cortex_m4/main.c
 * is compiled with it. Prints for each access: interrupts that were needed, bytes read, bytes counted as lost.
 */
#include <stdio.h>

#include "port.h"

void uart_interrupt(void);
void fault(void);

enum { OVERRUN = 1 << 3, RECEIVED = 1 << 5, STATUS = 0x40011000, DATA = 0x40011004 };

static uint32_t status, data, seen, scratch;
static int accesses, second_at;
static int sent;

static void byte_comes(void)
{
    sent++;
    if (status & RECEIVED) status |= OVERRUN; /* it is lost */
    else data = (uint32_t)sent, status |= RECEIVED;
}

volatile uint32_t *accessed(uint32_t address)
{
    static volatile uint32_t shown;
    if (accesses++ == second_at) byte_comes();
    if (address == STATUS) {
        shown = seen = status;
    } else if (address == DATA) {
        shown = data;
        status &= ~(uint32_t)RECEIVED;
        if (seen & OVERRUN) status &= ~(uint32_t)OVERRUN; /* the data are read after a status that had it */
        seen = 0;
    } else {
        return &scratch;
    }
    return &shown;
}

int main(void)
{
    for (second_at = 0; second_at < 8; second_at++) {
        uint8_t bytes[8];
        uint32_t lost_before, lost, stack;
        int interrupts = 0;
        port_health(&lost_before, &stack);
        status = seen = 0;
        accesses = sent = 0;
        byte_comes();
        while ((status & (RECEIVED | OVERRUN)) && interrupts < 100) interrupts++, uart_interrupt();
        size_t count = port_read(bytes, sizeof bytes);
        port_health(&lost, &stack);
        printf("%d %d %d %d\n", interrupts, sent, (int)count, (int)(lost - lost_before));
    }
    return 0;
}
