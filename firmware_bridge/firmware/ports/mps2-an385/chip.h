/* Arm's MPS2 board with a Cortex-M3, application note 385: the peripherals of AN386, and no floating-point unit. */
#ifndef RTSYSID_CHIP_AN385_H
#define RTSYSID_CHIP_AN385_H

#define CHIP "mps2-an385"
#include "../mps2-an386/chip.h"

#endif
