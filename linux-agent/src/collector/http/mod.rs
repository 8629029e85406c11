//! What the collector answers: services to agents, reports to whoever reads them.

mod accounting;
pub(crate) mod alarms;
pub(crate) mod app;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod enroll;
pub(crate) mod events;
mod feed;
mod files;
pub(crate) mod frames;
mod gaps;
pub(crate) mod guesses;
pub(crate) mod hashing;
mod heads;
mod hosts;
pub(crate) mod idle;
pub(crate) mod invitations;
pub(crate) mod json;
mod live;
mod openapi;
mod overview;
mod parameters;
pub(crate) mod places;
mod reader;
pub(crate) mod refusal;
pub(crate) mod reports;
mod series;
mod services;
pub(crate) mod session;
pub(crate) mod unpack;
mod way;
mod who;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{delete, get, post};

use accounting::accounting;
use alarms::{alarms, end_silence, silence};
use app::App;
use batch::receive_batch;
use enroll::enroll;
use events::events;
use files::file;
use hosts::hosts;
use invitations::{groups, invite};
use live::live;
use openapi::openapi;
use overview::overview;
use refusal::Refusal;
use reports::{kept, receive};
use series::series;
use services::services;
use session::{enter, login, logout, me};

pub(crate) use way::machine;

/// Everything that the collector answers.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/page/{name}", get(file))
        .route("/api/client/config/{id}", get(services))
        .route("/api/client/config/{id}/", get(services))
        .route("/api/client/service/report", post(receive))
        .route("/api/client/service/report/", post(receive))
        .route("/api/client/service/reports", post(receive_batch))
        .route("/api/client/service/reports/", post(receive_batch))
        .route("/api/enroll", post(enroll))
        .route("/api/invitations", get(groups).post(invite))
        .route("/api/openapi.json", get(openapi))
        .route("/api/me", get(me))
        .route("/api/login", post(login))
        .route("/api/logout", post(logout))
        .route("/api/enter", post(enter))
        .route("/api/reports", get(kept))
        .route("/api/accounting", get(accounting))
        .route("/api/hosts", get(hosts))
        .route("/api/live", get(live))
        .route("/api/series", get(series))
        .route("/api/alarms", get(alarms))
        .route("/api/silences", post(silence))
        .route("/api/silences/{id}", delete(end_silence))
        .route("/api/events", get(events))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .with_state(app)
}

async fn no_such_page(uri: Uri) -> Refusal {
    let sentence = format!("there is no {:?} here", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, sentence)
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let sentence = format!("{:?} does not take {method}", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}
