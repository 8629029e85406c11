//! Silences that people ask for: first on disk, then in force. What is refused changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::duty::{Alarms, now, whole_ms};
use super::records::{self, AlarmRecord, Event};
use super::silences::Silence;
use crate::client_name::ClientName;
use crate::collector::store::Unavailable;

impl Alarms {
    /// Silences a host, or one alarm of it, for so long, and says why and who wants it. `None`: there are too many silences.
    pub async fn silence(
        self: &Arc<Self>,
        client: ClientName,
        alarm: Option<String>,
        length: Duration,
        (reason, by): (String, String),
    ) -> Result<Option<Silence>, Unavailable> {
        let alarms = Arc::clone(self);
        let work = async move { alarms.begin(client, alarm, length, (reason, by)).await };
        to_the_end(work).await
    }

    /// Ends a silence, for `by`. `None`: there is none of this number.
    pub async fn end_silence(
        self: &Arc<Self>,
        id: i64,
        by: String,
    ) -> Result<Option<Silence>, Unavailable> {
        let alarms = Arc::clone(self);
        to_the_end(async move { alarms.end(id, &by).await }).await
    }

    async fn begin(
        &self,
        client: ClientName,
        alarm: Option<String>,
        length: Duration,
        (reason, by): (String, String),
    ) -> Result<Option<Silence>, Unavailable> {
        let _alone = self.silencing.lock().await;
        let now = now();
        let silence = {
            let mut state = self.state();
            let engine = &mut state.engine;
            engine.silences.pass(now);
            if engine.silences.is_full() {
                return Ok(None);
            }
            // A number that is not used in the end does no harm.
            let id = engine.next_silence;
            engine.next_silence += 1;
            Silence {
                id,
                client,
                alarm,
                since_ms: now.unix_ms,
                until_ms: now.unix_ms.saturating_add(whole_ms(length)),
                reason,
                by,
                ended_ms: None,
            }
        };
        let what = silence.alarm.as_deref().unwrap_or("all alarms");
        let text = format!("{what} silenced by {}: {}", silence.by, silence.reason);
        self.keep(&silence, text, now.unix_ms).await?;
        self.state().engine.silences.add(silence.clone(), now);
        Ok(Some(silence))
    }

    async fn end(&self, id: i64, by: &str) -> Result<Option<Silence>, Unavailable> {
        let _alone = self.silencing.lock().await;
        let now = now();
        let Some(silence) = self.state().engine.silences.ended(id, now) else {
            return Ok(None);
        };
        let text = format!("the silence that {} wanted was ended by {by}", silence.by);
        self.keep(&silence, text, now.unix_ms).await?;
        self.state().engine.silences.remove(id);
        Ok(Some(silence))
    }

    /// Writes a silence and what people read of it, both or neither.
    async fn keep(&self, silence: &Silence, text: String, at_ms: i64) -> Result<(), Unavailable> {
        let event = Event {
            at_ms,
            client: Some(silence.client.clone()),
            kind: "silence",
            text,
        };
        let records = [
            AlarmRecord::Silence(silence.clone()),
            AlarmRecord::Event(event),
        ];
        let change = move |connection: &rusqlite::Connection| records::write(connection, &records);
        self.store.change(change).await
    }
}

/// Goes on though whoever asked is gone: what is on disk is to be in force too.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Unavailable>> + Send + 'static,
) -> Result<T, Unavailable> {
    tokio::spawn(work).await.unwrap_or(Err(Unavailable))
}
