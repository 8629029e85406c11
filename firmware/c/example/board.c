// Start-up and drivers. Names and numbers of registers are those of the LM3S6965 data sheet.

#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC REGISTER(0x400FE060)
#define RCGC1 REGISTER(0x400FE104)
#define SYSDIV_16_USED (15u << 23 | 1u << 22)

#define SYST_CSR REGISTER(0xE000E010)
#define SYST_RVR REGISTER(0xE000E014)
#define SYST_CVR REGISTER(0xE000E018)
#define COUNTFLAG (1u << 16)

#define NVIC_ISER0 REGISTER(0xE000E100)
#define UART0_NUMBER 5

#define UART_DR REGISTER(0x4000C000)
#define UART_FR REGISTER(0x4000C018)
#define UART_IBRD REGISTER(0x4000C024)
#define UART_FBRD REGISTER(0x4000C028)
#define UART_LCRH REGISTER(0x4000C02C)
#define UART_CTL REGISTER(0x4000C030)
#define UART_IM REGISTER(0x4000C038)
#define UART_ICR REGISTER(0x4000C044)
#define RXFE (1u << 4)
#define TXFF (1u << 5)
#define RXIM (1u << 4)
#define TXIM (1u << 5)
#define RTIM (1u << 6)

#define PERIOD (HZ / TICK_HZ)

// What the library looks for when it asks how deep the stack has been.
#define PAINT 0xCCCCCCCCu

extern uint32_t data_start[], data_end[], data_first[], bss_start[], bss_end[];

int main(void);

// Periods of SysTick that have begun.
static volatile uint32_t periods;

// What came and was not taken; a byte more than it holds is lost, and with it the line that it belongs to.
static volatile uint8_t received[128];
static volatile uint32_t received_in, received_out;

void board_start(void)
{
    RCC |= SYSDIV_16_USED;
    RCGC1 |= 1u << 16 | 1u;

    SYST_RVR = PERIOD - 1;
    SYST_CVR = 0;
    SYST_CSR = 7;

    // 12.5 MHz / (16 × 115200) = 6 + 50/64; eight bits, with FIFO
    UART_IBRD = 6;
    UART_FBRD = 50;
    UART_LCRH = 3u << 5 | 1u << 4;
    UART_IM = RXIM | RTIM;
    UART_CTL = 1u << 9 | 1u << 8 | 1u;
    NVIC_ISER0 = 1u << UART0_NUMBER;
}

// The period that has begun and how far it has come, from any priority. `main` or the library may have masked interrupts.
static uint32_t now(uint32_t *elapsed)
{
    uint32_t masked, current, begun;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(masked)::"memory");
    current = SYST_CVR;
    // Reading it clears the flag, so whoever reads it counts the period.
    if (SYST_CSR & COUNTFLAG) {
        current = SYST_CVR;
        periods = periods + 1;
    }
    begun = periods;
    __asm volatile("msr primask, %0" ::"r"(masked) : "memory");
    // It wraps on reaching 0, which so is the first tick of a period.
    *elapsed = current == 0 ? 0 : PERIOD - current;
    return begun;
}

uint32_t board_ticks(void)
{
    uint32_t elapsed, begun = now(&elapsed);
    return begun * PERIOD + elapsed;
}

uint32_t board_ms(void)
{
    uint32_t elapsed, begun = now(&elapsed);
    return begun * (1000 / TICK_HZ) + elapsed / (HZ / 1000);
}

int board_has_bytes(void)
{
    return received_in != received_out;
}

size_t board_read(uint8_t *bytes, size_t room)
{
    size_t taken = 0;
    while (taken < room && board_has_bytes()) {
        bytes[taken++] = received[received_out % sizeof received];
        received_out = received_out + 1;
    }
    return taken;
}

size_t board_write(const uint8_t *bytes, size_t length)
{
    size_t sent = 0;
    while (sent < length && !(UART_FR & TXFF))
        UART_DR = bytes[sent++];
    if (sent < length) {
        // Room to send wakes the firmware. The interrupt's handler changes this too.
        mask();
        UART_IM |= TXIM;
        unmask();
    }
    return sent;
}

static void systick(void)
{
    uint32_t elapsed;
    now(&elapsed);
    on_tick();
}

static void uart0(void)
{
    // Cleared before there is a look: what comes after that interrupts again.
    UART_IM &= ~TXIM;
    UART_ICR = RXIM | RTIM | TXIM;
    while (!(UART_FR & RXFE)) {
        uint8_t byte = (uint8_t)UART_DR;
        if (received_in - received_out < sizeof received) {
            received[received_in % sizeof received] = byte;
            received_in = received_in + 1;
        }
    }
}

static void fault(void)
{
    for (;;) {
    }
}

void reset(void)
{
    uint32_t *from = data_first, *to, *top;
    for (to = data_start; to < data_end;)
        *to++ = *from++;
    for (to = bss_start; to < bss_end;)
        *to++ = 0;
    // Up to what this function itself may use.
    __asm volatile("mov %0, sp" : "=r"(top));
    for (to = stack_end; to < top - 16;)
        *to++ = PAINT;
    main();
    fault();
}

typedef void (*handler)(void);

// The linker script puts the first word before them, where the stack starts.
__attribute__((section(".vectors"), used)) static const handler vectors[] = {
    reset, fault, fault, fault, fault, fault, 0,
    0, 0, 0, fault, fault, 0, fault, systick,
    [15 + UART0_NUMBER] = uart0,
};
