//! `mote check`: which services would be monitored, and whether the server takes their reports.

use std::time::Duration;

use ureq::http::StatusCode;

use super::outcome::{ANSWER_TIME, Failed, exit, failed, say};
use super::sample::sample;
use super::source::{Source, account_failure, privilege_failure};
use crate::http::{CallError, Client, Tried};
use crate::orders::{self, Orders, Plugin};
use crate::plugin::PluginUser;
use crate::settings::{Encoding, OrdersFrom, Server, Settings};
use crate::system::attempt;
use crate::system::ids::new_boot_id;
use crate::system::privileges::{self, PrivilegeError};

/// Says which services would be monitored, and changes nothing.
/// `send`: also samples each of them once and posts the reports.
pub fn check(source: &Source, send: bool) -> Result<(), Failed> {
    let settings = source.settings_to_ask()?;
    // Whoever asks may not be the user who starts the agent.
    if let Some(Err(error @ PrivilegeError::UnknownUser(_))) =
        settings.user.as_deref().map(privileges::user_to_become)
    {
        return Err(privilege_failure(error));
    }
    if let Some(name) = &settings.plugin_user
        && let Err(error) = PluginUser::find(name, settings.user.as_deref())
        && error.is_of_settings()
    {
        return Err(account_failure(error));
    }
    let (document, from) = match &settings.orders_from {
        OrdersFrom::Local { document, place } => (document.clone().into_bytes(), place.to_string()),
        OrdersFrom::Server(server) => {
            let client = Client::new(server, &settings.client_id.to_string());
            let document = client
                .fetch_config()
                .map_err(|error| no_orders(&error, settings.client_id.to_string(), server))?;
            (document, server.url.clone())
        }
    };
    let orders = orders::parse(&document, &settings.plugins.allowed).map_err(|error| {
        let code = match settings.orders_from {
            OrdersFrom::Local { .. } => exit::SETTINGS,
            OrdersFrom::Server(_) => exit::UNAVAILABLE,
        };
        failed(code, format!("{from}: {error}"))
    })?;
    say(&format!(
        "{}: the settings are valid",
        settings.file.display()
    ))?;
    let count = orders.services().len();
    say(&format!(
        "{from}: client {} monitors {count} services",
        settings.client_id
    ))?;
    for service in orders.services() {
        let remark = match &service.plugin {
            Plugin::Probe(..) => String::new(),
            Plugin::Executable(name) => {
                let (plugins, its) = (settings.plugins.clone(), name.clone());
                match attempt::within(ANSWER_TIME, move || plugins.find(&its)) {
                    Some(Ok(path)) => format!("  runs {}", path.display()),
                    Some(Err(error)) => format!("  cannot run: {error}"),
                    None => {
                        let place = settings.plugins.place(name).display();
                        format!("  cannot run: {place} is on a file system that does not answer")
                    }
                }
            }
            Plugin::Unknown(_) => {
                "  cannot run: no probe, and not listed in the setting `plugins`".to_owned()
            }
        };
        let (name, plugin) = (service.name.as_str(), service.plugin.name());
        say(&format!(
            "  {name}  {plugin}  every {}{remark}",
            service.interval
        ))?;
    }
    match (send, settings.server()) {
        (true, Some(server)) => send_all(source, &settings, server, &orders),
        (true, None) => Err(failed(
            exit::SETTINGS,
            format!("{from}: there is no [server] to send to"),
        )),
        (false, _) => Ok(()),
    }
}

/// The failure of an ask for orders, with what to check.
fn no_orders(error: &CallError, client: String, server: &Server) -> Failed {
    let hint = if error.status() == Some(StatusCode::NOT_FOUND) {
        format!(
            "; perhaps the server does not know client {client}: look at `client_id`, and at `get_configs.path` in [server]"
        )
    } else if error.is_no_http() && !server.is_https() {
        "; if that port speaks TLS, its address begins with https://".to_owned()
    } else {
        String::new()
    };
    failed(exit::UNAVAILABLE, format!("{error}{hint}"))
}

/// Rates are taken over this time.
const SAMPLE_TIME: Duration = Duration::from_secs(1);

/// Samples each service once, posts the report, and shows the server's answer.
fn send_all(
    source: &Source,
    settings: &Settings,
    server: &Server,
    orders: &Orders,
) -> Result<(), Failed> {
    let client = Client::new(server, &settings.client_id.to_string());
    let roots = source.roots(settings.roots.clone());
    let services: Vec<_> = orders
        .services()
        .iter()
        .map(|it| (it.name.as_str(), it.plugin.name()))
        .collect();
    let boot = new_boot_id();
    let mut not_taken = 0;
    say(&format!(
        "one report of each to {}/{}:",
        server.url, server.report_path
    ))?;
    sample(
        Some(settings),
        &roots,
        &services,
        &boot,
        SAMPLE_TIME,
        |service, report| {
            let tried = client.try_report(report.bytes);
            let (answer, hint) = match &tried {
                Err(error) => (error.to_string(), None),
                Ok(tried) => (answer_of(tried), hint(tried, server)),
            };
            not_taken += u32::from(!matches!(&tried, Ok(Tried { error: None, .. })));
            say(&format!("  {service}  {answer}"))?;
            hint.map_or(Ok(()), |hint| say(&format!("    {hint}")))
        },
    )?;
    match not_taken {
        0 => Ok(()),
        _ => Err(failed(
            exit::UNAVAILABLE,
            format!("{not_taken} of {} reports were not taken", services.len()),
        )),
    }
}

fn answer_of(tried: &Tried) -> String {
    match (&tried.error, &tried.words) {
        (Some(error), _) => error.to_string(),
        (None, Some(words)) => format!("taken: {}, it says \"{words}\"", tried.status),
        (None, None) => format!("taken: {}", tried.status),
    }
}

/// What is probably wrong, by what servers of this family answer.
fn hint(tried: &Tried, server: &Server) -> Option<String> {
    let body = String::from_utf8_lossy(&tried.body);
    let path = &server.report_path;
    let other = match server.report_encoding {
        Encoding::Json => "form",
        Encoding::Form => "json",
    };
    let slash = match path.ends_with('/') {
        true => "",
        false => "; many servers want a slash at its end",
    };
    Some(match tried.status.as_u16() {
        404 | 405 | 410 => {
            format!(
                "reports are not taken there: set `service_report.path` in [server], now {path:?}{slash}"
            )
        }
        400 | 415 | 422 | 500 => {
            format!("try `service_report.encoding = \"{other}\"` in [server]{slash}")
        }
        200..=299 if body.trim_start().starts_with('<') => format!(
            "this is a web page, perhaps of another path: look at `service_report.path` in [server], now {path:?}{slash}"
        ),
        _ => return None,
    })
}
