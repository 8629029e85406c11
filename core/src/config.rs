//! The services document: which services to monitor, and how often.
//!
//! ```json
//! {"services": {"LinuxCPU": ["get_linux_cpu", 15], "LinuxMemory": ["get_memory_info", 60]}}
//! ```
//!
//! A document is taken whole or not at all. Further elements of a service's array and unknown keys are
//! ignored; nothing may nest deeper than [`MAX_DEPTH`].

use core::fmt;

use heapless::{String, Vec};

use crate::json::{MAX_DEPTH, Malformed, Reader, unescape};
use crate::time::Interval;

/// The name of a service or plugin: 1 to `L` bytes of UTF-8 (`L` at most 255).
pub type Name<const L: usize> = String<L, u8>;

/// One service to monitor. `P` is what a plugin's name stands for on this platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service<P, const L: usize> {
    /// The server's name for it.
    pub name: Name<L>,
    /// What to run.
    pub plugin: P,
    /// How often.
    pub interval: Interval,
}

/// A valid set of at most `N` services, each name at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config<P, const N: usize, const L: usize> {
    services: Vec<Service<P, L>, N>,
}

/// Why a services document is refused, and because of which service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{fault}", Of(service))]
pub struct ConfigError<const L: usize> {
    /// The service at fault, cut to `L` bytes. `None` if the document as a whole is at fault.
    pub service: Option<Name<L>>,
    /// What is wrong.
    pub fault: ConfigFault,
}

/// What is wrong with a services document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// It is not JSON of the expected shape; the byte where reading stopped is not known.
    #[error("not a services document in JSON")]
    NotADocument,
    /// It has no `services` object.
    #[error("the document has no `services` object")]
    NoServices,
    /// It has more than one `services` object.
    #[error("the document has two `services` objects")]
    TwoServices,
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("the document nests deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The service is not `[plugin, interval]`.
    #[error("must be [plugin name, interval in seconds]")]
    NotPluginAndInterval,
    /// The interval is not a number from [`Interval::MIN`] to [`Interval::MAX`].
    #[error(
        "the interval must be a number from {} to {}",
        Interval::MIN,
        Interval::MAX
    )]
    Interval,
    /// A name is empty, longer than this many bytes, or not valid text.
    #[error("the service's name must be text of 1 to {0} bytes without control characters")]
    ServiceName(usize),
    /// The plugin's name is empty, longer than this many bytes, or not valid text.
    #[error("the plugin's name must be text of 1 to {0} bytes without control characters")]
    PluginName(usize),
    /// The name stands in the document twice.
    #[error("named twice")]
    Duplicate,
    /// There are more than this many services.
    #[error("one more than the {0} services there is room for")]
    TooMany(usize),
}

impl<P, const N: usize, const L: usize> Config<P, N, L> {
    /// Without services: an order to monitor nothing.
    pub const fn new() -> Self {
        Config {
            services: Vec::new(),
        }
    }

    /// Adds a service, as a compiled-in default does.
    pub fn push(&mut self, service: Service<P, L>) -> Result<(), ConfigError<L>> {
        let fault = if service.name.is_empty() {
            ConfigFault::ServiceName(L)
        } else if self.services.iter().any(|it| it.name == service.name) {
            ConfigFault::Duplicate
        } else {
            match self.services.push(service) {
                Ok(()) => return Ok(()),
                Err(refused) => return Err(ConfigFault::TooMany(N).of_service(refused.name)),
            }
        };
        Err(fault.of_service(service.name))
    }

    /// Reads a services document. `resolve` says what a plugin's name stands for here; it also gets names that this
    /// platform does not know.
    pub fn parse(document: &[u8], resolve: impl FnMut(&str) -> P) -> Result<Self, ConfigError<L>> {
        let mut config = Config::new();
        config.read(document, resolve)?;
        Ok(config)
    }

    /// As [`Config::parse`], in place: a table for many services is too large to be moved on a small stack. After
    /// an error it holds no services.
    pub fn read(
        &mut self,
        document: &[u8],
        mut resolve: impl FnMut(&str) -> P,
    ) -> Result<(), ConfigError<L>> {
        self.services.clear();
        let result = self.read_document(document, &mut resolve);
        if result.is_err() {
            self.services.clear();
        }
        result
    }

    fn read_document(
        &mut self,
        document: &[u8],
        resolve: &mut dyn FnMut(&str) -> P,
    ) -> Result<(), ConfigError<L>> {
        let mut json = Reader::new(document);
        let mut found = false;
        json.open(b'{')?;
        while let Some(key) = json.next_key()? {
            if unescape::<8>(key).as_deref() != Some("services") {
                json.skip()?;
                continue;
            }
            if found {
                return Err(ConfigFault::TwoServices.of_document());
            }
            found = true;
            self.read_services(&mut json, resolve)?;
        }
        json.end()?;
        match found {
            true => Ok(()),
            false => Err(ConfigFault::NoServices.of_document()),
        }
    }

    /// `{"name": [plugin, interval], …}`
    fn read_services(
        &mut self,
        json: &mut Reader<'_>,
        resolve: &mut dyn FnMut(&str) -> P,
    ) -> Result<(), ConfigError<L>> {
        json.open(b'{')?;
        while let Some(key) = json.next_key()? {
            let Some(name) = read_name(key) else {
                return Err(ConfigFault::ServiceName(L).of_service(cut(key)));
            };
            match read_orders::<_, L>(json, resolve) {
                Ok((plugin, interval)) => self.push(Service {
                    name,
                    plugin,
                    interval,
                })?,
                Err(ConfigFault::TooDeep) => return Err(ConfigFault::TooDeep.of_document()),
                Err(ConfigFault::NotADocument) => {
                    return Err(ConfigFault::NotPluginAndInterval.of_service(name));
                }
                Err(fault) => return Err(fault.of_service(name)),
            }
        }
        Ok(())
    }

    /// The services in the document's order.
    pub fn services(&self) -> &[Service<P, L>] {
        &self.services
    }
}

impl<P, const N: usize, const L: usize> Default for Config<P, N, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigFault {
    /// A keyword, for where a sentence is too long.
    pub const fn keyword(self) -> &'static str {
        match self {
            ConfigFault::NotADocument => "not-a-document",
            ConfigFault::NoServices => "no-services",
            ConfigFault::TwoServices => "two-services",
            ConfigFault::TooDeep => "too-deep",
            ConfigFault::NotPluginAndInterval => "not-plugin-and-interval",
            ConfigFault::Interval => "interval",
            ConfigFault::ServiceName(_) => "service-name",
            ConfigFault::PluginName(_) => "plugin-name",
            ConfigFault::Duplicate => "duplicate",
            ConfigFault::TooMany(_) => "too-many",
        }
    }

    fn of_service<const L: usize>(self, name: Name<L>) -> ConfigError<L> {
        ConfigError {
            service: Some(name),
            fault: self,
        }
    }

    fn of_document<const L: usize>(self) -> ConfigError<L> {
        ConfigError {
            service: None,
            fault: self,
        }
    }
}

/// Writes the service at fault, if there is one, before what is wrong.
struct Of<'a, const L: usize>(&'a Option<Name<L>>);

impl<const L: usize> fmt::Display for Of<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .as_ref()
            .map_or(Ok(()), |name| write!(f, "service {name:?}: "))
    }
}

impl From<Malformed> for ConfigFault {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Json => ConfigFault::NotADocument,
            Malformed::TooDeep => ConfigFault::TooDeep,
        }
    }
}

impl<const L: usize> From<Malformed> for ConfigError<L> {
    fn from(malformed: Malformed) -> Self {
        ConfigFault::from(malformed).of_document()
    }
}

/// `[plugin, interval, …]`
fn read_orders<P, const L: usize>(
    json: &mut Reader<'_>,
    resolve: &mut dyn FnMut(&str) -> P,
) -> Result<(P, Interval), ConfigFault> {
    json.open(b'[')?;
    if !json.next_element()? {
        return Err(ConfigFault::NotPluginAndInterval);
    }
    let plugin: Name<L> = read_name(json.string()?).ok_or(ConfigFault::PluginName(L))?;
    if !json.next_element()? {
        return Err(ConfigFault::NotPluginAndInterval);
    }
    let interval = Interval::from_json(json.scalar()).ok_or(ConfigFault::Interval)?;
    if !matches!(json.peek(), Some(b',' | b']')) {
        return Err(ConfigFault::Interval);
    }
    while json.next_element()? {
        json.skip()?;
    }
    Ok((resolve(&plugin), interval))
}

/// A name of 1 to `L` bytes, from the inside of a JSON string.
fn read_name<const L: usize>(raw: &str) -> Option<Name<L>> {
    unescape(raw).filter(|name| !name.is_empty())
}

/// As much of a name as fits.
fn cut<const L: usize>(text: &str) -> Name<L> {
    let mut name = Name::new();
    for c in text.chars() {
        if name.push(c).is_err() {
            break;
        }
    }
    name
}

#[cfg(test)]
mod tests;
