/* The transmit ring: it takes a whole frame or nothing, and never waits. */
#ifndef RTSYSID_TX_H
#define RTSYSID_TX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef TX_RING
#define TX_RING 2048u
#endif
#define TX_RESERVE 320u /* bytes that samples leave free, so that answers and heartbeats get through */

struct tx {
    uint8_t ring[TX_RING];
    size_t first, waiting;
    uint32_t frames, dropped;
    uint16_t high_water; /* most bytes ever waiting */
};

/* Store one frame if at least `reserve` bytes then are free; else count it as dropped. */
bool tx_put(struct tx *tx, const uint8_t *frame, size_t size, size_t reserve);

/* Give port_write() as many bytes as it takes. */
void tx_pump(struct tx *tx);

#endif
