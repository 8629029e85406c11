//! What an executable prints. The input is a byte for how it ended, the first line of its complaint, a zero byte, and
//! its output.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::plugin::{Ended, RunOutcome};
use mote_fuzz::reported;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&ended, rest)) = input.split_first() else {
        return Corpus::Reject;
    };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let complaint = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let output = parts.next().unwrap_or_default();
    let outcome = |ended, output: &[u8]| RunOutcome {
        slot: 0,
        ended,
        output: output.to_vec(),
        complaint: complaint.clone(),
        format: Default::default(),
    };
    let ended = match ended {
        b't' => Ended::TimedOut(Duration::from_secs(1)),
        b'm' => Ended::TooMuchOutput(64 << 10),
        b'a'..=b'l' => Ended::Killed(i32::from(ended - b'a')),
        _ => Ended::Exited(i32::from(ended.saturating_sub(b'0'))),
    };
    let data = outcome(ended, output).data();
    assert_eq!(
        data.status().0 == 0 || data.error().is_some_and(|it| !it.is_empty()),
        true
    );
    let Some(report) = reported(&data) else {
        return Corpus::Keep;
    };
    assert_eq!(report["status"], data.status().0);
    // What is a plugin's valid data is data again.
    let again = outcome(Ended::Exited(0), &serde_json::to_vec(&report).unwrap()).data();
    assert_eq!(again.status(), data.status());
    assert_eq!(again.error(), data.error());
    Corpus::Keep
});
