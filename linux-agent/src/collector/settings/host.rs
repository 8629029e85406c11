//! A host as the collector knows it: what it is called, and what it monitors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeTuple, Serializer};

use super::alarms::{AlarmRule, OF_A_HOST};
use crate::client_name::ClientName;
use crate::collector::digest::Digest;

/// A host and what it is ordered to monitor. In JSON: the services document that its agent gets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Host {
    /// The name of its table in the settings, for people.
    #[serde(skip)]
    pub label: String,
    /// Where its token is, if the settings name one.
    #[serde(skip)]
    pub token: Option<TokenSource>,
    /// The boards that it may ask and report for, with its own token.
    #[serde(skip)]
    pub reports_for: Vec<ClientName>,
    /// The groups that it is in.
    #[serde(skip)]
    pub groups: Vec<String>,
    /// By service name.
    pub services: BTreeMap<String, OrderedService>,
    /// Who ordered each service, by its name.
    #[serde(skip)]
    pub origins: BTreeMap<String, Origin>,
    /// What raises an alarm.
    #[serde(skip)]
    pub alarms: Vec<Arc<AlarmRule>>,
}

impl Host {
    /// The names of its alarms.
    pub fn alarm_names(&self) -> impl Iterator<Item = &str> {
        let own = self.alarms.iter().map(|it| it.name.as_str());
        OF_A_HOST.into_iter().chain(own)
    }
}

/// Where the order for a service comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The template that has it.
    pub template: String,
    /// The group that has the template; `None` if the host has it itself.
    pub group: Option<String>,
}

/// Where a host's token is.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// In a file.
    File(PathBuf),
    /// The settings hold only its digest.
    Sha256(Digest),
}

/// What to sample and how often. In JSON: `["get_linux_cpu", 15]`, the interval in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedService {
    /// The plugin's name, as agents know it.
    pub plugin: String,
    /// 100 to 604800000: a tenth of a second to seven days.
    pub interval_ms: u32,
}

impl Serialize for OrderedService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(&self.plugin)?;
        // Whole seconds are integers: boards and older agents read nothing else.
        match self.interval_ms % 1000 {
            0 => pair.serialize_element(&(self.interval_ms / 1000))?,
            _ => pair.serialize_element(&(f64::from(self.interval_ms) / 1000.0))?,
        }
        pair.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_have_no_point() {
        let json = |interval_ms| {
            let plugin = "p".to_owned();
            serde_json::to_string(&OrderedService {
                plugin,
                interval_ms,
            })
            .unwrap()
        };
        assert_eq!(json(15_000), r#"["p",15]"#);
        assert_eq!(json(100), r#"["p",0.1]"#);
        assert_eq!(json(2_500), r#"["p",2.5]"#);
    }
}
