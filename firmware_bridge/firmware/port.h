/* The five functions that a board supplies. All of them return at once; app_poll() calls them. */
#ifndef RTSYSID_PORT_H
#define RTSYSID_PORT_H

#include <stddef.h>
#include <stdint.h>

/* Microseconds of a clock that never stops and wraps at 2^32. Times given to app_sample() come from it, too. */
uint32_t port_time_us(void);

/* Move received bytes to `bytes`, at most `room`; return how many. */
size_t port_read(uint8_t *bytes, size_t room);

/* Transmit as many of `size` bytes as there is room for now; return how many. */
size_t port_write(const uint8_t *bytes, size_t size);

/* Put the outputs into their safe state: the host is gone or has stopped. Called at boot too; may be called twice. */
void port_safe(void);

/* Report the bytes that were received but lost since boot, and the least free stack so far in bytes (0: not known). */
void port_health(uint32_t *rx_overrun, uint32_t *stack_free);

#endif
