//! `POST /api/enroll`: a one-time code for a token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderMap};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::app::{App, Peer, SharedApp};
use super::json::parsed;
use super::refusal::Refusal;
use crate::client_name::ClientName;
use crate::collector::digest::{self, Digest};
use crate::collector::now::now_ms;
use crate::collector::store::Unavailable;
use crate::collector::store::invitation::{self, Redeemed};

#[derive(Deserialize)]
struct Enrolment {
    code: String,
    /// Who it is, for a code that is for a group.
    #[serde(default)]
    client_id: Option<ClientName>,
}

/// How long a host that has enrolled into a group may take to become known.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// Answers with the host's id and its new token, which is shown only once.
pub async fn enroll(
    State(app): SharedApp,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Enrolment { code, client_id } = parsed(&app, &headers, body, "{\"code\": \"…\"}").await?;
    let token = new_token()?;
    let Some(code) = invitation::digest_of(&code) else {
        return Err(wrong_code(&app, peer).await);
    };
    let rules = app.rules();
    let digest = Digest::of(token.as_bytes());
    // In the path of an address 7 and "7" are one.
    let claimed = client_id.map(|id| ClientName::from_text(&id.to_string()));
    let claimed = claimed.filter(ClientName::is_valid);
    let (hosts, groups) = (Arc::clone(&rules.hosts), Arc::clone(&rules.groups));
    let fleet = Arc::clone(&rules.fleet);
    let redeemed = app.store.change(move |connection| {
        invitation::redeem(
            connection,
            (&code, &digest),
            claimed.as_ref(),
            now_ms(),
            |id| hosts.contains_key(id),
            // Who is in the fleet, the database knows: one may have been revoked a moment ago.
            |id| hosts.contains_key(id) && !fleet.contains(id),
            |group| groups.contains_key(group),
        )
    });
    let forbidden = |sentence: String| Refusal::new(StatusCode::FORBIDDEN, sentence);
    let client = match redeemed.await? {
        Redeemed::By(client) => client,
        Redeemed::NoHost(client) => {
            let sentence = format!(
                "the code is for the host with the id {:?}, which the collector's settings do not have; add it to them and \
                 use the code again",
                client.to_string()
            );
            return Err(forbidden(sentence).of(&client));
        }
        Redeemed::NoGroup(group) => {
            let sentence = format!(
                "the code is for the group {group:?}, which the collector's settings do not have; add it to them and use \
                 the code again"
            );
            return Err(forbidden(sentence));
        }
        Redeemed::NoName => {
            let sentence = "the code is for a group, so the host has to say its client_id";
            return Err(Refusal::bad(sentence));
        }
        Redeemed::Taken(client) => {
            let sentence = format!(
                "there is a host with the id {0:?} already; choose another client_id, or use a code of its own \
                 (mote invite {0:?})",
                client.to_string()
            );
            return Err(Refusal::new(StatusCode::CONFLICT, sentence).of(&client));
        }
        Redeemed::Nothing => return Err(wrong_code(&app, peer).await),
    };
    if rules.hosts.contains_key(&client) {
        rules.guard.renew().await;
    } else {
        // It asks for its orders next.
        let _ = timeout(KNOWN_WITHIN, app.until_known(&client)).await;
    }
    let answer = Json(json!({ "client_id": client, "token": token }));
    Ok(([(CACHE_CONTROL, "no-store")], answer).into_response())
}

async fn wrong_code(app: &App, peer: IpAddr) -> Refusal {
    app.guesses.slow_down(peer).await;
    let sentence = "the code is unknown, used or expired; ask for a new one (mote invite)";
    Refusal::new(StatusCode::FORBIDDEN, sentence)
}

/// 256 random bits in hexadecimal.
fn new_token() -> Result<String, Unavailable> {
    let bytes = digest::random::<32>().map_err(|_| Unavailable)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_a_token() {
        let token = new_token().unwrap();
        assert!(
            token.len() == 64 && crate::system::secret::is_token(token.as_bytes()),
            "{token}"
        );
        assert_ne!(token, new_token().unwrap());
    }
}
