//! `mote check`: which services would be monitored.

use super::outcome::{Failed, exit, failed, say};
use super::source::{Source, account_failure, privilege_failure};
use crate::http::Client;
use crate::orders::{self, Plugin};
use crate::plugin::Account;
use crate::settings::OrdersFrom;
use crate::system::privileges::{self, PrivilegeError};

/// Says which services would be monitored, and changes nothing.
pub fn check(source: &Source) -> Result<(), Failed> {
    let settings = source.settings_with_access()?;
    // Whoever asks may not be the user who starts the agent.
    if let Some(Err(error @ PrivilegeError::UnknownUser(_))) =
        settings.user.as_deref().map(privileges::user_to_become)
    {
        return Err(privilege_failure(error));
    }
    if let Some(name) = &settings.plugin_user
        && let Err(error) = Account::find(name, settings.user.as_deref())
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
                .map_err(|error| failed(exit::UNAVAILABLE, error))?;
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
            Plugin::Executable(name) => match settings.plugins.find(name) {
                Ok(path) => format!("  runs {}", path.display()),
                Err(error) => format!("  cannot run: {error}"),
            },
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
    Ok(())
}
