//! The link of each interface, from `class/net` in sysfs (the kernel's Documentation/ABI/testing/sysfs-class-net):
//!
//! ```text
//! class/net/eth0/operstate  up
//! class/net/eth0/carrier    1       cannot be read while the interface is down
//! class/net/eth0/speed      1000    Mbit/s; -1 or unreadable where the driver does not know it
//! ```
//!
//! For the last two the kernel takes the lock of its network and may ask a driver, which can hang. So a thread asks,
//! once a second, and what does not come in time is left out.

use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::probes::kit::Roots;
use crate::probes::kit::asked::{Asked, MAX_TEXT, text};
use crate::probes::kit::file::{lines, number};
use crate::probes::kit::items::MAX_ITEMS;

/// Longer than the kernel lets a name be.
const MAX_NAME: usize = 16;

/// Of all services.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The states of RFC 2863, as the kernel writes them.
const STATES: [&str; 7] = [
    "unknown",
    "notpresent",
    "down",
    "lowerlayerdown",
    "testing",
    "dormant",
    "up",
];

/// The link of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceLink {
    /// One of the seven of RFC 2863.
    pub state: Option<&'static str>,
    /// 1 if there is a carrier, 0 if there is none.
    pub carrier: Option<u8>,
    /// In Mbit/s.
    pub speed_mbit: Option<u32>,
}

impl InterfaceLink {
    /// Reads the texts of the three files. What a text does not say is not known.
    pub fn parse(state: &[u8], carrier: &[u8], speed: &[u8]) -> InterfaceLink {
        let line = |text| lines(text).next().unwrap_or_default();
        InterfaceLink {
            state: STATES
                .into_iter()
                .find(|known| known.as_bytes() == line(state)),
            carrier: match line(carrier) {
                b"0" => Some(0),
                b"1" => Some(1),
                _ => None,
            },
            // Some drivers say 0, or -1 in 32 bits without a sign, of a speed that they do not know.
            speed_mbit: number(line(speed))
                .and_then(|speed| u32::try_from(speed).ok())
                .filter(|speed| (1..u32::MAX).contains(speed)),
        }
    }
}

/// What is known of the links.
pub(super) struct Links {
    asked: Asked<List>,
    /// Where in the list the next interface probably is.
    expected: usize,
}

struct List {
    links: Vec<(Name, InterfaceLink)>,
    /// The folder; while files are read, the path of one.
    path: Vec<u8>,
}

/// Filled up with zeros.
type Name = [u8; MAX_NAME];

impl Links {
    /// Nothing is known before the first [`Links::refresh`]. `None` if sysfs is not of the host that is watched.
    pub(super) fn new(roots: &Roots) -> Option<Links> {
        // Else these would be links of the container that watches.
        if !roots.are_own() && roots.sysfs == Roots::default().sysfs {
            return None;
        }
        let folder = roots.sysfs.join("class/net/");
        let mut path = folder.into_os_string().into_vec();
        path.reserve(MAX_NAME + MAX_TEXT);
        let list = List {
            links: Vec::with_capacity(MAX_ITEMS),
            path,
        };
        Some(Links {
            asked: Asked::new(list, List::fill, &THREADS),
            expected: 0,
        })
    }

    /// Asks for the links of these interfaces if it is time to, or `at_once`.
    pub(super) fn refresh<'a>(
        &mut self,
        now: Instant,
        at_once: bool,
        names: impl Iterator<Item = &'a [u8]>,
    ) {
        self.expected = 0;
        self.asked.refresh(now, at_once, |List { links, .. }| {
            links.clear();
            let names = names.filter_map(padded).take(MAX_ITEMS);
            links.extend(names.map(|name| (name, InterfaceLink::default())));
        });
    }

    /// What is known of the link of an interface; found at once in the order of the refresh.
    pub(super) fn of(&mut self, now: Instant, name: &[u8]) -> InterfaceLink {
        let (Some(List { links, .. }), Some(name)) = (self.asked.known(now), padded(name)) else {
            return InterfaceLink::default();
        };
        let mut places = (self.expected..links.len()).chain(0..self.expected);
        let found = places.find_map(|place| {
            let (_, link) = links.get(place).filter(|(known, _)| *known == name)?;
            Some((place, *link))
        });
        let Some((place, link)) = found else {
            return InterfaceLink::default();
        };
        self.expected = place + 1;
        link
    }
}

fn padded(name: &[u8]) -> Option<Name> {
    let mut padded = [0; MAX_NAME];
    padded.get_mut(..name.len())?.copy_from_slice(name);
    // In no path does this lead elsewhere.
    let leads_on = name.contains(&b'/') || name.contains(&0);
    (!leads_on && !matches!(name, b"" | b"." | b"..")).then_some(padded)
}

impl List {
    /// What the thread does.
    fn fill(&mut self) {
        let List { links, path } = self;
        let folder = path.len();
        for (name, link) in links {
            path.extend(name.iter().take_while(|byte| **byte != 0));
            let interface = path.len();
            let files = [b"/operstate".as_slice(), b"/carrier", b"/speed"];
            let [state, carrier, speed] = files.map(|file| {
                path.extend(file);
                let text = text(path);
                path.truncate(interface);
                text
            });
            path.truncate(folder);
            *link = InterfaceLink::parse(&state, &carrier, &speed);
        }
    }
}

#[cfg(test)]
mod tests;
