//! What the kernel says. The input is a letter for the parser, a byte for where the text is cut, and the text.
//!
//! A text that was cut says less than the whole text, never something else, and what is read from either is JSON
//! when it is reported.
#![no_main]

use std::collections::HashSet;
use std::fmt::Debug;

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::probes::filesystem::mounts::{self, MountKind};
use mote_agent::probes::kit::Encode;
use mote_agent::probes::kit::items::Items;
use mote_agent::probes::{
    Malformed, agent_health, alive, cores, cpu, disk_io, load, memory, network, pressure,
    processes, sysinfo, tcp, temperature,
};
use mote_fuzz::{ENVELOPE, data_of, reported};

fuzz_target!(|input: &[u8]| -> Corpus {
    let [parser, cut, text @ ..] = input else {
        return Corpus::Reject;
    };
    let head = &text[..text.len() * usize::from(*cut) / 255];
    match parser {
        b'c' => {
            let whole = cut_is_same(text, head, cpu::parse);
            if let (Some(now), Ok(before)) = (whole, cpu::parse(&text[head.len()..])) {
                drop(cpu::shares(&now, &before).map(|data| reported(&data).unwrap()));
            }
        }
        b'm' => drop(memory::parse(text).map(|data| reported(&data).unwrap())),
        b'l' => drop(cut_is_same(text, head, load::parse).map(|data| reported(&data).unwrap())),
        b'u' => drop(cut_is_same(text, head, alive::parse).map(|data| reported(&data).unwrap())),
        b'h' => drop(cut_is_same(text, head, agent_health::parse)),
        b't' => {
            drop(cut_is_same(text, head, temperature::parse).map(|data| reported(&data).unwrap()))
        }
        b'p' => drop(cut_is_same(text, head, |text| {
            pressure::parse(text).map(|it| it.some)
        })),
        // A text that ends between two lines is one of a kernel that has fewer.
        b'f' => drop(processes::parse(text)),
        // A name may hold what looks like the end of the text.
        b's' => drop(processes::state(text)),
        b'r' => drop(cut_is_same(text, head, sysinfo::parse_ram)),
        b'k' => drop(cut_is_same(text, head, |text| {
            tcp::counter(text, b"Tcp:", b"RetransSegs").ok_or(())
        })),
        b'C' => items(text, head, |text, each| {
            cores::parse(text, |number, it| {
                each(number.to_string().as_bytes(), format!("{it:?}"))
            })
            .map(drop)
        }),
        b'n' => items(text, head, |text, each| {
            network::parse(text, |name, it| each(name, format!("{it:?}"))).map(drop)
        }),
        b'd' => items(text, head, |text, each| {
            disk_io::parse(text, |name, it| each(name, format!("{it:?}")))
        }),
        b'x' => {
            let mut states = tcp::SocketStates::default();
            for line in text.split(|byte| *byte == b'\n') {
                states.count(line);
            }
        }
        b'i' => {
            let (mut cpus, mut model) = (sysinfo::Cpus::default(), String::new());
            text.split(|byte| *byte == b'\n')
                .for_each(|line| cpus.line(line, &mut model));
            reported(&model).unwrap();
        }
        b'o' => {
            let mut os = String::new();
            sysinfo::parse_os_release(text, &mut os);
            reported(&os).unwrap();
        }
        b'M' => {
            let lines = text.split(|byte| *byte == b'\n').map(mounts::parse);
            let all: Vec<_> = lines.filter_map(Result::ok).collect();
            let count = all.len();
            let chosen = mounts::choose(all);
            let points: HashSet<_> = chosen.iter().map(|it| &it.point).collect();
            assert!(points.len() == chosen.len() && chosen.len() <= count);
            assert!(chosen.iter().all(|it| it.kind != MountKind::Pseudo));
        }
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

/// What is read from the whole text, if anything; the same as from its head, if both can be read.
fn cut_is_same<T: Debug + PartialEq, E: Debug>(
    text: &[u8],
    head: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> Option<T> {
    let whole = parse(text).ok();
    if let (Ok(part), Some(whole)) = (parse(head), &whole) {
        assert_eq!(part, *whole);
    }
    whole
}

type Each<'a> = &'a mut dyn FnMut(&[u8], String);

/// The items of the head come first in the whole, and each name can stand in a report.
fn items(text: &[u8], head: &[u8], parse: impl Fn(&[u8], Each<'_>) -> Result<(), Malformed>) {
    let read = |text| {
        let mut found = Vec::new();
        let _ = parse(text, &mut |name, it| found.push((name.to_vec(), it)));
        found
    };
    let whole = read(text);
    assert!(whole.starts_with(&read(head)));
    let mut items = Items::new(8);
    for (name, _) in &whole {
        items.push(name, 1u32);
    }
    let mut report = vec![0; 4096];
    if let Ok(length) = items.encode(&ENVELOPE, &mut report) {
        data_of(&report[..length]);
    }
}
