//! The load of each task of embassy's, by the hooks of its feature `trace`.
//!
//! A task has what passes while it is polled, but for what the processor sleeps meanwhile; interrupts that come in that
//! time are its own. Tasks of other executors than [`embassy::Executor`](crate::embassy::Executor) are not told apart:
//! they count as interrupts.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

use critical_section::Mutex;
use mote_core::{Value, Words};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::load::LoadMeter;

/// So many tasks are told apart; those that are spawned after them count as interrupts.
pub const MAX_TASKS: usize = 8;

/// As many tasks have a place in a report.
const SHOWN: usize = 4;

/// The data of `get_mcu_tasks`: `load_permille` as `get_mcu_load` has it; the shares in it, in thousandths of the time, of
/// those tasks that had most, the largest first and by their names; and `other`: the rest.
#[derive(Clone, Copy, Debug)]
pub struct TaskLoads {
    load_permille: u16,
    /// The largest first: the thousandths, shifted by `SHIFT`, and the number of the task.
    largest: [u16; SHOWN],
}

/// A number of a task has so many bits; 1000 thousandths fit above.
const SHIFT: u32 = MAX_TASKS.ilog2();

struct Task {
    id: AtomicU32,
    /// Since the last sample.
    ticks: AtomicU32,
}

static TASKS: [Task; MAX_TASKS] = [const {
    Task {
        id: AtomicU32::new(0),
        ticks: AtomicU32::new(0),
    }
}; MAX_TASKS];

static METER: AtomicPtr<LoadMeter> = AtomicPtr::new(core::ptr::null_mut());
static EXECUTOR: AtomicU32 = AtomicU32::new(0);
static POLLED_AT: AtomicU32 = AtomicU32::new(0);
static NAMES: Mutex<core::cell::Cell<&str>> = Mutex::new(core::cell::Cell::new(
    "task1 task2 task3 task4 task5 task6 task7 task8",
));

/// Names the tasks, with a space between, in the order in which they are spawned, instead of `task1` to `task8`. One
/// without a name counts as interrupts do.
pub fn name(names: &'static str) {
    critical_section::with(|cs| NAMES.borrow(cs).set(names));
}

/// The executor's tasks are those that count from now on.
pub(crate) fn start(meter: &'static LoadMeter, executor: usize) {
    METER.store(core::ptr::from_ref(meter).cast_mut(), Relaxed);
    EXECUTOR.store(executor as u32, Relaxed);
}

impl TaskLoads {
    /// Of the `window` that ends now, in ticks of the meter's counter.
    pub(crate) fn take(load_permille: u16, window: u32) -> Self {
        let a_permille = (window / 1000).max(1);
        let mut largest = [0; SHOWN];
        for (index, task) in (0..).zip(&TASKS) {
            let permille = task.ticks.load(Relaxed) / a_permille;
            task.ticks.store(0, Relaxed);
            let mut next = (permille << SHIFT | index) as u16;
            for place in &mut largest {
                (*place, next) = ((*place).max(next), (*place).min(next));
            }
        }
        TaskLoads {
            load_permille,
            largest,
        }
    }
}

impl Serialize for TaskLoads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = critical_section::with(|cs| NAMES.borrow(cs).get());
        let mut other = u32::from(self.load_permille);
        let mut data = serializer.serialize_struct("TaskLoads", 3 + SHOWN)?;
        data.serialize_field("status", &Value::Number(0))?;
        data.serialize_field("load_permille", &Value::Number(other))?;
        for place in self.largest {
            let permille = u32::from(place >> SHIFT);
            let task = usize::from(place) % MAX_TASKS;
            if let (Some(name), 1..) = (Words(names).nth(task), permille) {
                data.serialize_field(name, &Value::Number(permille))?;
                other = other.saturating_sub(permille);
            }
        }
        data.serialize_field("other", &Value::Number(other))?;
        data.end()
    }
}

/// What the processor has not slept, in ticks of the meter's counter, modulo 2³².
fn busy() -> u32 {
    // SAFETY: it is null or a static's.
    let meter = unsafe { METER.load(Relaxed).as_ref() };
    meter.map_or(0, LoadMeter::busy)
}

#[unsafe(no_mangle)]
fn _embassy_trace_task_new(executor: u32, id: u32) {
    if executor == EXECUTOR.load(Relaxed) {
        let free = |it: &&Task| it.id.load(Relaxed) == id || it.id.load(Relaxed) == 0;
        if let Some(task) = TASKS.iter().find(free) {
            task.id.store(id, Relaxed);
        }
    }
}

#[unsafe(no_mangle)]
fn _embassy_trace_task_exec_begin(executor: u32, _id: u32) {
    if executor == EXECUTOR.load(Relaxed) {
        POLLED_AT.store(busy(), Relaxed);
    }
}

#[unsafe(no_mangle)]
fn _embassy_trace_task_exec_end(executor: u32, id: u32) {
    if executor == EXECUTOR.load(Relaxed) {
        let ticks = busy().wrapping_sub(POLLED_AT.load(Relaxed));
        let task = TASKS.iter().find(|it| it.id.load(Relaxed) == id);
        if let Some(Task { ticks: sum, .. }) = task {
            sum.store(sum.load(Relaxed).saturating_add(ticks), Relaxed);
        }
    }
}

#[unsafe(no_mangle)]
fn _embassy_trace_poll_start(_executor: u32) {}

#[unsafe(no_mangle)]
fn _embassy_trace_task_end(_executor: u32, _id: u32) {}

#[unsafe(no_mangle)]
fn _embassy_trace_task_ready_begin(_executor: u32, _id: u32) {}

#[unsafe(no_mangle)]
fn _embassy_trace_executor_idle(_executor: u32) {}
