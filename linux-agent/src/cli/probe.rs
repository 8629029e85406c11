//! `mote probe`: one sample of each probe or plugin, now.

use std::time::Duration;

use super::outcome::{Failed, exit, failed, say};
use super::sample::sample;
use super::source::Source;
use crate::probes::{PROBES, Probe};

/// Lists the probes, each with its other names.
pub fn list_probes() -> Result<(), Failed> {
    PROBES
        .iter()
        .try_for_each(|probe| say(&probe.names().join(" ")))
}

/// Samples once and prints each report as one line of JSON. Without names: all probes.
pub fn probe(source: &Source, names: &[String], wait: Duration) -> Result<(), Failed> {
    // Probes need no settings; executables do.
    let settings = match &source.file {
        Some(_) => Some(source.settings_in_time()?),
        None => source.settings_in_time().ok(),
    };
    let roots = settings
        .as_ref()
        .map(|settings| settings.roots.clone())
        .unwrap_or_default();
    let roots = source.roots(roots);
    let all = PROBES.iter().map(Probe::name);
    let names: Vec<&str> = match names {
        [] => all.collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let allowed = |name: &str| {
        settings
            .as_ref()
            .is_some_and(|it| it.plugins.allowed.iter().any(|allowed| allowed == name))
    };
    if let Some(unknown) = names
        .iter()
        .find(|it| Probe::by_name(it).is_none() && !allowed(it))
    {
        return Err(failed(
            exit::USAGE,
            format!(
                "{unknown:?} is neither a probe (see mote probe --list) nor listed in the setting `plugins`"
            ),
        ));
    }
    let services: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    let mut failures = 0;
    sample(
        settings.as_ref(),
        &roots,
        &services,
        "probe",
        wait,
        |_, report| {
            failures += u32::from(!report.is_well);
            say(&String::from_utf8_lossy(report.bytes))
        },
    )?;
    match failures {
        0 => Ok(()),
        _ => Err(Failed {
            code: exit::FAILED,
            sentence: String::new(),
        }),
    }
}
