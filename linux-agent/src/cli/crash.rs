//! `mote crash`: the addresses that a board reported as `get_mcu_crash`, as functions and lines of its image.

use std::io::{self, BufRead};
use std::path::Path;

use addr2line::Loader;
use serde_json::Value;

use super::outcome::{Failed, exit, failed, say};

/// A longer line is no report.
const MAX_LINE: u64 = 1 << 20;

/// What a report says of a crash.
#[derive(Debug, Default, PartialEq, Eq)]
struct Crash {
    cause: String,
    resets: u64,
    uptime_s: u64,
    pc: u64,
    lr: u64,
    stack: Vec<u64>,
}

/// Resolves `addresses`, or without them those of the reports on standard input, by the image at `elf`.
pub fn crash(elf: &Path, addresses: &[u64]) -> Result<(), Failed> {
    let image = Image::read(elf)?;
    let mut text = String::new();
    let mut resolved = 0;
    for address in addresses {
        resolved += image.write("", *address, *address, &mut text);
    }
    let crashes = match addresses {
        [] => crashes(io::stdin().lock())?,
        _ => Vec::new(),
    };
    for crash in &crashes {
        resolved += image.write_crash(crash, &mut text);
    }
    if !text.is_empty() {
        say(text.trim_end())?;
    }
    if addresses.is_empty() && crashes.is_empty() {
        let sentence = "there is no report of a crash on standard input; pass reports of get_mcu_crash, one a line";
        return Err(failed(exit::FAILED, sentence));
    }
    if resolved == 0 {
        let sentence = format!(
            "no address is code of {}; is it the image that crashed, with its symbols?",
            elf.display()
        );
        return Err(failed(exit::FAILED, sentence));
    }
    Ok(())
}

/// An address, in decimal digits or with 0x.
pub fn address(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "not an address like 0x10002f12 or 268447506".to_owned())
}

struct Image(Loader);

impl Image {
    fn read(elf: &Path) -> Result<Self, Failed> {
        let loader = Loader::new(elf);
        loader.map(Image).map_err(|error| {
            let sentence = format!("cannot read the image {}: {error}", elf.display());
            failed(exit::FAILED, sentence)
        })
    }

    fn write_crash(&self, crash: &Crash, text: &mut String) -> usize {
        *text += &format!(
            "{} after {} s, reset {} since power came\n",
            crash.cause, crash.uptime_s, crash.resets
        );
        let mut resolved = 0;
        if crash.pc != 0 {
            resolved += self.write("at", crash.pc, crash.pc, text);
        }
        // A return address is behind the call that it belongs to.
        if crash.lr != 0 && crash.stack.first() != Some(&crash.lr) {
            resolved += self.write("from", crash.lr, before(crash.lr), text);
        }
        for address in crash.stack.iter().filter(|it| **it != 0) {
            resolved += self.write("stack", *address, before(*address), text);
        }
        resolved
    }

    /// Writes the functions that the code at `probe` belongs to, the innermost first. Returns how many.
    fn write(&self, what: &str, address: u64, probe: u64, text: &mut String) -> usize {
        let mut lines = Vec::new();
        // Wrong debug information counts as none.
        if let Ok(mut frames) = self.0.find_frames(probe) {
            while let Ok(Some(frame)) = frames.next() {
                let function = frame.function.as_ref();
                let name = function.and_then(|it| Some(it.demangle().ok()?.into_owned()));
                let place = frame.location.and_then(|it| {
                    let line = it.line?;
                    Some(format!("{}:{line}", it.file?))
                });
                if name.is_some() || place.is_some() {
                    let name = name.unwrap_or_else(|| "?".to_owned());
                    lines.push(format!("{name}  {}", place.unwrap_or_default()));
                }
            }
        }
        if lines.is_empty()
            && let Some(symbol) = self.0.find_symbol(probe)
        {
            lines.push(addr2line::demangle_auto(symbol.into(), None).into_owned());
        }
        let resolved = lines.len();
        if lines.is_empty() {
            lines.push("no code of this image".to_owned());
        }
        for (index, line) in lines.iter().enumerate() {
            let head = match index {
                0 => format!("{what:>6} 0x{address:08x}"),
                _ => format!("{:>17}", "in"),
            };
            *text += format!("{head}  {line}").trim_end();
            text.push('\n');
        }
        resolved
    }
}

/// The call that returns to `address`, without the Thumb bit.
fn before(address: u64) -> u64 {
    (address & !1).saturating_sub(2)
}

/// The crashes in `reports`: lines as a board sends them, as `mote probe` prints them, or answers of a collector.
fn crashes(mut reports: impl BufRead) -> Result<Vec<Crash>, Failed> {
    let mut crashes = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = io::Read::take(&mut reports, MAX_LINE);
        let read = limited.read_until(b'\n', &mut line);
        let length = read
            .map_err(|error| failed(exit::FAILED, format!("cannot read the reports: {error}")))?;
        if length == 0 {
            return Ok(crashes);
        }
        // Behind the value of a board's line is its checksum.
        let mut values = serde_json::Deserializer::from_slice(&line).into_iter::<Value>();
        if let Some(Ok(value)) = values.next() {
            find(&value, &mut crashes);
        }
    }
}

/// Looks for crashes in what a report, or a list of them, is made of.
fn find(value: &Value, crashes: &mut Vec<Crash>) {
    match value {
        Value::Object(fields) if fields.contains_key("cause") => crashes.extend(read(value)),
        Value::Object(fields) => fields.values().for_each(|it| find(it, crashes)),
        Value::Array(values) => values.iter().for_each(|it| find(it, crashes)),
        _ => {}
    }
}

/// `None` if there was no crash.
fn read(data: &Value) -> Option<Crash> {
    let number = |name: &str| data.get(name).and_then(Value::as_u64);
    let stack = ["stack1", "stack2", "stack3", "stack4"];
    Some(Crash {
        cause: data.get("cause")?.as_str()?.to_owned(),
        resets: number("resets")?,
        uptime_s: number("uptime")?,
        pc: number("pc")?,
        lr: number("lr")?,
        stack: stack.into_iter().filter_map(number).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"status":0,"cause":"fault","resets":2,"uptime":7,"pc":268445842,"lr":268441457,"stack1":268441457,"stack2":0}"#;

    #[test]
    fn crashes_are_found_wherever_they_are() {
        let expected = || Crash {
            cause: "fault".into(),
            resets: 2,
            uptime_s: 7,
            pc: 268_445_842,
            lr: 268_441_457,
            stack: vec![268_441_457, 0],
        };
        let line = format!(r#"{{"client_id":7,"service_name":"Crash","data":{DATA},"seq":0}}"#);
        for (reports, count) in [
            (format!("noise\n{line}*0123ABCD\n"), 1),
            (DATA.to_owned(), 1),
            (format!(r#"{{"reports":[{line},{line}]}}"#), 2),
            (format!("{line}\n{line}\n"), 2),
            (
                r#"{"data":{"status":0,"cause":"none","resets":0}}"#.into(),
                0,
            ),
            (r#"{"data":{"cause":7}}"#.into(), 0),
            (String::new(), 0),
        ] {
            let found = crashes(reports.as_bytes()).unwrap();
            assert_eq!(found.len(), count, "{reports}");
            assert!(found.iter().all(|it| *it == expected()), "{found:?}");
        }
    }

    #[test]
    fn addresses_are_decimal_or_hexadecimal() {
        assert_eq!(address("0x1000"), Ok(4096));
        assert_eq!(address("4096"), Ok(4096));
        assert!(address("main").is_err());
    }
}
