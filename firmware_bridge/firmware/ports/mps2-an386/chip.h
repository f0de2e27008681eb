/* Arm's MPS2 board with a Cortex-M4F, application note 386, at 25 MHz: CMSDK UART 0 and timer 0, which counts down. */
#ifndef RTSYSID_CHIP_H
#define RTSYSID_CHIP_H

#include <stdint.h>

#ifndef REGISTER /* a test puts registers of its own here */
#define REGISTER(address) (*(volatile uint32_t *)(address))
#endif

#ifndef CHIP
#define CHIP "mps2-an386"
#endif
#define INTERRUPTS 32
#define UART_INTERRUPT 0
#define TIMER_HZ 25000000u
#define CORE_HZ 25000000u

#define TIMER0_CTRL REGISTER(0x40000000u)
#define TIMER0_VALUE REGISTER(0x40000004u)
#define TIMER0_RELOAD REGISTER(0x40000008u)
#define UART0_DATA REGISTER(0x40004000u)
#define UART0_STATE REGISTER(0x40004004u) /* bit 0: transmitter full, 1: received, 3: lost; a 1 clears bit 3 */
#define UART0_CTRL REGISTER(0x40004008u)
#define UART0_INTCLEAR REGISTER(0x4000400Cu)
#define UART0_BAUDDIV REGISTER(0x40004010u)
#define UART_BYTE 1u /* events of uart_receive() */
#define UART_LOST 2u
#define UART_ON 0xBu /* transmits, receives, interrupts when it has received */
#define NVIC_ISER(n) REGISTER(0xE000E100u + 4u * (n))

static uint32_t timer_divider, timer_before, timer_rest, timer_total;

static inline void timer_start(uint32_t divider)
{
    timer_divider = divider;
    TIMER0_RELOAD = TIMER0_VALUE = 0xFFFFFFFFu;
    TIMER0_CTRL = 1u;
}

/* The timer cannot divide: ticks are added up here, at least once each 171 seconds, by the main loop alone. */
static inline uint32_t timer_read(void)
{
    uint32_t now = ~TIMER0_VALUE, since = now - timer_before + timer_rest;
    timer_before = now;
    timer_rest = since % timer_divider;
    return timer_total += since / timer_divider;
}

static inline void uart_start(void)
{
    UART0_BAUDDIV = TIMER_HZ / 115200u;
    UART0_CTRL = UART_ON;
    NVIC_ISER(UART_INTERRUPT / 32u) = 1u << UART_INTERRUPT % 32u;
}

static inline void uart_acknowledge(void) { UART0_INTCLEAR = 2u; }

/* Take one event: a byte, a lost byte, both, or 0 for none. */
static inline unsigned uart_receive(uint8_t *byte)
{
    uint32_t status = UART0_STATE;
    if (status & 8u) UART0_STATE = 8u;
    if (status & 2u) *byte = (uint8_t)UART0_DATA;
    return (status & 2u ? UART_BYTE : 0u) | (status & 8u ? UART_LOST : 0u);
}

static inline int uart_writable(void) { return (UART0_STATE & 1u) == 0; }

static inline void uart_write(uint8_t byte) { UART0_DATA = byte; }

#endif
