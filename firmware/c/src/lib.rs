//! mote-firmware for firmware in C. `include/mote.h` says how to use it.
//!
//! Only here and in the modules below is there anything `unsafe`, since C's pointers come in here. A null pointer is
//! an error; for the rest of what each function asks of its caller, its comment is the contract.

#![cfg_attr(target_os = "none", no_std)]
#![warn(clippy::indexing_slicing)]

// From top to bottom: a module uses only what stands below it, and ci/checks/layers holds the code to that.

mod node;

mod config;

mod board;

mod text;

#[cfg(target_os = "none")]
mod panic;

use core::cell::Cell;

use critical_section::Mutex;
use mote_firmware::Sleep;

use crate::board::LOAD;
pub use crate::board::{MotePlugin, MoteSampler};
pub use crate::config::{MoteConfig, MoteService};
pub use crate::node::MoteNode;

/// Values that a plugin has at most.
pub const MOTE_FIELDS: usize = 4;

/// Services that a node runs at most.
pub const MOTE_SERVICES: usize = 8;

/// Bytes of a service's name at most.
pub const MOTE_NAME: usize = 23;

/// Bytes of the name of a plugin or field at most.
pub const MOTE_WORD: usize = 31;

/// A bit of `reset_bits`: power came.
pub const MOTE_RESET_POWER_ON: u32 = 1 << 0;

/// A bit of `reset_bits`: the chip's reset pin.
pub const MOTE_RESET_EXTERNAL: u32 = 1 << 1;

/// A bit of `reset_bits`: the supply was too low.
pub const MOTE_RESET_BROWN_OUT: u32 = 1 << 2;

/// A bit of `reset_bits`: the watchdog bit.
pub const MOTE_RESET_WATCHDOG: u32 = 1 << 3;

/// A bit of `reset_bits`: the firmware asked for it.
pub const MOTE_RESET_SOFTWARE: u32 = 1 << 4;

/// Words of a `mote_node` beside its first 8 bytes.
pub const MOTE_NODE_WORDS: usize = 738;

/// What a call says. If it is not OK, nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MoteError {
    /// It is done.
    Ok = 0,
    /// A pointer is null that must not be.
    Null = 1,
    /// The node was not begun by `mote_init`, or `mote_init` is called for it again.
    State = 2,
    /// The node is in use by what this call interrupted, or was called from.
    Busy = 3,
    /// A text is empty, too long, or not UTF-8; or a field's name is not made of a-z, 0-9 and _, is `status`, or
    /// stands there twice.
    Text = 4,
    /// An interval is not 1 s to 604800 s, or two services have one name.
    Service = 5,
    /// There are too many services or plugins.
    TooMany = 6,
    /// The addresses of the RAM do not ascend, or are not those of words.
    Ram = 7,
}

/// The sleep that `mote_idle_enter` began.
static SLEEP: Mutex<Cell<Option<Sleep>>> = Mutex::new(Cell::new(None));

/// Begins a node: it runs the services of `config` until it gets other orders.
///
/// `node` is static, zeroed, and stays where it is for ever. `config` and its list of services are read and not kept;
/// its texts, its plugins and what they point at stay for ever and unchanged. Counter and plugins are the whole
/// firmware's: a later call for another node replaces them.
///
/// # Safety
///
/// As the comment says; each pointer is null or points at what its type says, and each text ends with a 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_init(
    node: *mut MoteNode,
    config: *const MoteConfig,
    now_ms: u32,
) -> MoteError {
    if node.is_null() || config.is_null() {
        return MoteError::Null;
    }
    // SAFETY: it is not null, and the caller holds to the rest.
    let read = unsafe { config::read(&*config) };
    match read {
        // SAFETY: as above.
        Ok(begin) => unsafe { node::begin(node, begin, now_ms) },
        Err(error) => error,
    }
}

/// Takes bytes that came over the line.
///
/// # Safety
///
/// `node` is as `mote_init` asks, and `length` bytes can be read at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_receive(
    node: *mut MoteNode,
    bytes: *const u8,
    length: usize,
    now_ms: u32,
) -> MoteError {
    if bytes.is_null() {
        return MoteError::Null;
    }
    // SAFETY: it is not null, and the caller holds to the length.
    let bytes = unsafe { core::slice::from_raw_parts(bytes, length) };
    // SAFETY: the caller holds to what is asked of the node.
    unsafe {
        node::with(node, now_ms, |running, now| {
            running.node.receive(bytes, now);
        })
    }
}

/// Samples what is due, by calling the plugins' `sample`. Feed a watchdog after it, and nowhere else.
///
/// # Safety
///
/// `node` is as `mote_init` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_poll(node: *mut MoteNode, now_ms: u32) -> MoteError {
    // SAFETY: the caller holds to what is asked of the node.
    unsafe {
        node::with(node, now_ms, |running, now| {
            running.node.poll(now, &mut running.board);
        })
    }
}

/// Asks for how many milliseconds nothing is due: 0 if `mote_poll` has something to do now.
///
/// # Safety
///
/// `node` is as `mote_init` asks, and `wait_ms` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_wait(
    node: *mut MoteNode,
    now_ms: u32,
    wait_ms: *mut u32,
) -> MoteError {
    if wait_ms.is_null() {
        return MoteError::Null;
    }
    // SAFETY: it is not null, and the caller holds to the rest.
    unsafe {
        node::with(node, now_ms, |running, now| {
            let wait = running.node.poll_at().millis_since(now);
            wait_ms.write(u32::try_from(wait).unwrap_or(u32::MAX));
        })
    }
}

/// Gives what is to be sent next; a length of 0 if that is nothing. The bytes stay until the next call with this node.
/// `mote_sent` then says how many went; the rest comes again.
///
/// # Safety
///
/// `node` is as `mote_init` asks, and `bytes` and `length` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_outgoing(
    node: *mut MoteNode,
    now_ms: u32,
    bytes: *mut *const u8,
    length: *mut usize,
) -> MoteError {
    if bytes.is_null() || length.is_null() {
        return MoteError::Null;
    }
    // SAFETY: they are not null, and the caller holds to the rest.
    unsafe {
        node::with(node, now_ms, |running, now| {
            let outgoing = running.node.outgoing(now);
            bytes.write(outgoing.as_ptr());
            length.write(outgoing.len());
        })
    }
}

/// Says how many bytes of `mote_outgoing` were sent.
///
/// # Safety
///
/// `node` is as `mote_init` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mote_sent(node: *mut MoteNode, length: usize, now_ms: u32) -> MoteError {
    // SAFETY: the caller holds to what is asked of the node.
    unsafe { node::with(node, now_ms, |running, now| running.node.sent(length, now)) }
}

/// Sleep begins: call it with interrupts masked, right before the instruction that sleeps. What is not slept is load.
#[unsafe(no_mangle)]
pub extern "C" fn mote_idle_enter() {
    let sleep = LOAD.enter();
    critical_section::with(|cs| SLEEP.borrow(cs).set(Some(sleep)));
}

/// Sleep ends: call it right after the instruction that sleeps, and let interrupts in then. Without a sleep that began
/// it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mote_idle_leave() {
    if let Some(sleep) = critical_section::with(|cs| SLEEP.borrow(cs).take()) {
        LOAD.leave(sleep);
    }
}

#[cfg(test)]
mod tests;
