/* Queue from the sampling interrupt to the main loop: one writer, one reader, no locks, on one core.
 *
 * Everything that both sides use is volatile: the compiler must not publish a slot before it is filled.
 */
#ifndef RTSYSID_CAPTURE_H
#define RTSYSID_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "messages.h"

#ifndef CAPTURE_SLOTS
#define CAPTURE_SLOTS 8u /* a power of two: samples that may wait for the main loop */
#endif
_Static_assert((CAPTURE_SLOTS & (CAPTURE_SLOTS - 1u)) == 0 && CAPTURE_SLOTS <= 128u, "indices wrap at 256");

struct capture {
    volatile uint8_t written, read; /* counts, modulo 256 */
    volatile uint32_t missed;       /* captured with no slot free, since boot */
    struct {
        volatile uint32_t t_us;
        volatile uint8_t bytes[WIRE_MAX_PAYLOAD];
    } slot[CAPTURE_SLOTS];
};

static inline void capture_put(struct capture *c, uint32_t t_us, const uint8_t *bytes, uint8_t size)
{
    uint8_t written = c->written;
    if ((uint8_t)(written - c->read) >= CAPTURE_SLOTS) {
        c->missed = c->missed + 1u;
        return;
    }
    c->slot[written % CAPTURE_SLOTS].t_us = t_us;
    for (uint8_t i = 0; i < size; i++) c->slot[written % CAPTURE_SLOTS].bytes[i] = bytes[i];
    c->written = (uint8_t)(written + 1u);
}

static inline bool capture_get(struct capture *c, uint32_t *t_us, uint8_t *bytes, uint8_t size)
{
    uint8_t read = c->read;
    if (read == c->written) return false;
    *t_us = c->slot[read % CAPTURE_SLOTS].t_us;
    for (uint8_t i = 0; i < size; i++) bytes[i] = c->slot[read % CAPTURE_SLOTS].bytes[i];
    c->read = (uint8_t)(read + 1u);
    return true;
}

/* Throw away what waits, and return how many samples that were. */
static inline uint8_t capture_clear(struct capture *c)
{
    uint8_t written = c->written, waiting = (uint8_t)(written - c->read);
    c->read = written;
    return waiting;
}

#endif
