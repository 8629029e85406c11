//! The probes that every microcontroller has: load, RAM and how it came to run.

use core::sync::atomic::{AtomicU32, Ordering};

use heapless::String;
use mote_core::{Fields, Uptime, Value};
use serde::ser::{Serialize, Serializer};

use crate::board::{Board, Context, Failed};
use crate::load::{Load, LoadMark, LoadMeter};
use crate::ram::Ram;

/// `get_mcu_load`, `get_mcu_ram`, `host_alive_check` and, with feature `crash`, `get_mcu_crash`.
pub struct Mcu {
    load: &'static LoadMeter,
    ram: &'static Ram,
    reset: &'static Reset,
}

/// The plugins of [`Mcu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McuPlugin {
    /// `get_mcu_load`
    Load,
    /// `get_mcu_ram`
    Ram,
    /// `host_alive_check`
    Alive,
    /// `get_mcu_tasks`
    #[cfg(all(feature = "tasks", target_os = "none"))]
    Tasks,
    /// `get_mcu_crash`
    #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
    Crash,
}

/// The samples of [`Mcu`].
#[derive(Clone, Copy, serde::Serialize)]
#[serde(untagged)]
pub enum McuSample {
    /// Of `get_mcu_load`.
    Load(McuLoad),
    /// Of `get_mcu_ram`.
    Ram(McuRam),
    /// Of `host_alive_check`.
    Alive(Alive),
    /// Of `get_mcu_tasks`.
    #[cfg(all(feature = "tasks", target_os = "none"))]
    Tasks(crate::tasks::TaskLoads),
    /// Of `get_mcu_crash`.
    #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
    Crash(crate::crash::Crash),
}

/// The data of `get_mcu_load`: `load_permille`, the share of time not slept since this service's last sample,
/// interrupts included, in thousandths; `wakeups`, how often the processor woke up meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct McuLoad(pub Load);

/// The data of `get_mcu_ram`, all in bytes: `total`, `static` (all below the stack), `stack_peak`,
/// `stack_free` (what the stack has never touched), and of a heap, where there is one, `heap_size`
/// and `heap_used`.
#[derive(Clone, Copy)]
pub struct McuRam {
    ram: &'static Ram,
    stack_peak_bytes: u32,
    heap_used_bytes: u32,
}

/// The data of `host_alive_check`: `uptime` in seconds; `reset_cause` in words, with `+` between several;
/// `reset_bits` as the chip gave them; `watchdog_resets` since power came; and `dropped`, the samples that
/// were given up unacknowledged.
#[derive(Clone, Copy)]
pub struct Alive {
    reset: &'static Reset,
    uptime_s: u32,
    dropped: u32,
}

/// Why the board started.
pub struct Reset {
    names: &'static [(u32, &'static str)],
    bits: AtomicU32,
    watchdog_resets: AtomicU32,
}

impl Mcu {
    /// The probes over what the application's firmware keeps in statics.
    pub const fn new(load: &'static LoadMeter, ram: &'static Ram, reset: &'static Reset) -> Self {
        Mcu { load, ram, reset }
    }

    fn load(&self, baseline: &mut LoadMark) -> Result<Load, Failed> {
        let load = self.load.since(baseline);
        load.ok_or(Failed("no time has passed since the last sample"))
    }
}

impl Board for Mcu {
    type Plugin = McuPlugin;
    type Baseline = LoadMark;
    type Sample = McuSample;

    const NO_BASELINE: LoadMark = LoadMark::ZERO;

    fn plugin(name: &str) -> Option<McuPlugin> {
        match name {
            "get_mcu_load" => Some(McuPlugin::Load),
            "get_mcu_ram" => Some(McuPlugin::Ram),
            "host_alive_check" => Some(McuPlugin::Alive),
            #[cfg(all(feature = "tasks", target_os = "none"))]
            "get_mcu_tasks" => Some(McuPlugin::Tasks),
            #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
            "get_mcu_crash" => Some(McuPlugin::Crash),
            _ => None,
        }
    }

    #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
    fn at_once(plugin: McuPlugin) -> bool {
        plugin == McuPlugin::Crash
    }

    fn start(&mut self, _plugin: McuPlugin, _now: Uptime) -> LoadMark {
        self.load.mark()
    }

    fn sample(
        &mut self,
        plugin: McuPlugin,
        baseline: &mut LoadMark,
        context: &Context,
    ) -> Result<McuSample, Failed> {
        Ok(match plugin {
            #[cfg(all(feature = "tasks", target_os = "none"))]
            McuPlugin::Load | McuPlugin::Tasks => {
                let then = *baseline;
                let load = self.load(baseline)?;
                if plugin == McuPlugin::Load {
                    McuSample::Load(McuLoad(load))
                } else {
                    let window = baseline.ticks_since(&then);
                    McuSample::Tasks(crate::tasks::TaskLoads::take(load.permille, window))
                }
            }
            #[cfg(not(all(feature = "tasks", target_os = "none")))]
            McuPlugin::Load => McuSample::Load(McuLoad(self.load(baseline)?)),
            McuPlugin::Ram => McuSample::Ram(McuRam {
                ram: self.ram,
                stack_peak_bytes: self.ram.stack_peak_bytes(),
                heap_used_bytes: self.ram.heap().map_or(0, |heap| heap.used_bytes),
            }),
            McuPlugin::Alive => McuSample::Alive(Alive {
                reset: self.reset,
                uptime_s: context.uptime_s(),
                dropped: context.statistics.dropped,
            }),
            #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
            McuPlugin::Crash => McuSample::Crash(crate::crash::Crash::LAST),
        })
    }
}

impl Reset {
    /// Not read yet. `names` says what the bits of the chip's register mean.
    pub const fn new(names: &'static [(u32, &'static str)]) -> Self {
        Reset {
            names,
            bits: AtomicU32::new(0),
            watchdog_resets: AtomicU32::new(0),
        }
    }

    /// Keeps what was read once at boot, before the chip or the firmware clears it: the register, and how often
    /// the watchdog has bitten since power came.
    pub fn set(&self, bits: u32, watchdog_resets: u32) {
        self.bits.store(bits, Ordering::Relaxed);
        self.watchdog_resets
            .store(watchdog_resets, Ordering::Relaxed);
    }

    /// The names of the bits that are set, as many as there is room for.
    fn cause(&self) -> String<48> {
        let bits = self.bits.load(Ordering::Relaxed);
        let mut cause = String::new();
        for (_, name) in self.names.iter().filter(|(mask, _)| bits & mask != 0) {
            let separator = if cause.is_empty() { "" } else { "+" };
            if cause.len() + separator.len() + name.len() <= cause.capacity() {
                // There is room.
                let _ = cause.push_str(separator);
                let _ = cause.push_str(name);
            }
        }
        if cause.is_empty() {
            let _ = cause.push_str("unknown");
        }
        cause
    }
}

impl Serialize for McuLoad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers = [self.0.permille.into(), self.0.wakeups];
        Fields::ok("load_permille wakeups", &[], &numbers).serialize(serializer)
    }
}

impl Serialize for McuRam {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAMES: &str = "total static stack_peak stack_free heap_size heap_used";
        const WITHOUT_HEAP: usize = 4;
        let ram = self.ram;
        let heap = ram.heap();
        let numbers = [
            ram.total_bytes(),
            ram.static_bytes(),
            self.stack_peak_bytes,
            ram.stack_bytes().saturating_sub(self.stack_peak_bytes),
            heap.map_or(0, |heap| heap.size_bytes),
            self.heap_used_bytes,
        ];
        let numbers = match heap {
            Some(_) => &numbers[..],
            None => &numbers[..WITHOUT_HEAP],
        };
        Fields::ok(NAMES, &[], numbers).serialize(serializer)
    }
}

impl Serialize for Alive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAMES: &str = "uptime reset_cause reset_bits watchdog_resets dropped";
        let reset = self.reset;
        let cause = reset.cause();
        let values = [Value::Number(self.uptime_s), Value::Text(&cause)];
        let numbers = [
            reset.bits.load(Ordering::Relaxed),
            reset.watchdog_resets.load(Ordering::Relaxed),
            self.dropped,
        ];
        Fields::ok(NAMES, &values, &numbers).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NAMES: [(u32, &str); 3] = [(1, "power-on"), (2, "brown-out"), (8, "watchdog")];

    #[test]
    fn several_causes_are_named() {
        let reset = Reset::new(&NAMES);
        assert_eq!(reset.cause(), "unknown");
        reset.set(0x0A, 3);
        assert_eq!(reset.cause(), "brown-out+watchdog");
        reset.set(0xF0, 3);
        assert_eq!(reset.cause(), "unknown");
    }

    #[test]
    fn a_cause_too_many_is_left_out() {
        const LONG: &str = "a name of twenty-one.";
        let reset = Reset::new(&[(1, LONG), (2, LONG), (4, LONG), (8, "short")]);
        reset.set(0xF, 0);
        let expected = [LONG, LONG].join("+");
        assert_eq!(
            reset.cause(),
            [&*expected, "short"].join("+")[..reset.cause().len()]
        );
        assert!(reset.cause().starts_with(&expected));
    }
}
