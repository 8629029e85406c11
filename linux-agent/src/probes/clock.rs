//! `get_clock`: how right the wall clock is, as the kernel knows it (adjtimex(2)), and by how much it was set since
//! the last sample.
//!
//! The kernel does not know the time by itself: a program (chrony, ntpd, systemd-timesyncd) tells it how far off it
//! is, and that it is synchronised. A step is what the wall clock advanced more or less than the clock that counts
//! from boot, sleep included. Both run at the same pace, which the program corrects, so that a slow correction is no
//! step.

use std::path::PathBuf;

use mote_core::Status;
use serde::Serialize;

use super::kit::rate::round2;
use super::kit::{Context, ProbeError, Roots, Sample};
use crate::system::clock::{self, Discipline};

/// The wall clock of this host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockData {
    /// Always [`Status::OK`].
    status: Status,
    /// 1 if the kernel was told that the clock is right, else 0.
    synchronised: u8,
    /// What the kernel still has to correct, in µs. Always 0 where the program corrects by the pace, as chrony does.
    offset_us: f64,
    /// How far off the clock may be at most, in µs.
    max_error_us: f64,
    /// How far off it is by estimate, in µs.
    estimated_error_us: f64,
    /// By how much the pace is corrected, in millionths, two decimals.
    frequency_ppm: f64,
    /// By how much the clock was set since this service's last sample, in ms with two decimals; below 0 if backwards.
    step_ms: f64,
}

/// The probe: how far the wall clock was ahead of the clock since boot at its last sample.
pub(crate) struct Clock {
    lead_ns: i128,
}

impl Sample for Clock {
    type Data<'a> = ClockData;

    /// Takes the baseline. No file holds this: a recorded tree, or the procfs of another kernel, has no clock to ask.
    fn open(roots: &Roots, _context: &mut Context) -> Result<Self, ProbeError> {
        if !roots.is_kernels() {
            return Err(ProbeError::Unsupported {
                path: roots.procfs.clone(),
                needs: "to be a procfs of this kernel, since no other clock can be asked",
            });
        }
        discipline()?;
        Ok(Clock {
            lead_ns: clock::lead_ns(),
        })
    }

    fn sample(&mut self, _context: &mut Context) -> Result<ClockData, ProbeError> {
        Ok(self.since_last(&discipline()?, clock::lead_ns()))
    }
}

impl Clock {
    fn since_last(&mut self, discipline: &Discipline, lead_ns: i128) -> ClockData {
        let before = std::mem::replace(&mut self.lead_ns, lead_ns);
        let step_ns = lead_ns.saturating_sub(before);
        ClockData {
            status: Status::OK,
            synchronised: discipline.is_synchronised.into(),
            offset_us: discipline.offset_us,
            max_error_us: discipline.max_error_us,
            estimated_error_us: discipline.estimated_error_us,
            // Adding zero makes -0 plain 0.
            frequency_ppm: round2(discipline.frequency_ppm) + 0.0,
            step_ms: round2(step_ns as f64 / 1e6) + 0.0,
        }
    }
}

fn discipline() -> Result<Discipline, ProbeError> {
    clock::discipline().map_err(|cause| ProbeError::read(&PathBuf::from("adjtimex(2)"), cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Discipline = Discipline {
        is_synchronised: true,
        offset_us: -1.5,
        max_error_us: 500.0,
        estimated_error_us: 20.0,
        frequency_ppm: -12.346,
    };

    #[test]
    fn a_step_is_told_once_and_with_its_sign() {
        let mut clock = Clock { lead_ns: 1_000 };
        let mut step = |lead_ns| clock.since_last(&RIGHT, lead_ns).step_ms;
        assert_eq!(step(1_000), 0.0);
        assert_eq!(step(2_000_001_000), 2000.0);
        assert_eq!(step(2_000_001_000), 0.0, "told once");
        assert_eq!(step(500_001_000), -1500.0, "backwards");
        assert_eq!(step(500_000_999).to_string(), "0", "no -0");
        assert_eq!(step(i128::MIN), i128::MIN as f64 / 1e6, "no overflow");
    }

    #[test]
    fn what_the_kernel_says_is_passed_on() {
        let data = Clock { lead_ns: 0 }.since_last(&RIGHT, 0);
        let expected = ClockData {
            status: Status::OK,
            synchronised: 1,
            offset_us: -1.5,
            max_error_us: 500.0,
            estimated_error_us: 20.0,
            frequency_ppm: -12.35,
            step_ms: 0.0,
        };
        assert_eq!(data, expected);
    }

    #[test]
    fn our_clock_is_never_shown_for_a_recorded_tree() {
        let folder = tempfile::tempdir().unwrap();
        let roots = |procfs: &std::path::Path| Roots {
            procfs: procfs.to_owned(),
            ..Roots::default()
        };
        let open = |roots: &Roots| Clock::open(roots, &mut Context::new()).map(drop);
        let refused = open(&roots(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("procfs of this kernel"), "{refused}");
        // A container that watches its host shares its kernel, and with it the clock.
        open(&roots("/proc/../proc".as_ref())).unwrap();
    }
}
