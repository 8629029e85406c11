//! What follows from the settings and from who has enrolled, at the start and whenever they change.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::sync::watch::Sender;
use tokio_rustls::TlsAcceptor;

use super::auth::Guard;
use super::certificate;
use super::error::ServeError;
use super::http::app::{App, Rules};
use super::reload::{Loaded, Reloader, WatchedFiles};
use super::settings::ServerSettings;
use super::settings::host::Host;
use super::store::{Store, fleet};

/// Who may have what by these settings, with the log told what a person should know of them.
pub async fn rules(
    settings: &ServerSettings,
    address: SocketAddr,
    store: Store,
) -> Result<Rules, ServeError> {
    let rules = made(settings, store).await?;
    let (guard, hosts) = (&rules.guard, &rules.hosts);
    let has_tokens = guard.has_tokens().await;
    let client_certificates = settings
        .tls
        .as_ref()
        .is_some_and(|it| it.client_authorities.is_some());
    let is_local = address.ip().to_canonical().is_loopback();
    if !is_local && !has_tokens && !client_certificates && !settings.allow_anonymous {
        return Err(ServeError::Anonymous(address));
    }
    if hosts.is_empty() {
        log::warn!(
            "no hosts: every agent is refused until the settings have a table such as [hosts.web]"
        );
    }
    for clash in &settings.clashes {
        log::warn!("{clash}");
    }
    for remark in guard.remarks().await {
        log::warn!("{remark}");
    }
    if !is_local && settings.tls.is_none() && has_tokens {
        log::warn!(
            "tokens go over the network in the clear to {address}; set tls_cert_file \
             and tls_key_file, or listen on loopback"
        );
    }
    Ok(rules)
}

/// What follows from the settings and from who has enrolled.
async fn made(settings: &ServerSettings, store: Store) -> Result<Rules, ServeError> {
    let mut hosts = settings.hosts.clone();
    let mut fleet = BTreeSet::new();
    let enrolled = store.look_up(fleet::read).await;
    for (client, group) in enrolled.map_err(|_| ServeError::Unavailable)? {
        // What a file says goes first. A group that is gone has no hosts.
        if let Some(host) = settings.groups.get(&group) {
            hosts.entry(client).or_insert_with_key(|client| {
                fleet.insert(client.clone());
                Host {
                    label: client.to_string(),
                    ..host.clone()
                }
            });
        }
    }
    let hosts = Arc::new(hosts);
    let reader = settings.read_token_file.clone();
    let guard = Guard::new(Arc::clone(&hosts), settings.require_tokens, reader, store).await?;
    Ok(Rules {
        hosts,
        guard,
        fleet: Arc::new(fleet),
        groups: Arc::clone(&settings.groups),
        enroll_into: settings.enroll_into.clone(),
        access: Arc::clone(&settings.access),
        has_tls: settings.tls.is_some(),
        certificate: settings.tls.as_ref().and_then(certificate::to_be_told),
    })
}

/// From now on these rules count, for alarms and sessions too: of who has enrolled as of who stands in the settings.
async fn in_force(app: &App, rules: Rules, settings: &ServerSettings) {
    let access = Arc::clone(&rules.access);
    app.alarms
        .follow(Arc::clone(&rules.hosts), settings.notify.clone());
    app.follow(rules);
    app.sessions.follow(&access).await;
}

/// Never done. Requests under way keep the rules that they began with, and connections their encryption.
pub async fn follow_settings(
    settings: ServerSettings,
    watched: Option<WatchedFiles>,
    mut hangups: Signal,
    address: SocketAddr,
    app: Arc<App>,
    tls: Sender<Option<TlsAcceptor>>,
) {
    let (follow, mut loaded) = mpsc::unbounded_channel();
    let Some(watched) = watched else {
        return std::future::pending().await;
    };
    let reloader = match Reloader::start(watched, follow) {
        Ok(reloader) => reloader,
        Err(cause) => {
            log::error!("the settings are not read again when they change: {cause}");
            return std::future::pending().await;
        }
    };
    let mut current = settings.clone();
    loop {
        let new = tokio::select! {
            () = app.has_enrolled.notified() => {
                match made(&current, app.store.clone()).await {
                    Ok(rules) => in_force(&app, rules, &current).await,
                    Err(error) => log::error!("{error}; who enrolled last is not known yet"),
                }
                continue;
            }
            _ = hangups.recv() => {
                reloader.hang_up();
                continue;
            }
            new = loaded.recv() => new,
        };
        // The thread ends only with `reloader`.
        let Some(Loaded {
            settings: new,
            tls: encryption,
        }) = new
        else {
            return std::future::pending().await;
        };
        match rules(&new, address, app.store.clone()).await {
            Ok(rules) => {
                log::info!("the settings were read again; hosts: {}", rules.hosts.len());
                let at_start = |it: &ServerSettings| {
                    (it.listen, it.database.clone(), it.max_connections, it.store)
                };
                if at_start(&new) != at_start(&settings) {
                    log::warn!(
                        "`listen`, `database`, `max_connections`, `keep_…` and `commit_pause_ms` are read at start only: restart the collector to \
                         change them"
                    );
                }
                in_force(&app, rules, &new).await;
                tls.send_replace(encryption);
                current = new;
            }
            Err(error) => {
                log::error!("{error}; the settings that were read before stay in force");
            }
        }
    }
}
