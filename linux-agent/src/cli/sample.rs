//! One sample of each of some services, now, outside of an agent.

use std::thread;
use std::time::{Duration, Instant};

use mote_core::{ClientId, Envelope, Failure, Stamp};

use super::outcome::Failed;
use super::source::account;
use crate::plugin::{Running, leftovers};
use crate::probes::{Context, MAX_REPORT, Probe, Roots};
use crate::settings::Settings;
use crate::system::clock;

/// Processes that a plugin left behind may take this long to end.
const LEFTOVERS_TIME: Duration = Duration::from_secs(1);

/// A report, and whether the sample in it is one.
pub(super) struct SampledReport<'a> {
    pub bytes: &'a [u8],
    pub is_well: bool,
}

/// Samples `services`, each with the name of its plugin, over `wait` where a probe gives rates. Each report goes to
/// `take` with its service's name.
pub(super) fn sample(
    settings: Option<&Settings>,
    roots: &Roots,
    services: &[(&str, &str)],
    boot: &str,
    wait: Duration,
    mut take: impl FnMut(&str, &SampledReport<'_>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut context = Context::new();
    let samplers: Vec<_> = services
        .iter()
        .map(|(_, plugin)| Probe::by_name(plugin))
        .map(|probe| probe.map(|probe| probe.open(roots, &mut context)))
        .collect();
    if samplers.iter().any(Option::is_some) {
        thread::sleep(wait);
    }
    let mut buffer = vec![0; MAX_REPORT];
    for (seq, ((service, plugin), sampler)) in (0..).zip(services.iter().zip(samplers)) {
        let envelope = Envelope {
            client_id: settings.map_or(ClientId::Number(0), |it| it.client_id.id()),
            service_name: service,
            stamp: Stamp::Clock {
                unix_ms: clock::unix_ms(),
                boot,
            },
            seq,
        };
        context.now = Instant::now();
        let sampled = match (sampler, settings) {
            (Some(Ok(mut sampler)), _) => sampler
                .report(&mut context, &envelope, &mut buffer)
                .map(|length| (true, length))
                .map_err(|error| error.to_string()),
            (Some(Err(error)), _) => Err(error.to_string()),
            (None, Some(settings)) => Ok(run_plugin(settings, plugin, &envelope, &mut buffer)),
            (None, None) => Err("not run without settings".to_owned()),
        };
        let (is_well, length) = sampled.unwrap_or_else(|error| {
            let failure = envelope.encode(&Failure::new(&error), &mut buffer);
            (false, failure.unwrap_or(0))
        });
        let bytes = buffer.get(..length).unwrap_or_default();
        take(service, &SampledReport { bytes, is_well })?;
    }
    Ok(())
}

/// Runs one executable to its end. Returns whether it succeeded, and the length of the report.
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
