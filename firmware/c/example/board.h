// The lm3s6965evb (Cortex-M3) as QEMU emulates it: its clock and its first serial port.

#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

// The processor's clock.
#define HZ 12500000u

// How often SysTick wakes the firmware.
#define TICK_HZ 100u

// Of the linker script.
extern uint32_t ram_start[], stack_end[], stack_start[];

// Starts clocks, SysTick and serial port.
void board_start(void);

// Ticks of the processor's clock. They wrap.
uint32_t board_ticks(void);

// Milliseconds since the start. They wrap.
uint32_t board_ms(void);

// Takes at most `room` bytes that came, and gives how many it took.
size_t board_read(uint8_t *bytes, size_t room);

// Sends as many of the bytes as the port has room for, and gives how many that were.
size_t board_write(const uint8_t *bytes, size_t length);

// Whether bytes have come that nobody took. Asked with interrupts masked it stays true until sleep.
int board_has_bytes(void);

// What the firmware does in each interrupt of SysTick.
void on_tick(void);

static inline void mask(void) { __asm volatile("cpsid i" ::: "memory"); }
static inline void unmask(void) { __asm volatile("cpsie i" ::: "memory"); }
static inline void sleep(void) { __asm volatile("dsb\n\twfi" ::: "memory"); }

#endif
