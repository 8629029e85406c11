// A firmware in C with a loop, an interrupt that works, and a probe of its own. What mote adds is marked.

#include "board.h"
#include "mote.h" // mote

// A quarter of the time between two ticks, in rounds of two instructions of 8 ns: what the emulator takes for one.
#define ROUNDS (1000000000u / TICK_HZ / 4 / 16)

static volatile uint32_t ticks;

void on_tick(void)
{
    uint32_t rounds = ROUNDS;
    ticks = ticks + 1;
    __asm volatile("1: subs %0, #1\n\tbne 1b" : "+r"(rounds)::"cc");
}

// Two values of a probe; it fails now and then.
static const char *read_counter(void *context, int32_t *values) // mote
{
    uint32_t *samples = context;
    *samples += 1;
    if (*samples % 5 == 0)
        return "the counter does not answer";
    values[0] = (int32_t)*samples;
    values[1] = -(int32_t)*samples;
    return NULL;
}

static uint32_t samples;

static const mote_plugin plugins[] = { // mote
    {"get_counter", {"up", "down"}, read_counter, &samples},
};

static const mote_service services[] = { // mote
    {"McuLoad", "get_mcu_load", 1},
    {"McuRam", "get_mcu_ram", 1},
    {"Alive", "host_alive_check", 5},
    {"Counter", "get_counter", 1},
};

static const mote_config config = { // mote
    .client_number = 7,
    .ticks = board_ticks,
    .ram_start = ram_start,
    .stack_end = stack_end,
    .stack_start = stack_start,
    .reset_bits = MOTE_RESET_POWER_ON,
    .plugins = plugins,
    .plugin_count = sizeof plugins / sizeof plugins[0],
    .services = services,
    .service_count = sizeof services / sizeof services[0],
};

static mote_node node; // mote

// Reads, samples and sends what there is.
static void turn(void) // mote
{
    uint8_t bytes[32];
    const uint8_t *line;
    size_t length, sent;
    while ((length = board_read(bytes, sizeof bytes)) > 0)
        mote_receive(&node, bytes, length, board_ms());
    mote_poll(&node, board_ms());
    do {
        if (mote_outgoing(&node, board_ms(), &line, &length) != MOTE_ERROR_OK || length == 0)
            return;
        sent = board_write(line, length);
        mote_sent(&node, sent, board_ms());
    } while (sent == length);
}

int main(void)
{
    board_start();
    if (mote_init(&node, &config, board_ms()) != MOTE_ERROR_OK) // mote
        return 1;
    for (;;) {
        turn(); // mote
        mask();
        if (!board_has_bytes()) {
            mote_idle_enter(); // mote
            sleep();
            mote_idle_leave(); // mote
        }
        unmask();
    }
}
