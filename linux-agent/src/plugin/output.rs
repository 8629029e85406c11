//! What a plugin's run came to, as the data of a report.

use std::time::Duration;

use mote_core::Status;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::limits::MAX_ERROR_BYTES;
use super::listed::Format;
use super::nagios;

/// The status of a run that took too long, as timeout(1) has it.
const TIMED_OUT: Status = Status(124);

/// How a run ended.
#[derive(Clone, Debug, serde::Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with this exit status.
    Exited(i32),
    /// By a signal that the agent did not send.
    Killed(i32),
    /// By the agent, after this time limit.
    TimedOut(Duration),
    /// By the agent, because it printed more than this many bytes: [`MAX_OUTPUT_BYTES`](super::MAX_OUTPUT_BYTES) to
    /// standard output, or [`MAX_COMPLAINT_BYTES`](super::MAX_COMPLAINT_BYTES) to standard error.
    TooMuchOutput(usize),
    /// It did not begin, or its end is not known: one sentence says why.
    Failed(String),
}

/// A finished run.
#[derive(Debug)]
pub struct RunOutcome {
    /// How its output is to be read.
    pub format: Format,
    /// What [`Running::start`](super::Running::start) was given.
    pub slot: usize,
    /// How it ended.
    pub ended: Ended,
    /// What it wrote to standard output.
    pub output: Vec<u8>,
    /// The first line that it wrote to standard error, without its newline.
    pub complaint: String,
}

impl RunOutcome {
    /// The outcome of a run that failed for the reason `sentence`.
    pub fn failed(slot: usize, sentence: impl Into<String>) -> Self {
        RunOutcome {
            format: Format::default(),
            slot,
            ended: Ended::Failed(sentence.into()),
            output: Vec::new(),
            complaint: String::new(),
        }
    }

    /// The data of this run's report.
    ///
    /// `status` is the exit status, or 128 and the signal's number. A run with exit status 0 whose
    /// output has a `status` of its own other than 0 failed with that one. A failed run keeps the
    /// fields of a valid output; its `error` is its own, else its first line on standard error,
    /// else how it ended, with what it printed in place of a valid output. An output that is not valid makes any run fail.
    pub fn data(&self) -> PluginData {
        let ended = match &self.ended {
            Ended::Exited(status) => *status,
            Ended::Killed(signal) => 128_i32.saturating_add(*signal),
            Ended::TimedOut(limit) => {
                return PluginData::failed(
                    TIMED_OUT,
                    format!("stopped after its time limit of {} s", limit.as_secs_f64()),
                );
            }
            Ended::TooMuchOutput(max_bytes) => {
                return PluginData::failed(
                    Status::FAILED,
                    format!("printed more than {} KiB", max_bytes >> 10),
                );
            }
            Ended::Failed(sentence) => return PluginData::failed(Status::FAILED, sentence.clone()),
        };
        if self.format == Format::Nagios && nagios::is_state(ended) {
            return PluginData::of_check(ended, &self.output, &self.complaint);
        }
        let (own_status, mut fields) = match self.parse() {
            Ok(parsed) => parsed,
            Err(reason) if ended == 0 => return PluginData::failed(Status::FAILED, reason),
            Err(_) => (0, self.said_instead()),
        };
        let status = if ended == 0 { own_status } else { ended };
        if status != 0 && !has_error(&fields) {
            fields.insert("error".to_owned(), Value::String(self.reason(own_status)));
        }
        PluginData {
            status: Status(status),
            fields,
        }
    }

    fn parse(&self) -> Result<(i32, Map<String, Value>), String> {
        match self.format {
            Format::Json => parse(&self.output),
            // A check that did not end with a state has printed nothing of use.
            Format::Nagios => Err("ended without a state".to_owned()),
        }
    }

    /// The field `error` of a run that failed, if all that it said is the first line on its standard output.
    fn said_instead(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let text = String::from_utf8_lossy(&self.output);
        let mut lines = text.lines().map(str::trim);
        if self.complaint.is_empty()
            && matches!(self.ended, Ended::Exited(_))
            && let Some(line) = lines.find(|line| !line.is_empty())
        {
            let shown: String = line.chars().take(MAX_ERROR_BYTES).collect();
            let error = format!("{}: {shown}", self.reason(0));
            fields.insert("error".to_owned(), Value::String(error));
        }
        fields
    }

    fn reason(&self, own_status: i32) -> String {
        if !self.complaint.is_empty() {
            return self.complaint.clone();
        }
        match self.ended {
            Ended::Exited(0) => format!("its own status is {own_status}"),
            Ended::Killed(signal) => match Signal::try_from(signal) {
                Ok(name) => format!("killed by {name}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            Ended::Exited(status) => format!("exit status {status}"),
            Ended::TimedOut(_) | Ended::TooMuchOutput(_) | Ended::Failed(_) => String::new(),
        }
    }
}

/// The data of a plugin's report: `status`, then numbers and strings, or per item an object of them
/// under `data`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginData {
    status: Status,
    /// Without `status`; checked by [`parse`].
    fields: Map<String, Value>,
}

impl PluginData {
    /// [`Status::OK`] if the fields are valid.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why the run failed, if it did.
    pub fn error(&self) -> Option<&str> {
        self.fields.get("error").and_then(Value::as_str)
    }

    /// The state of a check is a field like others. One that could not find out what it was asked has failed.
    fn of_check(state: i32, output: &[u8], complaint: &str) -> Self {
        let mut fields = nagios::fields(state, output);
        // A script that dies says why there, and often ends as a CRITICAL check does.
        if let Some(text) = fields.get_mut("text")
            && text.as_str() == Some("")
        {
            *text = complaint.into();
        }
        let mut status = Status::OK;
        if state == nagios::UNKNOWN {
            status = Status(state);
            let text = fields.get("text").and_then(Value::as_str);
            let text = text.filter(|it| !it.is_empty()).unwrap_or("state unknown");
            fields.insert("error".to_owned(), text.into());
        }
        PluginData { status, fields }
    }

    fn failed(status: Status, reason: String) -> Self {
        let mut fields = Map::new();
        fields.insert("error".to_owned(), Value::String(reason));
        PluginData { status, fields }
    }
}

impl Serialize for PluginData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.fields.len() + 1))?;
        out.serialize_entry("status", &self.status)?;
        for (name, value) in &self.fields {
            out.serialize_entry(name, value)?;
        }
        out.end()
    }
}

fn has_error(fields: &Map<String, Value>) -> bool {
    matches!(fields.get("error"), Some(Value::String(error)) if !error.is_empty())
}

/// Reads an output: the plugin's own status (0 if it gave none) and its other fields. The error says why it is not
/// valid.
fn parse(output: &[u8]) -> Result<(i32, Map<String, Value>), String> {
    if output.trim_ascii().is_empty() {
        return Err("printed nothing where one JSON object is due".to_owned());
    }
    let mut fields = match serde_json::from_slice(output) {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => {
            return Err(format!(
                "printed {} where one JSON object is due",
                kind(&other)
            ));
        }
        Err(error) => return Err(format!("printed what is not one JSON object: {error}")),
    };
    let own_status = match fields.remove("status") {
        None => 0,
        Some(status) => status
            .as_i64()
            .and_then(|status| i32::try_from(status).ok())
            .ok_or("printed a `status` that is not an integer of 32 bits")?,
    };
    match fields.get("data") {
        None => check_flat(&fields)?,
        Some(Value::Object(items)) => {
            if let Some(name) = fields.keys().find(|name| !is_one_of_items(name)) {
                return Err(format!(
                    "printed `{name}` beside `data`: fields are either flat or in the items under `data`"
                ));
            }
            for (item, fields) in items {
                match fields {
                    Value::Object(fields) => check_flat(fields)?,
                    other => {
                        return Err(format!(
                            "printed {} as the item `{item}` under `data`: an item is an object",
                            kind(other)
                        ));
                    }
                }
            }
            if let Some(error) = fields.get("error") {
                check_value("error", error)?;
            }
        }
        Some(other) => {
            return Err(format!(
                "printed {} as `data`: it holds one object an item",
                kind(other)
            ));
        }
    }
    Ok((own_status, fields))
}

fn is_one_of_items(name: &str) -> bool {
    matches!(name, "data" | "error")
}

fn check_flat(fields: &Map<String, Value>) -> Result<(), String> {
    fields
        .iter()
        .try_for_each(|(name, value)| check_value(name, value))
}

fn check_value(name: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Number(_) | Value::String(_) => Ok(()),
        other => Err(format!(
            "printed {} as `{name}`: a field is a number or a string",
            kind(other)
        )),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mote_core::{ClientId, Envelope, Stamp};
    use serde_json::json;

    fn outcome(ended: Ended, output: &str, complaint: &str) -> Value {
        let outcome = RunOutcome {
            format: Format::Json,
            slot: 0,
            ended,
            output: output.as_bytes().to_vec(),
            complaint: complaint.to_owned(),
        };
        serde_json::to_value(outcome.data()).unwrap()
    }

    fn ok(output: &str) -> Value {
        outcome(Ended::Exited(0), output, "")
    }

    #[test]
    fn flat_and_per_item_outputs_are_data() {
        assert_eq!(
            ok(" {\"load\": 1.5, \"users\": 3, \"name\": \"a\"}\n"),
            json!({"status": 0, "load": 1.5, "users": 3, "name": "a"})
        );
        assert_eq!(
            ok(r#"{"status": 0, "data": {"eth0": {"t_in": 1}, "eth1": {}}}"#),
            json!({"status": 0, "data": {"eth0": {"t_in": 1}, "eth1": {}}})
        );
        assert_eq!(ok("{}"), json!({"status": 0}));
    }

    #[test]
    fn what_is_not_numbers_and_strings_is_refused() {
        for (output, error) in [
            ("", "printed nothing where one JSON object is due"),
            (" \n", "printed nothing where one JSON object is due"),
            ("[1]", "printed a list where one JSON object is due"),
            (
                r#"{"a": null}"#,
                "printed null as `a`: a field is a number or a string",
            ),
            (
                r#"{"a": true}"#,
                "printed a boolean as `a`: a field is a number or a string",
            ),
            (
                r#"{"a": [1]}"#,
                "printed a list as `a`: a field is a number or a string",
            ),
            (
                r#"{"a": {"b": 1}}"#,
                "printed an object as `a`: a field is a number or a string",
            ),
            (
                r#"{"data": {"a": {"b": {"c": 1}}}}"#,
                "printed an object as `b`: a field is a number or a string",
            ),
            (
                r#"{"data": {"a": 1}}"#,
                "printed a number as the item `a` under `data`: an item is an object",
            ),
            (
                r#"{"data": 1}"#,
                "printed a number as `data`: it holds one object an item",
            ),
            (
                r#"{"data": {}, "a": 1}"#,
                "printed `a` beside `data`: fields are either flat or in the items under `data`",
            ),
            (
                r#"{"data": {}, "error": []}"#,
                "printed a list as `error`: a field is a number or a string",
            ),
            (
                r#"{"status": "ok"}"#,
                "printed a `status` that is not an integer of 32 bits",
            ),
            (
                r#"{"status": 1.5}"#,
                "printed a `status` that is not an integer of 32 bits",
            ),
            (
                r#"{"status": 2147483648}"#,
                "printed a `status` that is not an integer of 32 bits",
            ),
        ] {
            assert_eq!(ok(output), json!({"status": 1, "error": error}), "{output}");
        }
        for output in [
            "{",
            "{} {}",
            "NaN",
            r#"{"a": NaN}"#,
            r#"{"a": 1e999}"#,
            "hello\n",
        ] {
            let data = ok(output);
            assert_eq!(data["status"], 1, "{output}");
            let error = data["error"].as_str().unwrap();
            assert!(
                error.starts_with("printed what is not one JSON object: "),
                "{error}"
            );
        }
    }

    #[test]
    fn the_exit_status_counts_and_after_0_the_output_s_own() {
        assert_eq!(
            outcome(Ended::Exited(3), r#"{"status": 0, "a": 1}"#, ""),
            json!({"status": 3, "a": 1, "error": "exit status 3"})
        );
        assert_eq!(
            ok(r#"{"status": 2, "a": 1}"#),
            json!({"status": 2, "a": 1, "error": "its own status is 2"})
        );
        assert_eq!(
            ok(r#"{"status": -1, "error": "no disk"}"#),
            json!({"status": -1, "error": "no disk"})
        );
    }

    #[test]
    fn a_failed_run_says_why_in_its_own_words_if_it_has_any() {
        let failed =
            |output, complaint| outcome(Ended::Exited(2), output, complaint)["error"].clone();
        assert_eq!(failed(r#"{"error": "own"}"#, "complaint"), "own");
        assert_eq!(failed(r#"{"error": ""}"#, "complaint"), "complaint");
        assert_eq!(failed("no JSON", "complaint"), "complaint");
        assert_eq!(failed("", ""), "exit status 2");
        assert_eq!(failed(r#"{"a": 1}"#, ""), "exit status 2");
        assert_eq!(failed("\n no disk \nat all", ""), "exit status 2: no disk");
        let long = "x".repeat(1000);
        let cut = format!("exit status 2: {}", "x".repeat(MAX_ERROR_BYTES));
        assert_eq!(failed(&long, ""), cut);
    }

    #[test]
    fn an_error_field_of_a_run_that_succeeded_is_a_field() {
        assert_eq!(ok(r#"{"error": 4}"#), json!({"status": 0, "error": 4}));
    }

    #[test]
    fn signals_limits_and_lost_runs_have_a_status_and_a_reason() {
        assert_eq!(
            outcome(Ended::Killed(11), "", ""),
            json!({"status": 139, "error": "killed by SIGSEGV"})
        );
        assert_eq!(
            outcome(Ended::Killed(40), "", "")["error"],
            "killed by signal 40"
        );
        assert_eq!(
            outcome(
                Ended::TimedOut(Duration::from_millis(1500)),
                r#"{"a": 1}"#,
                "late"
            ),
            json!({"status": 124, "error": "stopped after its time limit of 1.5 s"})
        );
        assert_eq!(
            outcome(Ended::TooMuchOutput(64 << 10), "{}", ""),
            json!({"status": 1, "error": "printed more than 64 KiB"})
        );
        let lost = outcome(Ended::Failed("lost: gone".to_owned()), "{}", "late");
        assert_eq!(lost, json!({"status": 1, "error": "lost: gone"}));
    }

    #[test]
    fn a_check_reports_its_state_and_fails_only_if_it_does_not_know() {
        let check = |ended, output: &str, complaint: &str| {
            let outcome = RunOutcome {
                format: Format::Nagios,
                slot: 0,
                ended,
                output: output.as_bytes().to_vec(),
                complaint: complaint.to_owned(),
            };
            serde_json::to_value(outcome.data()).unwrap()
        };
        assert_eq!(
            check(Ended::Exited(2), "DISK CRITICAL|/=9MB", ""),
            json!({"status": 0, "state": 2, "text": "DISK CRITICAL", "data": {"/": {"value": 9, "unit": "MB"}}})
        );
        assert_eq!(
            check(Ended::Exited(3), "check_disk: Could not open\n", ""),
            json!({"status": 3, "state": 3, "text": "check_disk: Could not open", "error": "check_disk: Could not open"})
        );
        // One that died.
        for (output, text) in [("", "Can't locate Net/SNMP.pm"), ("x", "x")] {
            assert_eq!(
                check(Ended::Exited(2), output, "Can't locate Net/SNMP.pm"),
                json!({"status": 0, "state": 2, "text": text})
            );
        }
        assert_eq!(check(Ended::Exited(3), "", "no host")["error"], "no host");
        assert_eq!(check(Ended::Exited(3), "", "")["error"], "state unknown");
        assert_eq!(
            check(Ended::Exited(127), "x", "not found"),
            json!({"status": 127, "error": "not found"})
        );
        assert_eq!(
            check(Ended::Killed(9), "OK|a=1", ""),
            json!({"status": 137, "error": "killed by SIGKILL"})
        );
    }

    #[test]
    fn the_report_s_encoder_takes_it() {
        let outcome = RunOutcome {
            format: Format::Json,
            slot: 0,
            ended: Ended::Exited(0),
            output: br#"{"data": {"a \"b\"": {"x\n": -1, "y": 18446744073709551615, "z": 2.5, "s": "\u0001\\\u00e9"}}}"#.to_vec(),
            complaint: String::new(),
        };
        let envelope = Envelope {
            client_id: ClientId::Number(1),
            service_name: "Own",
            stamp: Stamp::Uptime {
                seconds: 1,
                millis: None,
                age: 0,
                boot: None,
            },
            seq: 1,
        };
        let mut buffer = [0; 1024];
        let length = envelope.encode(&outcome.data(), &mut buffer).unwrap();
        let report: Value = serde_json::from_slice(&buffer[..length]).unwrap();
        assert_eq!(
            report["data"],
            json!({"status": 0, "data": {"a \"b\"": {"x\n": -1, "y": 18446744073709551615u64, "z": 2.5, "s": "\u{1}\\é"}}})
        );
        assert!(buffer.starts_with(br#"{"client_id":1,"service_name":"Own","data":{"status":0,"#));
    }
}
