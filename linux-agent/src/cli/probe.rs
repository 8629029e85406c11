//! `mote probe`: one sample of each probe or plugin, now.

use std::thread;
use std::time::{Duration, Instant};

use mote_core::{ClientId, Envelope, Failure, Stamp};

use super::outcome::{Failed, exit, failed, say};
use super::source::{Source, account};
use crate::plugin::{Running, leftovers};
use crate::probes::{Context, MAX_REPORT, PROBES, Probe};
use crate::settings::Settings;
use crate::system::clock;

/// Processes that a plugin left behind may take this long to end.
const LEFTOVERS_TIME: Duration = Duration::from_secs(1);

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
        Some(_) => Some(source.settings()?),
        None => source.settings().ok(),
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
    let mut context = Context::new();
    let samplers: Vec<_> = names
        .iter()
        .map(|name| (*name, Probe::by_name(name)))
        .map(|(name, probe)| (name, probe.map(|probe| probe.open(&roots, &mut context))))
        .collect();
    if samplers.iter().any(|(_, sampler)| sampler.is_some()) {
        thread::sleep(wait);
    }
    let mut buffer = vec![0; MAX_REPORT];
    let mut failures = 0;
    for (seq, (name, sampler)) in (0..).zip(samplers) {
        let client_id = settings
            .as_ref()
            .map_or(ClientId::Number(0), |it| it.client_id.id());
        let envelope = Envelope {
            client_id,
            service_name: name,
            stamp: Stamp::Clock {
                unix_ms: clock::unix_ms(),
                boot: "probe",
            },
            seq,
        };
        context.now = Instant::now();
        let sampled = match (sampler, &settings) {
            (Some(Ok(mut sampler)), _) => sampler
                .report(&mut context, &envelope, &mut buffer)
                .map_err(|error| error.to_string()),
            (Some(Err(error)), _) => Err(error.to_string()),
            (None, Some(settings)) => {
                let (ok, length) = run_plugin(settings, name, &envelope, &mut buffer);
                failures += u32::from(!ok);
                Ok(length)
            }
            (None, None) => Err("not run without settings".to_owned()),
        };
        let length = sampled.unwrap_or_else(|error| {
            failures += 1;
            envelope
                .encode(&Failure::new(&error), &mut buffer)
                .unwrap_or(0)
        });
        let report = buffer.get(..length).unwrap_or_default();
        say(&String::from_utf8_lossy(report))?;
    }
    match failures {
        0 => Ok(()),
        _ => Err(Failed {
            code: exit::FAILED,
            sentence: String::new(),
        }),
    }
}

/// Runs one executable to its end. Gives whether it is well, and the length of the report.
fn run_plugin(
    settings: &Settings,
    name: &str,
    envelope: &Envelope<'_>,
    buffer: &mut [u8],
) -> (bool, usize) {
    let fail = |error: &str, buffer: &mut [u8]| {
        (
            false,
            envelope.encode(&Failure::new(error), buffer).unwrap_or(0),
        )
    };
    // Otherwise what it leaves behind would outlive this process.
    let account = match account(settings) {
        Ok(account) => account,
        Err(failed) => return fail(&failed.sentence, buffer),
    };
    if let Err(error) = leftovers::adopt(account.as_ref().map(|it| it.uid)) {
        return fail(&error.to_string(), buffer);
    }
    let now = Instant::now();
    let mut run = match Running::start(&settings.plugins, account.as_ref(), name, 0, now) {
        Ok(run) => run,
        Err(error) => return fail(&error.to_string(), buffer),
    };
    loop {
        run.on_readable();
        run.on_deadline(Instant::now());
        if let Some(outcome) = run.try_finish() {
            let data = outcome.data();
            leftovers::end(LEFTOVERS_TIME);
            return match envelope.encode(&data, buffer) {
                Ok(length) => (data.status().0 == 0, length),
                Err(error) => fail(&error.to_string(), buffer),
            };
        }
        thread::sleep(Duration::from_millis(5));
    }
}
