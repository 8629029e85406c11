//! `mote export`: the history of a service, for people, spreadsheets and programs.

use std::collections::BTreeSet;
use std::io;

use form_urlencoded::Serializer;
use serde::Deserialize;

use super::ask::RunningCollector;
use super::instant::{utc, written, zone};
use super::outcome::{Failed, exit, failed, say, say_raw};
use super::source::Source;
use super::table::TextTable;

/// What is wanted of which service.
pub struct WantedSeries<'a> {
    /// The host's id, or the name of its table.
    pub host: &'a str,
    /// The service.
    pub service: &'a str,
    /// One item only, such as a disk.
    pub item: Option<&'a str>,
    /// One field only.
    pub field: Option<&'a str>,
    /// The first instant, in seconds since 1970-01-01 00:00 UTC.
    pub from: Option<f64>,
    /// The end.
    pub to: Option<f64>,
    /// How many rows at most.
    pub rows: u32,
}

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    TextTable,
    /// A row for each time and column, as RFC 4180 says.
    Csv,
    /// The answer of the collector.
    Json,
}

impl Form {
    /// By the options of the command line.
    pub fn of(csv: bool, json: bool) -> Form {
        match (csv, json) {
            (_, true) => Form::Json,
            (true, false) => Form::Csv,
            (false, false) => Form::TextTable,
        }
    }
}

#[derive(Deserialize)]
struct Series {
    step: f64,
    times: Vec<f64>,
    columns: Vec<Column>,
    columns_left_out: usize,
}

#[derive(Deserialize)]
struct Column {
    #[serde(default)]
    item: String,
    field: String,
    min: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    avg: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Hosts {
    hosts: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    client_id: crate::client_name::ClientName,
    label: String,
}

/// A terminal shows about so many columns of averages side by side.
const SIDE_BY_SIDE: usize = 12;

/// Prints the history.
pub fn export(source: &Source, wanted: &WantedSeries<'_>, form: Form) -> Result<(), Failed> {
    let collector = RunningCollector::of(source)?;
    let (text, series) = ask(&collector, wanted)?;
    if series.columns.is_empty() && (wanted.item, wanted.field) != (None, None) {
        is_known(&collector, wanted)?;
    }
    if form == Form::Json {
        return say(&text);
    }
    if series.columns_left_out > 0 {
        log::warn!(
            "{} columns are left out; name one with --item or --field",
            series.columns_left_out
        );
    }
    match form {
        Form::Csv => csv(&series),
        _ if series.columns.len() > SIDE_BY_SIDE => say_raw(&summary(&series)),
        _ => say_raw(&side_by_side(&series)),
    }
}

/// Whether there are such columns at another time, if there are none in this one.
fn is_known(collector: &RunningCollector, wanted: &WantedSeries<'_>) -> Result<(), Failed> {
    let all = WantedSeries {
        item: None,
        field: None,
        ..*wanted
    };
    let (_, now) = ask(collector, &all)?;
    if !now.columns.is_empty() {
        return Err(failed(
            exit::USAGE,
            nothing_of(wanted, "in this time", &now),
        ));
    }
    let ever = WantedSeries {
        from: Some(0.0),
        to: None,
        rows: 1,
        ..all
    };
    let (_, ever) = ask(collector, &ever)?;
    let is_it = |it: &Column| {
        wanted.item.is_none_or(|item| item == it.item)
            && wanted.field.is_none_or(|field| field == it.field)
    };
    match ever.columns.iter().any(is_it) {
        true => Ok(()),
        false => Err(failed(exit::USAGE, nothing_of(wanted, "so far", &ever))),
    }
}

fn ask(
    collector: &RunningCollector,
    wanted: &WantedSeries<'_>,
) -> Result<(String, Series), Failed> {
    let query = query(collector, wanted)?;
    let text = collector.get_text(&format!("/api/series?{query}"))?;
    let series = serde_json::from_str(&text).map_err(|cause| {
        failed(
            exit::UNAVAILABLE,
            format!("the collector's answer is not one that this version knows: {cause}"),
        )
    })?;
    Ok((text, series))
}

/// A sentence that says which columns there are instead.
fn nothing_of(wanted: &WantedSeries<'_>, when: &str, all: &Series) -> String {
    let names = |name: fn(&Column) -> &str| {
        let names: BTreeSet<&str> = all.columns.iter().map(name).collect();
        let names: Vec<String> = names.iter().map(|it| format!("{it:?}")).collect();
        names.join(", ")
    };
    let asked = [("item", wanted.item), ("field", wanted.field)];
    let asked = asked.map(|(kind, name)| name.map(|name| format!("{kind} {name:?}")));
    let asked: Vec<String> = asked.into_iter().flatten().collect();
    let (service, host) = (wanted.service, wanted.host);
    if all.columns.is_empty() {
        return format!(
            "{service:?} of {host} reported no number {when}, and so no {}",
            asked.join(" with ")
        );
    }
    format!(
        "{service:?} of {host} reported no {} {when}; it has the items {} and the fields {}",
        asked.join(" with "),
        names(|it| &it.item),
        names(|it| &it.field)
    )
}

/// Hosts that the settings no longer name have a history too, by their id.
fn query(collector: &RunningCollector, wanted: &WantedSeries<'_>) -> Result<String, Failed> {
    let Hosts { hosts } = collector.get("/api/hosts")?;
    let named = hosts.iter().find(|it| it.label == wanted.host);
    let id = named.map_or_else(|| wanted.host.to_owned(), |it| it.client_id.to_string());
    let mut query = Serializer::new(String::new());
    query.append_pair("client_id", &id);
    query.append_pair("service", wanted.service);
    query.append_pair("width", &wanted.rows.to_string());
    let times = [("from", wanted.from), ("to", wanted.to)];
    for (name, value) in times {
        if let Some(value) = value {
            query.append_pair(name, &value.to_string());
        }
    }
    for (name, value) in [("item", wanted.item), ("field", wanted.field)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    Ok(query.finish())
}

fn csv(series: &Series) -> Result<(), Failed> {
    let mut writer = csv::WriterBuilder::new().from_writer(io::stdout().lock());
    let written = write_csv(&mut writer, series);
    match written {
        Err(error) if is_closed(&error) => Ok(()),
        written => {
            written.map_err(|error| failed(exit::FAILED, format!("standard output: {error}")))
        }
    }
}

fn is_closed(error: &csv::Error) -> bool {
    matches!(error.kind(), csv::ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
}

fn write_csv(writer: &mut csv::Writer<impl io::Write>, series: &Series) -> Result<(), csv::Error> {
    writer.write_record(["time", "item", "field", "min", "avg", "max"])?;
    for (bin, time) in series.times.iter().enumerate() {
        let time = utc(*time);
        for column in &series.columns {
            let value = |values: &[Option<f64>]| values.get(bin).copied().flatten();
            let (Some(min), Some(avg), Some(max)) =
                (value(&column.min), value(&column.avg), value(&column.max))
            else {
                continue;
            };
            let (min, avg, max) = (min.to_string(), avg.to_string(), max.to_string());
            writer.write_record([&time, &column.item, &column.field, &min, &avg, &max])?;
        }
    }
    writer.flush().map_err(csv::Error::from)
}

fn name(column: &Column) -> String {
    match column.item.is_empty() {
        true => column.field.clone(),
        false => format!("{}.{}", column.item, column.field),
    }
}

/// A row a time, a column an average.
fn side_by_side(series: &Series) -> String {
    let names = series.columns.iter().map(|it| format!(">{}", name(it)));
    let headings: Vec<String> = std::iter::once("TIME".to_owned()).chain(names).collect();
    let mut table = TextTable::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for (bin, time) in series.times.iter().enumerate() {
        let averages = series
            .columns
            .iter()
            .map(|it| shown(it.avg.get(bin).copied().flatten()));
        table.add_all(std::iter::once(written(*time)).chain(averages).collect());
    }
    format!(
        "{}Averages of {} s each; times are in {}.\n",
        table.text(),
        series.step,
        zone()
    )
}

/// A row a column, over the whole time.
fn summary(series: &Series) -> String {
    let mut table = TextTable::new(&["ITEM", "FIELD", ">MIN", ">AVERAGE", ">MAX", ">LAST"]);
    for column in &series.columns {
        let averages = || column.avg.iter().copied().flatten();
        let average = averages().sum::<f64>() / averages().count() as f64;
        table.add([
            column.item.clone(),
            column.field.clone(),
            shown(column.min.iter().copied().flatten().reduce(f64::min)),
            shown(Some(average).filter(|it| it.is_finite())),
            shown(column.max.iter().copied().flatten().reduce(f64::max)),
            shown(averages().next_back()),
        ]);
    }
    format!(
        "{}Name an --item or --field to see it over time.\n",
        table.text()
    )
}

fn shown(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.fract() == 0.0 => format!("{value}"),
        Some(value) => format!("{value:.2}"),
    }
}
