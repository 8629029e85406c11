//! `mote hosts`: which hosts report, and how they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::ask::RunningCollector;
use super::instant::{lasting, written, zone};
use super::outcome::{Failed, exit, failed, say, say_raw};
use super::source::Source;
use super::table::TextTable;
use crate::client_name::ClientName;

#[derive(Deserialize)]
struct Answer {
    hosts: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    client_id: ClientName,
    label: String,
    carried_by: Option<ClientName>,
    state: String,
    late_s: Option<f64>,
    last: Option<f64>,
    orders_fetched: Option<f64>,
    refused: Option<f64>,
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    plugin: String,
    interval_s: f64,
    template: Option<String>,
    group: Option<String>,
    state: String,
    last: Option<f64>,
    data: Option<Value>,
}

const ALL: &str = "/api/hosts";

/// Shows all hosts, those that do not report first, or one with its services.
pub fn hosts(
    source: &Source,
    name: Option<&str>,
    only_problems: bool,
    json: bool,
) -> Result<(), Failed> {
    let collector = RunningCollector::of(source)?;
    if json && name.is_none() && !only_problems {
        return say(&collector.get_text(ALL)?);
    }
    let mut answer: Value = collector.get(ALL)?;
    let is_meant = |host: &Value| {
        let is = |key, value: &str| host.get(key).is_some_and(|it| text_of(it) == value);
        name.is_none_or(|name| is("label", name) || is("client_id", name))
            && !(only_problems && is("state", "reporting"))
    };
    if let Some(hosts) = answer.get_mut("hosts").and_then(Value::as_array_mut) {
        hosts.retain(is_meant);
        if let Some(name) = name.filter(|_| hosts.is_empty() && !only_problems) {
            let sentence = format!("there is no host {name:?}; `mote hosts` lists them");
            return Err(failed(exit::USAGE, sentence));
        }
    }
    if json {
        return say(&answer.to_string());
    }
    let Answer { mut hosts } = serde_json::from_value(answer).map_err(|cause| {
        failed(
            exit::UNAVAILABLE,
            format!("the collector's answer is not one that this version knows: {cause}"),
        )
    })?;
    match (name, hosts.as_slice()) {
        (Some(_), [host]) => say_raw(&one(host)),
        (_, []) if only_problems => say("all hosts report"),
        (_, []) => say("there are no hosts; add a table such as [hosts.web] to the settings"),
        _ => {
            hosts.sort_by_key(|it| (rank(&it.state), it.label.clone()));
            say_raw(&all(&hosts))
        }
    }
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The worst first.
fn rank(state: &str) -> usize {
    let order = ["silent", "late", "never", "reporting"];
    order.iter().position(|it| *it == state).unwrap_or(0)
}

fn all(hosts: &[Host]) -> String {
    let labels: BTreeMap<_, _> = hosts.iter().map(|it| (&it.client_id, &it.label)).collect();
    let mut table = TextTable::new(&[
        "HOST",
        "STATE",
        ">CPU",
        ">MEMORY",
        ">FULLEST DISK",
        "LAST REPORT",
        "BEHIND",
    ]);
    for host in hosts {
        let behind = host.carried_by.as_ref();
        let behind = behind.map(|it| {
            labels
                .get(it)
                .map_or_else(|| it.to_string(), |it| (*it).clone())
        });
        table.add([
            host.label.clone(),
            state(&host.state, host.late_s),
            percent(cpu(host)),
            percent(memory(host)),
            disk(host).unwrap_or_else(nothing),
            host.last.map_or_else(nothing, written),
            behind.unwrap_or_default(),
        ]);
    }
    format!("{}Times are in {}.\n", table.text(), zone())
}

fn one(host: &Host) -> String {
    let mut text = format!(
        "{} (client {}): {}\n",
        host.label,
        host.client_id,
        state(&host.state, host.late_s)
    );
    if let Some(fetched) = host.orders_fetched {
        text.push_str(&format!("It fetched its orders at {}.\n", written(fetched)));
    }
    if let Some(refused) = host.refused {
        let refused = written(refused);
        text.push_str(&format!(
            "It was refused at {refused}, for want of a valid token: enroll it again.\n"
        ));
    }
    let mut table = TextTable::new(&[
        "SERVICE",
        "PLUGIN",
        ">EVERY",
        "ORDERED BY",
        "STATE",
        "LAST REPORT",
    ]);
    for service in &host.services {
        let template = service.template.as_ref().map(|it| format!("template {it}"));
        let ordered = match (template, &service.group) {
            (Some(template), Some(group)) => format!("{template} of group {group}"),
            (Some(template), None) => template,
            (None, _) => "the host itself".to_owned(),
        };
        table.add([
            service.name.clone(),
            service.plugin.clone(),
            format!("{} s", service.interval_s),
            ordered,
            why(service),
            service.last.map_or_else(nothing, written),
        ]);
    }
    text.push_str(&match table.is_empty() {
        true => "Nothing is ordered of it: give it or its group a template.\n".to_owned(),
        false => table.text(),
    });
    text
}

fn why(service: &Service) -> String {
    let error = service.data.as_ref().and_then(|it| it.get("error"));
    match error.and_then(Value::as_str) {
        Some(error) => format!("{}, fails: {error}", service.state),
        None => service.state.clone(),
    }
}

fn state(state: &str, late_s: Option<f64>) -> String {
    match (state, late_s) {
        ("late" | "silent", Some(late)) => format!("{state} by {}", lasting(late)),
        ("never", _) => "never reported".to_owned(),
        _ => state.to_owned(),
    }
}

fn nothing() -> String {
    "–".to_owned()
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(nothing, |it| format!("{it:.1} %"))
}

/// The last data of the service that runs `plugin`.
fn data<'h>(host: &'h Host, plugin: &str) -> Option<&'h Value> {
    let service = host.services.iter().find(|it| it.plugin == plugin);
    service.and_then(|it| it.data.as_ref())
}

fn number(host: &Host, plugin: &str, field: &str) -> Option<f64> {
    data(host, plugin)?.get(field)?.as_f64()
}

fn cpu(host: &Host) -> Option<f64> {
    let busy = number(host, "get_linux_cpu", "idle").map(|idle| 100.0 - idle);
    busy.or_else(|| number(host, "get_mcu_load", "load_permille").map(|it| it / 10.0))
}

fn memory(host: &Host) -> Option<f64> {
    number(host, "get_memory_info", "MemUsage_p")
}

fn disk(host: &Host) -> Option<String> {
    let disks = data(host, "get_filesystem")?.get("data")?.as_object()?;
    let used = disks
        .iter()
        .filter_map(|(name, fields)| Some((name, fields.get("used_p")?.as_f64()?)));
    let (name, used) = used.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    Some(format!("{name} {used:.1} %"))
}
