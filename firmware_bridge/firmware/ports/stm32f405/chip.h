/* STM32F405 as this port uses it: USART1 on PA9 and PA10, and the timer TIM2 (reference manual RM0090).

   Written for the emulator, where it is tested; a real board runs it on the internal 16 MHz oscillator, untried. */
#ifndef RTSYSID_CHIP_H
#define RTSYSID_CHIP_H

#include <stdint.h>

#ifndef REGISTER /* a test puts registers of its own here */
#define REGISTER(address) (*(volatile uint32_t *)(address))
#endif

#define CHIP "stm32f405"
#define INTERRUPTS 82
#define UART_INTERRUPT 37
#ifndef TIMER_HZ
#define CORE_HZ 168000000u /* of the emulator; 16 MHz on a real one */
#define TIMER_HZ 1000000000u /* of the emulated TIM2: 1 per nanosecond of virtual time; 16 MHz on a real one */
#endif

#define TIM2_CR1 REGISTER(0x40000000u)
#define TIM2_EGR REGISTER(0x40000014u)
#define TIM2_CNT REGISTER(0x40000024u)
#define TIM2_PSC REGISTER(0x40000028u)
#define TIM2_ARR REGISTER(0x4000002Cu)
#define RCC_AHB1ENR REGISTER(0x40023830u) /* bit 0: GPIOA */
#define RCC_APB1ENR REGISTER(0x40023840u) /* bit 0: TIM2 */
#define RCC_APB2ENR REGISTER(0x40023844u) /* bit 4: USART1 */
#define GPIOA_MODER REGISTER(0x40020000u)
#define GPIOA_AFRH REGISTER(0x40020024u)
#define USART1_SR REGISTER(0x40011000u)
#define USART1_DR REGISTER(0x40011004u)
#define USART1_BRR REGISTER(0x40011008u)
#define USART1_CR1 REGISTER(0x4001100Cu)
#define USART_ON 0x202Cu /* enabled, transmits, receives, interrupts when it has received or lost a byte */
#define USART_OVERRUN (1u << 3)
#define USART_RECEIVED (1u << 5)
#define UART_BYTE 1u /* events of uart_receive() */
#define UART_LOST 2u
#define NVIC_ISER(n) REGISTER(0xE000E100u + 4u * (n))

/* Let TIM2 count through all 32 bits, once each `divider` of its clock's ticks. */
static inline void timer_start(uint32_t divider)
{
    RCC_APB1ENR |= 1u;
    TIM2_PSC = divider - 1u;
    TIM2_ARR = 0xFFFFFFFFu;
    TIM2_EGR = 1u; /* take both over */
    TIM2_CR1 = 1u;
}

static inline uint32_t timer_read(void) { return TIM2_CNT; }

static inline void uart_start(void)
{
    RCC_AHB1ENR |= 1u;
    RCC_APB2ENR |= 1u << 4;
    GPIOA_MODER = (GPIOA_MODER & ~(0xFu << 18)) | 0xAu << 18; /* PA9, PA10: alternate function */
    GPIOA_AFRH = (GPIOA_AFRH & ~(0xFFu << 4)) | 0x77u << 4;   /* 7: USART1 */
    USART1_BRR = 16000000u / 115200u;
    USART1_CR1 = USART_ON;
    NVIC_ISER(UART_INTERRUPT / 32u) = 1u << UART_INTERRUPT % 32u;
}

static inline void uart_acknowledge(void) {} /* uart_receive() does it */

/* Take one event: a byte, a lost byte, both, or 0 for none. An overrun interrupts until the status is read with the
 * overrun in it and the data after that (RM0090, 30.6.1: ORE). It may come between the two reads of a byte, and is then
 * alone in the status: the data are read all the same, or the interrupt would never end. */
static inline unsigned uart_receive(uint8_t *byte)
{
    uint32_t status = USART1_SR;
    if (!(status & (USART_RECEIVED | USART_OVERRUN))) return 0;
    *byte = (uint8_t)USART1_DR;
    return (status & USART_RECEIVED ? UART_BYTE : 0u) | (status & USART_OVERRUN ? UART_LOST : 0u);
}

static inline int uart_writable(void) { return (USART1_SR & 1u << 7) != 0; }

static inline void uart_write(uint8_t byte) { USART1_DR = byte; }

#endif
