/* The functions of port.h on a UART of a Cortex-M, and the start of a board; for the one source file of an image's main. */
#ifndef RTSYSID_UART_PORT_H
#define RTSYSID_UART_PORT_H

#include "app.h"
#include "channels.h"
#include "port.h"
#include "startup.h"

#define RING 1024u /* a power of two: bytes that may wait for the main loop */

static volatile uint8_t ring[RING];
static volatile uint32_t came, taken, overrun; /* bytes since boot */
__attribute__((section(".noinit"))) static uint32_t boots; /* as the memory was before the reset */

void fault(void)
{
    for (;;) continue;
}

void uart_interrupt(void)
{
    uint8_t byte = 0;
    uart_acknowledge(); /* before reading, so that a byte that comes meanwhile interrupts again */
    for (unsigned event; (event = uart_receive(&byte)) != 0;) {
        bool stored = (event & UART_BYTE) && came - taken < RING;
        if (stored) {
            ring[came % RING] = byte;
            came = came + 1u;
        }
        if ((event & UART_BYTE) && !stored) overrun = overrun + 1u;
        if (event & UART_LOST) overrun = overrun + 1u;
    }
}

uint32_t port_time_us(void)
{
    interrupts_off(); /* a sampling interrupt may read the timer, too */
    uint32_t now = timer_read();
    interrupts_on();
    return now;
}

size_t port_read(uint8_t *bytes, size_t room)
{
    size_t count = 0;
    while (count < room && taken != came) {
        bytes[count++] = ring[taken % RING];
        taken = taken + 1u; /* last: from here on the interrupt may use the place again */
    }
    return count;
}

size_t port_write(const uint8_t *bytes, size_t size)
{
    size_t count = 0;
    while (count < size && uart_writable()) uart_write(bytes[count++]);
    return count;
}

void port_safe(void) {} /* it has no outputs */

void port_health(uint32_t *rx_overrun, uint32_t *stack_free)
{
    *rx_overrun = overrun;
    *stack_free = 0;
}

static inline void board_start(void)
{
    static struct app_board board = {
        .firmware = "rtsysid " CHIP, .schema = CHANNELS_TABLE, .schema_size = sizeof CHANNELS_TABLE,
        .schema_hash = CHANNELS_HASH, .channels = CHANNELS_COUNT, .sample_size = CHANNELS_SIZE,
        .period_us = CHANNELS_PERIOD_US, .timer_hz = 1000000u, .receive_window = RING,
        .reset_reason = WIRE_REASON_UNKNOWN,
    };
    board.boot_id = ++boots;
    timer_start(TIMER_HZ / 1000000u);
    uart_start();
    app_start(&board);
}

#endif
