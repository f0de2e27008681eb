/* The firmware with a model on it, on a UART. It has no sensors: rows come as TRACE_SAMPLE. */
#include "uart_port.h"

int main(void)
{
    board_start();
    systick_start(CORE_HZ / 1000u);
    for (;;) {
        app_poll();
        if (uart_writable()) sleep_until_interrupt(); /* all is sent: until a byte comes or a millisecond is over */
    }
}
