//! The agent's one loop: timers, signals, plugins, serial ports, the control socket, and messages of the delivery.

mod changes;
pub mod control;
mod following;
mod reporter;
mod rereading;
pub(crate) mod sampling;
pub mod status;

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mote_core::Uptime;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;

use crate::delivery::uplink::Uplink;
use crate::delivery::{Closed, Courier, Paths};
use crate::gateway::{self, Gateway};
use crate::orders;
use crate::plugin::{self, PluginRuns, RunsError, leftovers};
use crate::queue::Queue;
use crate::settings::{self, Settings};
use crate::system::clock;
use crate::system::files;
use crate::system::ids::kernel_run;
use crate::system::lock::{DaemonError, Lock};
use crate::system::notify::Manager;
use crate::system::privileges::{self, PrivilegeError};
use crate::system::signals::{self, watch_signals};
use crate::system::state_folder::{self, Tenant};
use control::Control;
use following::Following;
use rereading::Rereading;
use sampling::Sampling;

pub use rereading::Reread;

/// One last attempt to deliver may take this long.
pub const LAST_DELIVERY: Duration = Duration::from_secs(3);

/// When the agent ends, what plugins left behind has this long to go.
const LAST_LEFTOVERS: Duration = Duration::from_millis(500);

/// Signals and the courier.
const ALWAYS_POLLED: usize = 2;

/// These, serial ports, the control socket and its connections, two pipes a plugin, what starts them, and who reads the settings.
const MAX_POLLED: usize = ALWAYS_POLLED
    + settings::MAX_BOARDS
    + 1
    + control::MAX_CONNECTIONS
    + 2 * plugin::MAX_RUNNING
    + 1
    + 1;

/// Whoever asks for new settings is told after this that they are still being read.
const REREAD_WAIT: Duration = Duration::from_secs(5);

const OLD_STAY: &str = "the old settings stay in force";

const REREAD_HANGS: &str =
    "the settings are on a file system that does not answer; they are taken over once it does";

/// A running agent.
pub struct Agent {
    settings: Settings,
    rereading: Rereading,
    /// Read again when the settings change.
    following: Following,
    sampling: Sampling,
    gateway: Gateway,
    courier: Courier,
    control: Control,
    signals: SignalFd,
    manager: Manager,
    began: Instant,
    /// When to tell somebody that the settings are still being read.
    reread_due: Option<Instant>,
    /// When to look again at what plugins left behind.
    leftovers_due: Option<Instant>,
    _lock: Lock,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Whom to run as.
    #[error(transparent)]
    Privileges(PrivilegeError),
    /// Whom to run plugins as.
    #[error(transparent)]
    Plugins(RunsError),
    /// The state folder, or another agent.
    #[error(transparent)]
    Daemon(DaemonError),
    /// The services in the settings are not valid.
    #[error("{}: services: {}", .0.display(), .1)]
    Services(PathBuf, orders::OrdersError),
    /// The system refused something that every agent needs.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

impl Agent {
    /// Becomes the user that the settings name, then the agent of the state folder. A process that has other threads
    /// by then blocks the signals of `system::signals` before it starts them.
    pub fn start(settings: Settings, reread: Reread) -> Result<Self, AgentError> {
        let user = settings.user.as_deref();
        let runs = PluginRuns::prepare(user, settings.plugin_user.as_deref())
            .map_err(AgentError::Plugins)?;
        privileges::settle(user, &settings.state_dir).map_err(AgentError::Privileges)?;
        runs.adopt()
            .map_err(|errno| AgentError::System("adopting what plugins leave", errno.into()))?;
        let lock = Lock::take(&settings.state_dir).map_err(AgentError::Daemon)?;
        let tenant = Tenant::new(settings.client_id.to_string(), &settings.file);
        state_folder::claim(&settings.state_dir, &tenant)
            .map_err(|error| AgentError::Daemon(error.into()))?;
        let control =
            Control::bind(&settings.state_dir).map_err(|error| AgentError::Daemon(error.into()))?;
        let signals = watch_signals(signals::OF_THE_LOOP)
            .map_err(|cause| AgentError::System("signals", cause))?;
        let monitor_settings = sampling::monitor_settings(&settings);
        let queue = Queue::on_disk(
            settings.queue.max_bytes,
            millis(settings.queue.max_age),
            settings.queue.sync_interval.map(millis),
            &kernel_run(),
        );
        let uplink = Uplink::new(queue, monitor_settings.client);
        let id = settings.client_id.to_string();
        let courier = Courier::start(
            uplink,
            Paths {
                queue: settings.state_dir.join("queue"),
                dead: settings.state_dir.join("dead"),
                orders_file: orders::last_path(&settings.state_dir),
            },
            settings.server().map(|server| (server, id.as_str())),
        )
        .map_err(|cause| AgentError::System("the uplink's thread", cause))?;
        let mut agent = Agent {
            sampling: Sampling::new(&settings, runs, courier.clone(), clock::uptime()),
            gateway: Gateway::new(courier.clone()),
            settings,
            rereading: Rereading::new(reread)
                .map_err(|cause| AgentError::System("the settings' thread", cause))?,
            following: Following::default(),
            courier,
            control,
            signals,
            manager: Manager::from_env(),
            began: Instant::now(),
            reread_due: None,
            leftovers_due: None,
            _lock: lock,
        };
        agent.first_orders()?;
        agent.set_boards();
        Ok(agent)
    }

    /// Samples and reports until SIGTERM or SIGINT.
    pub fn run(mut self) {
        self.manager.tell("READY=1");
        log::info!(
            "client {} runs, pid {}",
            self.settings.client_id,
            std::process::id()
        );
        if privileges::is_root_without_need(self.settings.user.as_deref()) {
            log::warn!("runs as root, which it need not: name a user with `user` or --user");
        }
        if let Err(error) = files::open(&self.settings.file) {
            log::warn!(
                "its settings cannot be read again, so reload will fail: {}: {error}",
                self.settings.file.display()
            );
        }
        while self.turn() {}
        self.manager.tell("STOPPING=1");
        let Agent {
            courier, sampling, ..
        } = self;
        sampling.end(LAST_LEFTOVERS);
        let Closed { account, forgot } = courier.close(LAST_DELIVERY);
        let sentence = format!("stops: {account}");
        match forgot {
            None => log::info!("{sentence}"),
            Some(why) => log::warn!("{sentence}; {why}"),
        }
    }

    /// One turn of the loop. Returns whether to go on.
    fn turn(&mut self) -> bool {
        if self.sampling.work() {
            self.courier.fetch();
        }
        let events = self.wait().unwrap_or_else(|error| {
            // Nothing to wait with: do not spin.
            log::error!("waiting for events: {error}");
            std::thread::sleep(Duration::from_secs(1));
            gateway::Events::new()
        });
        if self.manager.watchdog.is_some() {
            self.manager.tell("WATCHDOG=1");
        }
        self.sampling.attend_plugins();
        self.gateway.attend(&events);
        if let Some(answer) = self.courier.take_orders() {
            match answer {
                Ok(document) => self.follow(document),
                Err(_) => self.sampling.monitor_mut().fetch_failed(clock::uptime()),
            }
        }
        self.gateway.take_services();
        self.attend_control();
        let goes_on = self.attend_signals();
        if self.leftovers_due.is_some_and(|due| due <= Instant::now()) {
            self.leftovers_due = leftovers::attend().map(|pause| Instant::now() + pause);
        }
        goes_on
    }

    /// Returns what happened at the serial ports. The other parts check for themselves.
    fn wait(&self) -> nix::Result<gateway::Events> {
        let always = [self.signals.as_fd(), self.courier.readable()].into_iter();
        let readable = |fd| (fd, PollFlags::POLLIN);
        let polled = always
            .map(readable)
            .chain(self.gateway.interests())
            .chain(self.sampling.interests())
            .chain(self.control.interests())
            .chain(self.rereading.interest().map(readable));
        // Everything fits: the bound is the sum of what each part can have.
        let mut fds: heapless::Vec<PollFd<'_>, MAX_POLLED> = polled
            .take(MAX_POLLED)
            .map(|(fd, flags)| PollFd::new(fd, flags))
            .collect();
        let timeout = self.time_to_wait().map(TimeSpec::from_duration);
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {
                let ports = fds.iter().skip(ALWAYS_POLLED);
                let ports = ports.take(self.gateway.interests().count());
                // A flag that nix does not know is an error.
                let events = ports.map(|fd| fd.revents().unwrap_or(PollFlags::POLLERR));
                Ok(events.collect())
            }
            Err(Errno::EINTR) => Ok(gateway::Events::new()),
            Err(errno) => Err(errno),
        }
    }

    /// Time until the next thing is due. `None`: wait until something happens.
    fn time_to_wait(&self) -> Option<Duration> {
        let due = self.sampling.monitor().poll_at();
        let board_due = self.gateway.deadline();
        let due = board_due.map_or(due, |board_due| board_due.min(due));
        let due = (due != Uptime::NEVER)
            .then(|| Duration::from_millis(due.millis_since(clock::uptime())));
        let now = Instant::now();
        let deadlines = [
            self.sampling.deadline(),
            self.control.deadline(),
            self.leftovers_due,
            self.reread_due,
        ];
        let deadlines = deadlines.into_iter().flatten();
        deadlines
            .map(|at| at.saturating_duration_since(now))
            .chain(due)
            .chain(self.manager.watchdog.map(|limit| limit / 2))
            .min()
    }

    fn attend_signals(&mut self) -> bool {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGTERM | Signal::SIGINT) => return false,
                Ok(Signal::SIGHUP) => {
                    if let Err(sentence) = self.rereading.ask(Instant::now()) {
                        log::error!("{OLD_STAY}: {sentence}");
                    }
                }
                // Each plugin was checked; this may be a child that is none of them.
                _ => self.leftovers_due = Some(Instant::now()),
            }
        }
        true
    }

    fn attend_control(&mut self) {
        let now = Instant::now();
        let read = self.rereading.take(now).map(|read| {
            let taken_over = read.settings.and_then(|settings| self.take_over(settings));
            if let Err(sentence) = &taken_over {
                log::error!("{OLD_STAY}: {sentence}");
            }
            (read.began, taken_over)
        });
        // Answering needs the whole agent, so take the requests out first. One that is not answered is there again next
        // time.
        let mut requests = self.control.take_requests();
        self.reread_due = None;
        for request in &mut requests {
            let answer = match request.what {
                control::ControlRequest::Status => Some(self.status()),
                control::ControlRequest::Reload => self.reload(request.since, read.as_ref(), now),
            };
            if let Some(answer) = answer {
                self.control.answer(request, answer.into_bytes());
            }
        }
        self.control.write_answers();
    }

    /// The answer to who asked at `since` for the settings to be read anew, once there is one.
    fn reload(
        &mut self,
        since: Instant,
        read: Option<&(Instant, Result<(), String>)>,
        now: Instant,
    ) -> Option<String> {
        match read {
            Some((began, Ok(()))) if *began >= since => return Some("ok\n".to_owned()),
            Some((began, Err(sentence))) if *began >= since => {
                return Some(format!("{sentence}\n"));
            }
            _ => {}
        }
        if !self.rereading.covers(since)
            && let Err(sentence) = self.rereading.ask(now)
        {
            return Some(format!("{sentence}\n"));
        }
        let due = since + REREAD_WAIT;
        if due <= now {
            return Some(format!("{REREAD_HANGS}\n"));
        }
        self.reread_due = Some(self.reread_due.map_or(due, |it| it.min(due)));
        None
    }

    fn status(&self) -> String {
        let status = status::Status::of(
            &self.settings,
            &self.sampling,
            &self.gateway,
            &self.courier,
            self.began,
        );
        serde_json::to_string(&status).unwrap_or_default() + "\n"
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
