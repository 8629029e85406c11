//! Why a service has no reports for a while, as the numbers of its reports tell.

use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use crate::client_name::ClientName;
use crate::collector::settings::host::Host;
use crate::collector::store::history::gaps::{Gap, Samples};
use crate::collector::store::{Store, Unavailable};
use crate::protocol::AGENT_HEALTH;

/// A time without reports; times are in seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, PartialEq, Serialize)]
pub struct Explained {
    from: f64,
    to: f64,
    /// Left out where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    /// How many reports of the host, of any service, were sampled in between and never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
}

/// Why there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There was no report of the service before.
    NotYet,
    /// The agent has been started since the report before.
    NotRunning,
    /// The agent ran and sampled nothing of this service: it was not ordered then, or the host slept.
    NotSampled,
    /// Reports of that time have not come, and the host has some that wait.
    Waiting,
    /// Reports of that time have not come, and none waits at the host.
    Lost,
    /// Reports of that time have not come; whether they wait at the host is not known.
    Missing,
    /// Nothing has come since.
    Open,
}

/// Explains each gap.
pub async fn explain(
    store: &Store,
    client: &ClientName,
    host: Option<&Host>,
    samples: &Samples,
    gaps: Vec<Gap>,
) -> Result<Vec<Explained>, Unavailable> {
    let between: Vec<_> = gaps
        .iter()
        .map(|gap| numbers_between(samples, gap))
        .collect();
    let parts = between.iter().flatten().cloned().collect::<Vec<_>>();
    let mut missing = match parts.is_empty() {
        true => Vec::new(),
        false => store.missing(client.clone(), parts).await?,
    }
    .into_iter();
    let missing: Vec<Option<u64>> = between
        .iter()
        .map(|part| part.as_ref().and_then(|_| missing.next().flatten()))
        .collect();
    let queued = match missing.iter().any(|it| it.is_some_and(|it| it > 0)) {
        true => queued(store, client, host).await?,
        false => None,
    };
    let explained = gaps.iter().zip(missing).map(|(gap, missing)| Explained {
        from: gap.from_ms as f64 / 1000.0,
        to: gap.to_ms as f64 / 1000.0,
        cause: cause(samples, gap, missing, queued),
        missing: missing.filter(|it| *it > 0),
    });
    Ok(explained.collect())
}

/// The numbers that the agent gave out within a gap, as far as the reports on both sides tell: those between them, or
/// those of a new run until its first report.
fn numbers_between(samples: &Samples, gap: &Gap) -> Option<(String, Range<u64>)> {
    let (before, (boot, seq)) = (gap.before?.place?, gap.after?.place?);
    let first = match before {
        (same, number) if same == boot => number.checked_add(1)?,
        _ => 0,
    };
    let name = samples.boots.get(boot)?;
    Some((name.clone(), first..seq.max(first)))
}

fn cause(
    samples: &Samples,
    gap: &Gap,
    missing: Option<u64>,
    queued: Option<Queued>,
) -> Option<Cause> {
    if !samples.has_neighbours {
        return None;
    }
    match (gap.before, gap.after) {
        (None, _) => return Some(Cause::NotYet),
        (Some(_), None) => return Some(Cause::Open),
        (Some(_), Some(_)) => {}
    }
    let (before, after) = (gap.before?.place?, gap.after?.place?);
    match missing? {
        0 if before.0 == after.0 => Some(Cause::NotSampled),
        0 => Some(Cause::NotRunning),
        _ => Some(match queued {
            Some(Queued { reports: 0, at_ms }) if at_ms >= gap.to_ms => Cause::Lost,
            Some(Queued { reports, .. }) if reports > 0 => Cause::Waiting,
            _ => Cause::Missing,
        }),
    }
}

/// What an agent said of its queue last.
#[derive(Clone, Copy)]
struct Queued {
    reports: u64,
    at_ms: i64,
}

async fn queued(
    store: &Store,
    client: &ClientName,
    host: Option<&Host>,
) -> Result<Option<Queued>, Unavailable> {
    let services = host.into_iter().flat_map(|it| &it.services);
    let mut health = services.filter(|(_, ordered)| ordered.plugin == AGENT_HEALTH);
    let Some((name, _)) = health.next() else {
        return Ok(None);
    };
    let latest = store.latest(vec![(client.clone(), name.clone())]).await?;
    let queued = latest.into_iter().flatten().next().and_then(|report| {
        let data: Value = serde_json::from_str(report.data.get()).ok()?;
        Some(Queued {
            reports: data.get("queued")?.as_u64()?,
            at_ms: (report.time? * 1000.0) as i64,
        })
    });
    Ok(queued)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::store::history::gaps::SamplePlace;

    fn sample(time_ms: i64, boot: usize, seq: u64) -> Option<SamplePlace> {
        let place = Some((boot, seq));
        Some(SamplePlace { time_ms, place })
    }

    #[test]
    fn numbers_and_the_queue_tell_why() {
        let samples = Samples {
            boots: vec!["a".to_owned(), "b".to_owned()],
            has_neighbours: true,
            ..Samples::default()
        };
        let gap = |before, after| Gap {
            from_ms: 0,
            to_ms: 100,
            before,
            after,
        };
        let same = gap(sample(0, 0, 5), sample(100, 0, 9));
        let other = gap(sample(0, 0, 5), sample(100, 1, 3));
        assert_eq!(
            numbers_between(&samples, &same),
            Some(("a".to_owned(), 6..9))
        );
        assert_eq!(
            numbers_between(&samples, &other),
            Some(("b".to_owned(), 0..3))
        );
        let last = gap(sample(0, 0, 5), None);
        let unnumbered = gap(
            sample(0, 0, 5),
            sample(100, 0, 9).map(|it| SamplePlace { place: None, ..it }),
        );
        assert_eq!(numbers_between(&samples, &last), None);
        assert_eq!(numbers_between(&samples, &unnumbered), None);

        let queued = |reports, at_ms| Some(Queued { reports, at_ms });
        let table = [
            (&gap(None, sample(9, 0, 0)), None, None, Some(Cause::NotYet)),
            (&last, None, None, Some(Cause::Open)),
            (&same, Some(0), None, Some(Cause::NotSampled)),
            (&other, Some(0), None, Some(Cause::NotRunning)),
            (&same, Some(2), None, Some(Cause::Missing)),
            (&other, Some(2), queued(0, 100), Some(Cause::Lost)),
            (&same, Some(2), queued(0, 99), Some(Cause::Missing)),
            (&same, Some(2), queued(1, 99), Some(Cause::Waiting)),
            (&same, None, queued(1, 99), None),
            (&unnumbered, None, None, None),
        ];
        for (gap, missing, queued, expected) in table {
            assert_eq!(
                cause(&samples, gap, missing, queued),
                expected,
                "{gap:?} {missing:?}"
            );
        }
        // Of ten minutes in one only the times are known.
        let partials = Samples::default();
        assert_eq!(cause(&partials, &last, None, None), None);
    }
}
