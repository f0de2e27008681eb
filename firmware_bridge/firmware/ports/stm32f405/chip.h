/* STM32F405 as this port uses it: USART1, the timer TIM2, and what brings them to life (reference manual RM0090). */
#ifndef RTSYSID_CHIP_H
#define RTSYSID_CHIP_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define INTERRUPTS 82
#ifndef TIMER_HZ
#define TIMER_HZ 1000000000u /* of the emulated TIM2: 1 per nanosecond of virtual time; 84 MHz on a real one */
#endif

#define TIM2_CR1 REGISTER(0x40000000u)
#define TIM2_EGR REGISTER(0x40000014u)
#define TIM2_CNT REGISTER(0x40000024u)
#define TIM2_PSC REGISTER(0x40000028u)
#define TIM2_ARR REGISTER(0x4000002Cu)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define RCC_TIM2 1u

/* Let TIM2 count through all 32 bits, once each `divider` of its clock's ticks. */
static inline void timer_start(uint32_t divider)
{
    RCC_APB1ENR |= RCC_TIM2;
    TIM2_PSC = divider - 1u;
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_EGR = 1u; /* take both over */
    TIM2_CR1 = 1u;
}

static inline uint32_t timer_read(void) { return TIM2_CNT; }

#endif
