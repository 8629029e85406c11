// mote in a firmware written in C. Made by cbindgen from firmware/c/src; ci/checks/c-header compares.
//
// One core; a node is used by one thread at a time. Whoever comes meanwhile, as an interrupt or out of `sample`, gets
// MOTE_ERROR_BUSY, and nothing has happened. Time is a counter of milliseconds that may wrap, and that each call sees
// at least every 24 days.

#ifndef MOTE_H
#define MOTE_H

#include <stddef.h>
#include <stdint.h>

// Values that a plugin has at most.
#define MOTE_FIELDS 4

// Services that a node runs at most.
#define MOTE_SERVICES 8

// Bytes of a service's name at most.
#define MOTE_NAME 23

// Bytes of the name of a plugin or field at most.
#define MOTE_WORD 31

// A bit of `reset_bits`: power came.
#define MOTE_RESET_POWER_ON (1 << 0)

// A bit of `reset_bits`: the chip's reset pin.
#define MOTE_RESET_EXTERNAL (1 << 1)

// A bit of `reset_bits`: the supply was too low.
#define MOTE_RESET_BROWN_OUT (1 << 2)

// A bit of `reset_bits`: the watchdog bit.
#define MOTE_RESET_WATCHDOG (1 << 3)

// A bit of `reset_bits`: the firmware asked for it.
#define MOTE_RESET_SOFTWARE (1 << 4)

// Words of a `mote_node` beside its first 8 bytes.
#define MOTE_NODE_WORDS 738

// What a call says. If it is not OK, nothing has happened.
enum mote_error
#ifdef __cplusplus
  : uint32_t
#endif // __cplusplus
 {
  // It is done.
  MOTE_ERROR_OK = 0,
  // A pointer is null that must not be.
  MOTE_ERROR_NULL = 1,
  // The node was not begun by `mote_init`, or `mote_init` is called for it again.
  MOTE_ERROR_STATE = 2,
  // The node is in use by what this call interrupted, or was called from.
  MOTE_ERROR_BUSY = 3,
  // A text is empty, too long, or not UTF-8; or a field's name is not made of a-z, 0-9 and _, is `status`, or
  // stands there twice.
  MOTE_ERROR_TEXT = 4,
  // An interval is not 1 s to 604800 s, or two services have one name.
  MOTE_ERROR_SERVICE = 5,
  // There are too many services or plugins.
  MOTE_ERROR_TOO_MANY = 6,
  // The addresses of the RAM do not ascend, or are not those of words.
  MOTE_ERROR_RAM = 7,
};
#ifndef __cplusplus
typedef uint32_t mote_error;
#endif // __cplusplus

// Room for a node, all zeros before `mote_init`; as a static variable it is.
typedef struct mote_node {
  uint64_t first;
  size_t rest[MOTE_NODE_WORDS];
} mote_node;

// Takes a sample: writes a value for each field to `values` and returns null, or a sentence that says why there is
// none, which stays for ever. It has a millisecond or so. What it asks of the node in turn is MOTE_ERROR_BUSY.
typedef const char *(*mote_sampler)(void *context, int32_t *values);

// What the firmware itself can be asked to sample.
typedef struct mote_plugin {
  // By which services name it. It goes before a plugin of the library's with the same name.
  const char *name;
  // The names of its values in the report, each with its unit; null after the last one.
  const char *fields[MOTE_FIELDS];
  // Takes a sample.
  mote_sampler sample;
  // For `sample`.
  void *context;
} mote_plugin;

// A service that a node runs from its start.
typedef struct mote_service {
  // As the server names it: at most MOTE_NAME bytes.
  const char *name;
  // `get_mcu_load`, `get_mcu_ram`, `host_alive_check`, or one of the firmware's own.
  const char *plugin;
  // From one sample to the next, in seconds.
  uint32_t interval_s;
} mote_service;

// What a node is told when it begins. All zeros are a node with the number 0 and without anything to sample but
// `host_alive_check`.
typedef struct mote_config {
  // Its name at the server, of at most 63 bytes; null if it has a number.
  const char *client_name;
  // Its number at the server.
  uint32_t client_number;
  // The counter by which load is measured: it runs up through all 32 bits, in sleep too, and fast enough for 1000
  // ticks between two samples, but not half way round between two sleeps. It may be called with interrupts masked.
  // Null: there is no `get_mcu_load`.
  uint32_t (*ticks)(void);
  // Where RAM begins; null: there is no `get_mcu_ram`.
  const uint32_t *ram_start;
  // How far the stack may grow down. From here to its start it was painted with 0xCCCCCCCC at reset.
  const uint32_t *stack_end;
  // Where the stack starts, above the end of RAM.
  const uint32_t *stack_start;
  // Why the chip was reset: MOTE_RESET_… together.
  uint32_t reset_bits;
  // How often the watchdog has bitten since power came.
  uint32_t watchdog_resets;
  // The firmware's own plugins.
  const struct mote_plugin *plugins;
  // How many there are: at most 16.
  size_t plugin_count;
  // What runs until there are orders.
  const struct mote_service *services;
  // How many there are: at most MOTE_SERVICES.
  size_t service_count;
} mote_config;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Begins a node: it runs the services of `config` until it gets other orders.
//
// `node` is static, zeroed, and stays where it is for ever. `config` and its list of services are read and not kept;
// its texts, its plugins and what they point at stay for ever and unchanged. Counter and plugins are the whole
// firmware's: a later call for another node replaces them.
//
// # Safety
//
// As the comment says; each pointer is null or points at what its type says, and each text ends with a 0.
mote_error mote_init(struct mote_node *node,
                     const struct mote_config *config,
                     uint32_t now_ms);

// Takes bytes that came over the line.
//
// # Safety
//
// `node` is as `mote_init` asks, and `length` bytes can be read at `bytes`.
mote_error mote_receive(struct mote_node *node,
                        const uint8_t *bytes,
                        size_t length,
                        uint32_t now_ms);

// Samples what is due, by calling the plugins' `sample`. Feed a watchdog after it, and nowhere else.
//
// # Safety
//
// `node` is as `mote_init` asks.
mote_error mote_poll(struct mote_node *node,
                     uint32_t now_ms);

// Asks for how many milliseconds nothing is due: 0 if `mote_poll` has something to do now.
//
// # Safety
//
// `node` is as `mote_init` asks, and `wait_ms` can be written.
mote_error mote_wait(struct mote_node *node, uint32_t now_ms, uint32_t *wait_ms);

// Gives what is to be sent next; a length of 0 if that is nothing. The bytes stay until the next call with this node.
// `mote_sent` then says how many went; the rest comes again.
//
// # Safety
//
// `node` is as `mote_init` asks, and `bytes` and `length` can be written.
mote_error mote_outgoing(struct mote_node *node,
                         uint32_t now_ms,
                         const uint8_t **bytes,
                         size_t *length);

// Says how many bytes of `mote_outgoing` were sent.
//
// # Safety
//
// `node` is as `mote_init` asks.
mote_error mote_sent(struct mote_node *node, size_t length, uint32_t now_ms);

// Sleep begins: call it with interrupts masked, right before the instruction that sleeps. What is not slept is load.
void mote_idle_enter(void);

// Sleep ends: call it right after the instruction that sleeps, and let interrupts in then. Without a sleep that began
// it does nothing.
void mote_idle_leave(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MOTE_H */
