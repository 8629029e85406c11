//! What the agent follows: its orders and its settings, the first ones and those that come later.

use super::following::{self, Decision};
use super::{Agent, AgentError, millis};
use crate::orders;
use crate::settings::{self, Settings};
use crate::system::clock;

impl Agent {
    /// The orders to begin with: those in the settings, else the last ones that a server gave.
    pub(super) fn first_orders(&mut self) -> Result<(), AgentError> {
        let local = match &self.settings.orders_from {
            settings::OrdersFrom::Local { document, .. } => Some(document.clone().into_bytes()),
            settings::OrdersFrom::Server(_) => None,
        };
        let is_local = local.is_some();
        let Some(document) = local.or_else(|| orders::load_last(&self.settings.state_dir)) else {
            return Ok(());
        };
        match orders::parse(&document, &self.settings.plugins.allowed) {
            Ok(orders) => {
                self.sampling.apply(&orders);
                self.following.follow(document, has_services(&orders));
                Ok(())
            }
            Err(error) if is_local => Err(AgentError::Services(self.settings.file.clone(), error)),
            Err(error) => {
                let path = orders::last_path(&self.settings.state_dir);
                log::warn!("{} is not used: {error}", path.display());
                Ok(())
            }
        }
    }

    /// Follows a services document that the server gave, or keeps the one before.
    pub(super) fn follow(&mut self, document: Vec<u8>) {
        let now = clock::uptime();
        let orders = match orders::parse(&document, &self.settings.plugins.allowed) {
            Ok(orders) => orders,
            Err(error) => {
                let sentence = format!("the server's services document is not followed: {error}");
                self.courier.note_orders(Err(sentence));
                return self.sampling.monitor_mut().fetch_failed(now);
            }
        };
        let has_services = has_services(&orders);
        let verdict = self.following.judge(&document, has_services, now);
        self.courier.note_orders(match (has_services, verdict) {
            (true, _) => Ok(()),
            (false, Decision::Doubt) => Err(format!(
                "the server orders no services any more: it may not know this client, or its database fails; the \
                 services before stay in force unless it says so again in {} s",
                following::EMPTY_AGAIN_MS / 1000
            )),
            (false, _) => Err("the server orders no services: it may not know this client".to_owned()),
        });
        let monitor = self.sampling.monitor_mut();
        match verdict {
            Decision::Same => monitor.fetched(now),
            Decision::Doubt => monitor.fetch_failed(now),
            Decision::Follow => {
                log::info!("monitors {} services", orders.services().len());
                monitor.fetched(now);
                self.sampling.apply(&orders);
                self.courier.keep_orders(&document);
                self.following.follow(document, has_services);
            }
        }
    }

    /// Follows settings that were read anew. An error is one sentence, and changes nothing.
    pub(super) fn take_over(&mut self, new: Settings) -> Result<(), String> {
        for (key, changed) in [
            ("state_dir", new.state_dir != self.settings.state_dir),
            ("user", new.user != self.settings.user),
            ("plugin_user", new.plugin_user != self.settings.plugin_user),
            ("client_id", new.client_id != self.settings.client_id),
            ("procfs, sysfs or rootfs", new.roots != self.settings.roots),
        ] {
            if changed {
                return Err(format!("a new {key} needs a restart: mote restart"));
            }
        }
        let document = match &new.orders_from {
            settings::OrdersFrom::Local { document, .. } => document.clone().into_bytes(),
            settings::OrdersFrom::Server(_) => self.following.document().to_vec(),
        };
        let orders = match document.is_empty() {
            true => Box::new(orders::Orders::new()),
            false => orders::parse(&document, &new.plugins.allowed)
                .map_err(|error| format!("{}: services: {error}", new.file.display()))?,
        };
        let now = clock::uptime();
        let old = std::mem::replace(&mut self.settings, new);
        let new = &self.settings;
        if new.server() != old.server() {
            let id = new.client_id.to_string();
            self.courier
                .set_server(new.server().map(|server| (server, id.as_str())));
        }
        let queue = new.queue;
        self.courier.with_uplink(|uplink| {
            let sync_interval_ms = queue.sync_interval.map(millis);
            let queue_mut = uplink.queue_mut();
            queue_mut.set_bounds(queue.max_bytes, millis(queue.max_age), sync_interval_ms);
        });
        self.sampling.set(new, now);
        self.sampling.monitor_mut().fetch_now(now);
        self.sampling.apply(&orders);
        self.following.follow(document, has_services(&orders));
        self.set_boards();
        log::info!("read its settings anew");
        Ok(())
    }

    pub(super) fn set_boards(&mut self) {
        let has_server = self.settings.server().is_some();
        self.gateway.set_boards(&self.settings.boards, has_server);
    }
}

fn has_services(orders: &orders::Orders) -> bool {
    !orders.services().is_empty()
}
