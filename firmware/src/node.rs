//! A board as a monitored client, without I/O: bytes, time and samples go in, bytes come out.

mod line;
mod messages;
#[cfg(test)]
mod tests;

use mote_core::frame::Receiver;
use mote_core::{
    Action, ClientId, Config, ConfigError, ConfigFault, Interval, Monitor, Name, Service, SlotId,
    Uptime, client_hash,
};

use crate::board::{Board, Context, Failed, Statistics, seconds};
use crate::heartbeat::Link;
use crate::ring::Ring;
use line::Line;
pub use line::MAX_LINE;

/// The gateway has this long to answer a request for the services document, in milliseconds.
const ANSWER_MS: u64 = 5000;

/// A link is silent when a sample has waited longer for its acknowledgement, in seconds.
const SILENT_S: u32 = 5;

/// A line that makes no progress for this many milliseconds is written again: nobody reads at the other end, and
/// its `age` is out of date.
const STALE_MS: u64 = 1000;

/// The oldest report is sent again after this time without an acknowledgement, and after twice the time
/// before from then on.
const FIRST_RETRY_MS: u32 = 1000;
const MAX_RETRY_MS: u32 = 8000;

/// Who a node is and how it keeps in touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As the server knows the board.
    pub client_id: ClientId<'static>,
    /// How often the services document is asked for.
    pub refresh: Interval,
    /// First samples are spread over this many milliseconds, or one interval if that is shorter.
    pub first_sample_spread_ms: u32,
}

impl Settings {
    /// A refresh every five minutes and a spread over ten seconds, as on hosts.
    pub const fn of(client_id: ClientId<'static>) -> Self {
        Settings {
            client_id,
            refresh: match Interval::from_secs(300) {
                Some(interval) => interval,
                None => Interval::MIN,
            },
            first_sample_spread_ms: 10_000,
        }
    }
}

/// A monitored client for at most `SERVICES` services with names of at most `NAME` bytes. Up to `RING` samples wait
/// for their acknowledgement. A line that is received has at most `LINE` bytes, seal included.
pub struct Node<
    B: Board,
    const SERVICES: usize = 8,
    const NAME: usize = 23,
    const RING: usize = 32,
    const LINE: usize = 512,
> {
    receiver: Receiver<LINE>,
    state: State<B, SERVICES, NAME, RING>,
    line: Line,
}

struct State<B: Board, const SERVICES: usize, const NAME: usize, const RING: usize> {
    client_id: ClientId<'static>,
    monitor: Monitor<Option<B::Plugin>, SERVICES, NAME>,
    baselines: [B::Baseline; SERVICES],
    ring: Ring<B::Sample, RING>,
    /// The services document is to be asked for.
    ask: bool,
    answer_by: Option<Uptime>,
    /// The gateway is to be told why orders were refused.
    refuse: bool,
    refused: ConfigError<NAME>,
    /// The last orders were refused.
    refused_last: bool,
    retry_at: Option<Uptime>,
    retry_ms: u32,
}

impl<B: Board, const SERVICES: usize, const NAME: usize, const RING: usize, const LINE: usize>
    Node<B, SERVICES, NAME, RING, LINE>
{
    /// A node that does nothing until it is started. It is all zeros, so a static one takes no flash and never
    /// moves over a small stack.
    pub const fn new() -> Self {
        Node {
            receiver: Receiver::new(),
            state: State {
                client_id: ClientId::Number(0),
                monitor: Monitor::unset(),
                baselines: [B::NO_BASELINE; SERVICES],
                ring: Ring::new(),
                ask: false,
                answer_by: None,
                refuse: false,
                refused: ConfigError {
                    service: None,
                    fault: ConfigFault::NotADocument,
                },
                refused_last: false,
                retry_at: None,
                retry_ms: 0,
            },
            line: Line::NONE,
        }
    }

    /// Runs `services` (name, plugin, interval in seconds) from now on, until it gets other orders. Those that
    /// exceed a bound are left out; one whose plugin the board does not have is reported as failed.
    #[inline(never)] // so that what it needs of the stack is not its caller's for ever
    pub fn start(&mut self, settings: Settings, services: &[(&str, &str, u32)], now: Uptime) {
        // A line that a reset or this start cut off must not swallow the next one.
        if let Some(seq) = self.line.newline(now) {
            self.state.ring.send_again(seq);
        }
        let state = &mut self.state;
        if state.client_id != settings.client_id {
            // They are another client's.
            state.ring.retain(|_| false);
            state.client_id = settings.client_id;
        }
        state.retry_ms = FIRST_RETRY_MS;
        let settings = mote_core::MonitorSettings {
            client: client_hash(settings.client_id),
            first_sample_spread_ms: settings.first_sample_spread_ms,
            refresh: Some(settings.refresh),
        };
        state.monitor.set(settings, now);
        let mut config = Config::new();
        for (name, plugin, seconds) in services {
            let pushed = Interval::from_secs(*seconds).and_then(|interval| {
                let service = Service {
                    name: Name::try_from(*name).ok()?,
                    plugin: B::plugin(plugin),
                    interval,
                };
                config.push(service).ok()
            });
            debug_assert!(pushed.is_some(), "{name} is no service for this node");
        }
        state.apply(&config);
    }

    /// Samples what is due, and does whatever else is due.
    pub fn poll(&mut self, now: Uptime, board: &mut B) {
        self.state.poll(board, now, self.receiver.rejected());
        board.link(self.link(now));
        #[cfg(all(feature = "crash", target_arch = "arm", target_os = "none"))]
        crate::crash::alive(seconds(now));
        board.feed();
    }

    /// When [`Node::poll`] has something to do again, unless bytes come or go before.
    pub fn poll_at(&self) -> Uptime {
        let state = &self.state;
        let timers = [state.retry_at, state.answer_by];
        let first = timers.into_iter().flatten().min();
        first.unwrap_or(Uptime::NEVER).min(state.monitor.poll_at())
    }

    /// Takes what came over the line.
    pub fn receive(&mut self, bytes: &[u8], now: Uptime) {
        for byte in bytes {
            if let Some(text) = self.receiver.push(*byte) {
                self.state.take(text, now);
            }
        }
    }

    /// What to send next; empty if there is nothing. Call [`Node::sent`] with how much of it was sent.
    pub fn outgoing(&mut self, now: Uptime) -> &[u8] {
        let line = &mut self.line;
        if line.sent < line.length && now.millis_since(line.moved_at) >= STALE_MS {
            line.cut();
            if let Some(seq) = line.seq.take() {
                self.state.ring.send_again(seq);
            }
        }
        if line.sent >= line.length {
            let next = self.state.next_line(&mut line.buffer, now);
            (line.length, line.seq) = next.unwrap_or_default();
            (line.sent, line.moved_at) = (0, now);
        }
        line.buffer.get(line.sent..line.length).unwrap_or_default()
    }

    /// Notes that this many bytes of [`Node::outgoing`] were sent.
    pub fn sent(&mut self, bytes: usize, now: Uptime) {
        self.line.sent = self.line.sent.saturating_add(bytes);
        self.line.moved_at = now;
        if self.line.sent >= self.line.length {
            self.state.line_sent(now);
        }
    }

    /// What was lost so far.
    pub fn statistics(&self) -> Statistics {
        self.state.statistics(self.receiver.rejected())
    }

    /// How the node and its gateway get on.
    pub fn link(&self, now: Uptime) -> Link {
        let oldest = self.state.ring.oldest();
        if oldest.is_some_and(|it| seconds(now).wrapping_sub(it.uptime_s) > SILENT_S) {
            Link::Silent
        } else if self.state.refused_last {
            Link::Refused
        } else {
            Link::Up
        }
    }

    /// Samples that are not acknowledged yet.
    pub fn waiting(&self) -> usize {
        self.state.ring.len()
    }
}

impl<B: Board, const SERVICES: usize, const NAME: usize, const RING: usize>
    State<B, SERVICES, NAME, RING>
{
    fn poll(&mut self, board: &mut B, now: Uptime, bad_lines: u32) {
        while let Some(action) = self.monitor.poll(now) {
            let slot = match action {
                Action::FetchConfig => {
                    self.ask = true;
                    self.answer_by = Some(now.after_millis(ANSWER_MS));
                    continue;
                }
                Action::Start(slot) if !self.start(slot, board, now) => continue,
                Action::Start(slot) | Action::Sample { slot, .. } => slot,
            };
            let statistics = self.statistics(bad_lines);
            self.sample(slot, board, &Context { now, statistics });
        }
        if self.answer_by.is_some_and(|at| at <= now) {
            self.answer_by = None;
            self.monitor.fetch_failed(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.retry_ms = (self.retry_ms * 2).min(MAX_RETRY_MS);
            self.ring.retry();
        }
    }

    /// Whether it is to be sampled at once.
    fn start(&mut self, slot: SlotId, board: &mut B, now: Uptime) -> bool {
        let Some(entry) = self.monitor.entry(slot) else {
            return false;
        };
        match (entry.service.plugin, self.baselines.get_mut(slot.index())) {
            (Some(plugin), Some(baseline)) => {
                *baseline = board.start(plugin, now);
                B::at_once(plugin)
            }
            _ => {
                self.monitor.park(slot);
                self.push(slot, now, Err(Failed("this board has no such plugin")));
                false
            }
        }
    }

    fn sample(&mut self, slot: SlotId, board: &mut B, context: &Context) {
        let plugin = self.monitor.entry(slot).and_then(|it| it.service.plugin);
        if let (Some(plugin), Some(baseline)) = (plugin, self.baselines.get_mut(slot.index())) {
            let sample = board.sample(plugin, baseline, context);
            self.push(slot, context.now, sample);
        }
    }

    fn statistics(&self, bad_lines: u32) -> Statistics {
        let services = self.monitor.entries();
        Statistics {
            dropped: self.ring.dropped(),
            missed: services.fold(0, |sum: u32, (_, it)| sum.saturating_add(it.missed())),
            bad_lines,
        }
    }

    fn push(&mut self, slot: SlotId, now: Uptime, sample: Result<B::Sample, Failed>) {
        let seq = self.monitor.next_seq();
        self.ring.push(seq, now, slot, sample);
    }

    #[inline(never)]
    fn take(&mut self, text: &[u8], now: Uptime) {
        if let Some(ack) = messages::acknowledged(text) {
            if self.ring.acknowledge(ack) {
                self.retry_ms = FIRST_RETRY_MS;
                self.retry_at = self.next_retry(now);
            }
            return;
        }
        let mut config = Config::new();
        match config.read(text, B::plugin) {
            Ok(()) => {
                self.refused_last = false;
                self.apply(&config);
                self.monitor.fetched(now);
            }
            // Not for the node. Perhaps its own words, echoed by the line.
            Err(ConfigError {
                fault: ConfigFault::NotADocument | ConfigFault::NoServices,
                ..
            }) => return,
            Err(error) => {
                self.refuse = true;
                self.refused_last = true;
                self.refused = error;
                self.monitor.fetch_failed(now);
            }
        }
        self.answer_by = None;
    }

    /// Applies services. Samples of services that leave are dropped, since nothing names them.
    fn apply(&mut self, config: &Config<Option<B::Plugin>, SERVICES, NAME>) {
        let stays = |slot| {
            let Some(entry) = self.monitor.entry(slot) else {
                return false;
            };
            let services = config.services();
            services.iter().any(|it| it.name == entry.service.name)
        };
        self.ring.retain(stays);
        self.monitor.apply(config);
    }

    /// Writes the next line to send. Returns its length and the number of its report.
    fn next_line(&mut self, buffer: &mut [u8], now: Uptime) -> Option<(usize, Option<u32>)> {
        let client_id = self.client_id;
        if core::mem::take(&mut self.ask) {
            return Some((messages::ask(client_id, now, buffer).ok()?, None));
        }
        if core::mem::take(&mut self.refuse) {
            let refusal = messages::refusal(client_id, &self.refused, buffer);
            return Some((refusal.ok()?, None));
        }
        loop {
            let record = self.ring.send()?;
            let seq = record.seq;
            let service = self.monitor.entry(record.slot).map(|it| &it.service);
            let length = service.map(|it| messages::report(client_id, it, record, now, buffer));
            match length {
                Some(Ok(length)) => return Some((length, Some(seq))),
                // It must not hold up the reports behind it.
                _ => self.ring.give_up(seq),
            }
        }
    }

    fn line_sent(&mut self, now: Uptime) {
        // A line that is sent while another waits for its acknowledgement does not put that off.
        if self.retry_at.is_none() {
            self.retry_at = self.next_retry(now);
        }
    }

    fn next_retry(&self, now: Uptime) -> Option<Uptime> {
        let retry_at = now.after_millis(u64::from(self.retry_ms));
        self.ring.awaits().then_some(retry_at)
    }
}

impl<B: Board, const SERVICES: usize, const NAME: usize, const RING: usize, const LINE: usize>
    Default for Node<B, SERVICES, NAME, RING, LINE>
{
    fn default() -> Self {
        Self::new()
    }
}
