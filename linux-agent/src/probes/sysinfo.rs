//! `LinuxSysInfo`: what this host is. From procfs `sys/kernel/{ostype,osrelease,hostname}`, `meminfo`
//! and `cpuinfo`, from rootfs `etc/os-release` (os-release(5)), from sysfs `class/dmi/id`
//! (or the device tree on boards without DMI), and the addresses of its interfaces from the kernel.
//!
//! The kernel tells each process its own name and addresses. A host that is watched from a container by
//! its procfs has the name that is in rootfs `etc/hostname`, and no addresses:
//!
//! ```text
//! PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
//! ```
//! ```text
//! model name      : Intel(R) Xeon(R) Processor
//! ```

use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use mote_core::Status;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use serde::Serialize;

use super::kit::file::{lines, number, optional, words};
use super::kit::{Context, Malformed, ProbeError, Roots, Sample, Scratch, SourceFile};

/// No text is longer, in bytes; the rest is cut off.
pub const MAX_TEXT: usize = 256;

/// No more addresses than this are listed.
pub const MAX_ADDRESSES: usize = 64;

/// What this host is. What cannot be read is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SysInfoData {
    /// Always [`Status::OK`].
    status: Status,
    /// The distribution and its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    os: String,
    /// The kernel and its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    kernel: String,
    /// The name of this host.
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
    /// What the CPUs call themselves.
    #[serde(skip_serializing_if = "String::is_empty")]
    cpu_model: String,
    /// CPUs that are online, hyperthreads counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_count: Option<u32>,
    /// Memory that the kernel manages, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    ram: Option<u64>,
    /// Addresses of the interfaces that are up, parted by spaces; neither loopback nor link-local.
    #[serde(skip_serializing_if = "String::is_empty")]
    addresses: String,
    /// How many addresses were not listed because there are more than [`MAX_ADDRESSES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses_omitted: Option<u32>,
    /// Who made the machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    vendor: String,
    /// Its model.
    #[serde(skip_serializing_if = "String::is_empty")]
    product: String,
    /// Its serial number. Only root may read it.
    #[serde(skip_serializing_if = "String::is_empty")]
    serial: String,
}

/// Reads the name of the system from an os-release file. Leaves it empty if there is none.
pub fn parse_os_release(text: &[u8], os: &mut String) {
    os.clear();
    // Written by hand at times, so its last line may lack a newline.
    for line in text.split(|byte| *byte == b'\n') {
        let Some(value) = line.trim_ascii().strip_prefix(b"PRETTY_NAME=") else {
            continue;
        };
        os.clear();
        let quoted = |quote: &[u8]| value.strip_prefix(quote)?.strip_suffix(quote);
        let unquoted = quoted(b"\"").or_else(|| quoted(b"'")).unwrap_or(value);
        append(os, unquoted);
        // As in a shell, a backslash makes the next character ordinary.
        if os.contains('\\') {
            let mut escaped = false;
            os.retain(|character| {
                escaped = character == '\\' && !escaped;
                !escaped
            });
        }
    }
}

/// Collects the model and the number of CPUs from the lines of `/proc/cpuinfo`.
#[derive(Default)]
pub struct Cpus {
    model_rank: usize,
    count: u32,
}

/// Names of the line that holds the model, the best last. Which of them there is depends on the architecture.
const MODEL_LINES: [&[u8]; 6] = [
    b"uarch",
    b"cpu",
    b"Hardware",
    b"Model",
    b"cpu model",
    b"model name",
];

impl Cpus {
    /// Looks at one line.
    pub fn line(&mut self, line: &[u8], model: &mut String) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name == b"processor" && number(value).is_some() {
            self.count += 1;
        }
        let rank = MODEL_LINES.iter().position(|known| *known == name);
        let rank = rank.map_or(0, |index| index + 1);
        if rank > self.model_rank && !value.is_empty() {
            self.model_rank = rank;
            model.clear();
            append(model, value);
        }
    }
}

/// The total in the text of `/proc/meminfo`, in KiB.
pub fn parse_ram(text: &[u8]) -> Result<u64, Malformed> {
    lines(text)
        .find_map(|line| line.strip_prefix(b"MemTotal:"))
        .and_then(|rest| number(words(rest).next()?))
        .ok_or(Malformed("`MemTotal` line"))
}

/// The probe: its files, and the data, whose texts are reused.
pub(crate) struct SysInfo {
    ostype: Option<SourceFile>,
    osrelease: Option<SourceFile>,
    /// `None` on another host, whose name is in a file that may be replaced.
    hostname: Option<SourceFile>,
    meminfo: Option<SourceFile>,
    cpuinfo: Option<SourceFile>,
    own_host: bool,
    roots: Roots,
    data: SysInfoData,
}

impl Sample for SysInfo {
    type Data<'a> = &'a SysInfoData;

    /// Opens the files, and reads what cannot change while the host runs.
    fn open(roots: &Roots, context: &mut Context) -> Result<Self, ProbeError> {
        let procfs = |name| optional(SourceFile::open(roots.procfs.join(name)));
        let own_host = roots.are_own();
        let scratch = &mut context.scratch;
        let dmi = roots.sysfs.join("class/dmi/id");
        let device_tree = roots.sysfs.join("firmware/devicetree/base");
        let mut product = machine_text(&dmi.join("product_name"), scratch);
        if product.is_empty() {
            product = machine_text(&device_tree.join("model"), scratch);
        }
        let mut serial = machine_text(&dmi.join("product_serial"), scratch);
        if serial.is_empty() {
            serial = machine_text(&device_tree.join("serial-number"), scratch);
        }
        Ok(SysInfo {
            ostype: procfs("sys/kernel/ostype")?,
            osrelease: procfs("sys/kernel/osrelease")?,
            hostname: procfs("sys/kernel/hostname")?.filter(|_| own_host),
            meminfo: procfs("meminfo")?,
            cpuinfo: procfs("cpuinfo")?,
            own_host,
            roots: roots.clone(),
            data: SysInfoData {
                status: Status::OK,
                os: String::new(),
                kernel: String::new(),
                hostname: String::new(),
                cpu_model: String::new(),
                cpu_count: None,
                ram: None,
                addresses: String::new(),
                addresses_omitted: None,
                vendor: machine_text(&dmi.join("sys_vendor"), scratch),
                product,
                serial,
            },
        })
    }

    /// What this host is now.
    ///
    /// Allocates a little: the os-release file is opened anew since an upgrade replaces it, and the
    /// list of addresses is the C library's.
    fn sample(&mut self, context: &mut Context) -> Result<&SysInfoData, ProbeError> {
        let scratch = &mut context.scratch;
        let data = &mut self.data;
        data.kernel.clear();
        for file in [&self.ostype, &self.osrelease].into_iter().flatten() {
            if let Ok(text) = file.read(scratch) {
                let separator = if data.kernel.is_empty() { "" } else { " " };
                data.kernel.push_str(separator);
                append(&mut data.kernel, text.trim_ascii());
            }
        }
        data.hostname.clear();
        match &self.hostname {
            Some(file) => read_name(file, scratch, &mut data.hostname),
            None if self.own_host => {}
            None => {
                if let Ok(file) = self.roots.source_of_host("etc/hostname") {
                    read_name(&file, scratch, &mut data.hostname);
                }
            }
        }
        let meminfo = self.meminfo.as_ref();
        data.ram = meminfo.and_then(|file| parse_ram(file.read(scratch).ok()?).ok());

        let mut cpus = Cpus::default();
        data.cpu_model.clear();
        let cpuinfo = self.cpuinfo.as_ref().map(|file| {
            file.read_lines(scratch, |line| {
                cpus.line(line, &mut data.cpu_model);
                Ok(())
            })
        });
        // A part of the file does not have all CPUs.
        let counted = matches!(cpuinfo, Some(Ok(()))) && cpus.count > 0;
        data.cpu_count = counted.then_some(cpus.count);

        data.os.clear();
        for name in ["etc/os-release", "usr/lib/os-release"] {
            if let Ok(file) = self.roots.source_of_host(name)
                && let Ok(text) = file.read(scratch)
            {
                parse_os_release(text, &mut data.os);
                break;
            }
        }
        if self.own_host {
            list_addresses(data);
        }
        let known = [&data.os, &data.kernel, &data.hostname, &data.cpu_model];
        if known.iter().all(|text| text.is_empty()) && data.ram.is_none() {
            let nothing = "holds none of the files that are read there; is it a procfs?";
            let cause = io::Error::new(io::ErrorKind::NotFound, nothing);
            return Err(ProbeError::read(&self.roots.procfs, cause));
        }
        Ok(data)
    }
}

/// Appends the first line that is neither empty nor a comment (hostname(5)).
fn read_name(file: &SourceFile, scratch: &mut Scratch, name: &mut String) {
    let Ok(text) = file.read(scratch) else { return };
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut names = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    append(name, names.next().unwrap_or_default());
}

/// A text of the firmware; empty if it cannot be read. The device tree ends its texts with a NUL.
fn machine_text(path: &Path, scratch: &mut Scratch) -> String {
    let mut text = String::new();
    if let Ok(file) = SourceFile::open(path)
        && let Ok(found) = file.read(scratch)
    {
        let end = found.iter().position(|byte| *byte == 0);
        let found = end.and_then(|end| found.get(..end)).unwrap_or(found);
        append(&mut text, found.trim_ascii());
    }
    text
}

/// Appends what fits of `text`, with U+FFFD for what is not UTF-8.
fn append(to: &mut String, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let replaced = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for character in chunk.valid().chars().chain(replaced) {
            if to.len() + character.len_utf8() > MAX_TEXT {
                return;
            }
            to.push(character);
        }
    }
}

fn list_addresses(data: &mut SysInfoData) {
    data.addresses.clear();
    // Without addresses the rest is still worth a report.
    let interfaces = getifaddrs().into_iter().flatten().filter(|interface| {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP);
        up && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    let addresses = interfaces.filter_map(|it| it.address.as_ref().and_then(ip_address));
    write_addresses(data, addresses.filter(is_reachable));
}

fn write_addresses(data: &mut SysInfoData, addresses: impl Iterator<Item = IpAddr>) {
    data.addresses_omitted = None;
    let mut listed = 0;
    for address in addresses {
        if listed == MAX_ADDRESSES {
            *data.addresses_omitted.get_or_insert(0) += 1;
            continue;
        }
        let separator = if listed == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(data.addresses, "{separator}{address}");
        listed += 1;
    }
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
}

/// Whether an address means something to another host.
fn is_reachable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
