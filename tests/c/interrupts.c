/* Let the sampling interrupt come after every single instruction of what the main loop does with the capture queue.
 *
 * Prints, for each action: instructions tried, and faults: samples left after a stop, taken out of order, changed, or
 * not counted. On x86 the processor's trap flag stops after each instruction; elsewhere a timer interrupts at random.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>

#include "app_state.h"
#include "port.h"

uint32_t port_time_us(void) { static uint32_t t; return t += 7; }
size_t port_read(uint8_t *b, size_t n) { (void)b; (void)n; return 0; }
size_t port_write(const uint8_t *b, size_t n) { (void)b; return n; }
void port_safe(void) {}
void port_health(uint32_t *a, uint32_t *b) { *a = *b = 0; }

static volatile uint32_t captured; /* samples that the interrupt gave to the stream */
static volatile long left;         /* instructions until the interrupt; -1: never */
static volatile unsigned long interrupts;

static void sample(void)
{
    uint8_t value[4];
    uint32_t number = captured;
    put_u32(value, number);
    if (!app_streaming()) return;
    captured = number + 1u;
    app_sample(number, value);
}

#if defined __x86_64__
#define STEPS 1
#define TRAP_FLAG 0x100
static void trap_no_more(void *context) { ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG; }
#else
#define STEPS 0
static void trap_no_more(void *context) { (void)context; }
#endif

static void interrupt(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    if (left > 0) left--;
    if (left != 0) return;
    left = -1;
    interrupts++;
    trap_no_more(context);
    sample();
}

#if STEPS
static void step(int on)
{
    if (on) __asm volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
    else __asm volatile("pushfq\n andq $~0x100, (%%rsp)\n popfq" ::: "memory", "cc");
}
#else
#define STEPS 0
static void step(int on)
{
    struct itimerval when = {{0, 0}, {0, on ? 1 + rand() % 20 : 0}};
    if (on) left = 1;
    setitimer(ITIMER_REAL, &when, NULL);
}
#endif

static void start(void)
{
    app.streams = 1u;
    __asm volatile("" ::: "memory");
    for (int i = 0; i < 3; i++) sample();
}

static void drain(void) { send_samples(); }
static void bye(void) { app_bye(WIRE_REASON_FINISHED); }

/* Faults of one action with the interrupt after `instructions` of it. */
static unsigned attempt(void (*action)(void), int stops, long instructions)
{
    start();
    left = instructions;
    step(1);
    action();
    step(0);
    left = -1;
    unsigned faults = stops && app.capture.written != app.capture.read; /* nothing may be left */
    send_samples();
    faults += session_samples() != captured; /* each one is counted */
    session_stop();
    app.tx.waiting = app.tx.first = 0;
    return faults;
}

static void try_all(const char *name, void (*action)(void), int stops)
{
    unsigned long faults = 0, begun = interrupts, before = begun - 1;
    for (long n = 1; n <= 100 || (STEPS && interrupts > before); n += 1 + n / 8) {
        before = interrupts;
        faults += attempt(action, stops, n);
    }
    printf("%s %lu %lu\n", name, interrupts - begun, faults);
}

int main(void)
{
    static const uint8_t table[4];
    static const struct app_board board = {
        .firmware = "x", .schema = table, .schema_size = 4, .schema_hash = 1, .channels = 1, .sample_size = 4,
        .period_us = 1000,
    };
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_sigaction = interrupt;
    act.sa_flags = SA_SIGINFO;
    sigaction(STEPS ? SIGTRAP : SIGALRM, &act, NULL);
    left = -1;
    app_start(&board);
    app.ready = true;
    try_all("stop", session_stop, 1);
    try_all("finish", session_finish, 1);
    try_all("bye", bye, 1);
    try_all("drain", drain, 0);
    return 0;
}
