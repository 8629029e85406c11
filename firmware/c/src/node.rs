//! A node in storage of C's.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mote_firmware::mote_core::time::Extender;
use mote_firmware::{Mcu, Node, Ram, Settings, Uptime};

use crate::board::{self, CBoard, LOAD, RESET};
use crate::config::Begin;
use crate::{MOTE_NAME, MOTE_NODE_WORDS, MOTE_SERVICES, MoteError};

/// Room for a node, all zeros before `mote_init`; as a static variable it is.
#[repr(C)]
pub struct MoteNode {
    first: u64,
    rest: [usize; MOTE_NODE_WORDS],
}

/// What lies in a `MoteNode`. Of all zeros it is one that was not begun.
#[repr(C)]
struct Storage {
    begun: AtomicU32,
    busy: AtomicBool,
    /// Apart from what changes, since the probes keep a reference to it.
    ram: MaybeUninit<Ram>,
    running: UnsafeCell<MaybeUninit<Running>>,
}

const _: () = assert!(size_of::<Storage>() <= size_of::<MoteNode>());
const _: () = assert!(align_of::<Storage>() <= align_of::<MoteNode>());

pub struct Running {
    clock: Extender,
    pub board: CBoard,
    pub node: Node<CBoard, MOTE_SERVICES, MOTE_NAME>,
}

/// "mote", in `begun` of a node that was.
const BEGUN: u32 = 0x6D6F_7465;

/// Begins the node.
///
/// # Safety
///
/// As `mote_init` asks of `node`, which is not null.
pub unsafe fn begin(node: *mut MoteNode, begin: Begin, now_ms: u32) -> MoteError {
    let storage = node.cast::<Storage>();
    // SAFETY: the caller has zeroed it or a call before has begun it, and it is large enough, as asserted above.
    let taken = unsafe { take(&*storage) };
    let Some(_taken) = taken else {
        return MoteError::Busy;
    };
    // SAFETY: as above. Nobody else writes `ram` and `running`, since `busy` is set; and nobody reads them, since the
    // node was not begun.
    unsafe {
        if (*storage).begun.load(Ordering::Relaxed) == BEGUN {
            return MoteError::State;
        }
        let has_ram = begin.firmware.has_ram;
        board::set(begin.firmware);
        RESET.set(begin.reset_bits, begin.watchdog_resets);
        (&raw mut (*storage).ram).cast::<Ram>().write(begin.ram);
        let ram = &*(&raw const (*storage).ram).cast::<Ram>();
        let running = (*storage).running.get().cast::<Running>();
        (&raw mut (*running).clock).write(Extender::new());
        (&raw mut (*running).board).write(CBoard {
            mcu: Mcu::new(&LOAD, ram, &RESET),
            has_ram,
        });
        (&raw mut (*running).node).write(Node::new());
        let running = &mut *running;
        // In two steps, since one of more than half a wrap is taken for one back, and time would stand still.
        running.clock.extend(now_ms / 2);
        let now = Uptime::from_millis(running.clock.extend(now_ms));
        let settings = Settings::of(begin.client_id);
        running.node.start(settings, begin.services.list(), now);
        (*storage).begun.store(BEGUN, Ordering::Relaxed);
    }
    MoteError::Ok
}

/// Runs `f` with a node that was begun and that nobody else uses.
///
/// # Safety
///
/// As `mote_init` asks of `node`.
pub unsafe fn with(
    node: *mut MoteNode,
    now_ms: u32,
    f: impl FnOnce(&mut Running, Uptime),
) -> MoteError {
    if node.is_null() {
        return MoteError::Null;
    }
    // SAFETY: the caller has zeroed it or `mote_init` has begun it, and it is large enough, as asserted above.
    let storage = unsafe { &*node.cast::<Storage>() };
    if storage.begun.load(Ordering::Relaxed) != BEGUN {
        return MoteError::State;
    }
    let Some(_taken) = take(storage) else {
        return MoteError::Busy;
    };
    // SAFETY: it was begun, and `busy` keeps everybody else away until the end of this function.
    let running = unsafe { (*storage.running.get()).assume_init_mut() };
    let now = Uptime::from_millis(running.clock.extend(now_ms));
    f(running, now);
    MoteError::Ok
}

/// A node that is in use until this goes.
struct Taken<'a>(&'a AtomicBool);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// `None` if it is in use.
fn take(storage: &Storage) -> Option<Taken<'_>> {
    // A Cortex-M0+ cannot compare and swap.
    critical_section::with(|_| {
        let is_busy = storage.busy.load(Ordering::Acquire);
        storage.busy.store(true, Ordering::Relaxed);
        // Made only if it is wanted, since its end frees the node.
        (!is_busy).then(|| Taken(&storage.busy))
    })
}
