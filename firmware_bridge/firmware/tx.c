#include "tx.h"

#include <string.h>

#include "port.h"

bool tx_put(struct tx *tx, const uint8_t *frame, size_t size, size_t reserve)
{
    if (size + reserve > TX_RING - tx->waiting) {
        tx->dropped++;
        return false;
    }
    size_t at = (tx->first + tx->waiting) % TX_RING;
    size_t ahead = TX_RING - at < size ? TX_RING - at : size;
    memcpy(tx->ring + at, frame, ahead);
    memcpy(tx->ring, frame + ahead, size - ahead);
    tx->waiting += size;
    tx->frames++;
    if (tx->waiting > tx->high_water) tx->high_water = (uint16_t)tx->waiting;
    return true;
}

void tx_pump(struct tx *tx)
{
    while (tx->waiting) {
        size_t ahead = TX_RING - tx->first < tx->waiting ? TX_RING - tx->first : tx->waiting;
        size_t taken = port_write(tx->ring + tx->first, ahead);
        tx->first = (tx->first + taken) % TX_RING;
        tx->waiting -= taken;
        if (taken < ahead) return;
    }
}
