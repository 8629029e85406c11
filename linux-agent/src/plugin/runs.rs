//! The plugins that are running, whoever runs them.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use thiserror::Error;

use super::leftovers;
use super::limits::MAX_RUNNING;
use super::listed::Plugins;
use super::output::RunOutcome;
use super::remote::{Remote, RunnerError};
use super::running::Running;
use super::starter::Starter;
use super::user::{PluginUser, PluginUserError};
use crate::system::privileges::{self, PrivilegeError};

/// The plugins of an agent that are running. Each run has a slot of its own.
#[derive(Debug)]
pub enum PluginRuns {
    /// Plugins that are the agent's own children.
    Own(Own),
    /// Plugins that a runner runs.
    Remote(Remote),
}

/// Why no plugin could run as the settings want it.
#[derive(Debug, Error)]
pub enum RunsError {
    /// Whom the agent becomes.
    #[error(transparent)]
    Agent(PrivilegeError),
    /// Whom plugins run as.
    #[error(transparent)]
    User(PluginUserError),
    /// The runner does not start.
    #[error(transparent)]
    Runner(RunnerError),
}

impl PluginRuns {
    /// For an agent that becomes `user`, with plugins that run as `plugin_user`, if the settings name them. Call it
    /// before the agent changes its user.
    pub fn prepare(user: Option<&str>, plugin_user: Option<&str>) -> Result<Self, RunsError> {
        let Some(plugin_user) = plugin_user else {
            return Ok(PluginRuns::Own(Own::new(None)));
        };
        let account = PluginUser::find(plugin_user, user).map_err(RunsError::User)?;
        let user = user.map(privileges::user_to_become).transpose();
        match user.map_err(RunsError::Agent)?.flatten() {
            None => Ok(PluginRuns::Own(Own::new(Some(account)))),
            Some(_) => Remote::start(&account.name)
                .map(PluginRuns::Remote)
                .map_err(RunsError::Runner),
        }
    }

    /// Makes this process the parent of what plugins leave behind, if it runs them.
    pub fn adopt(&self) -> rustix::io::Result<()> {
        match self {
            PluginRuns::Own(own) => own.adopt(),
            PluginRuns::Remote(_) => leftovers::adopt(None),
        }
    }

    /// Starts the plugin `name`, if it may run. A failure is one sentence.
    pub fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        if self.count() >= MAX_RUNNING {
            return Err(format!("not run, since {MAX_RUNNING} plugins are running"));
        }
        match self {
            PluginRuns::Own(own) => own.start(plugins, name, slot, now),
            PluginRuns::Remote(remote) => remote.start_run(plugins, name, slot, now),
        }
    }

    /// Whether the run of `slot` has not ended.
    pub fn is_running(&self, slot: usize) -> bool {
        match self {
            PluginRuns::Own(own) => own.is_running(slot),
            PluginRuns::Remote(remote) => remote.is_running(slot),
        }
    }

    /// Ends the run of `slot`, if there is one. It has no outcome.
    pub fn stop(&mut self, slot: usize) {
        match self {
            PluginRuns::Own(own) => own.stop(slot),
            PluginRuns::Remote(remote) => remote.stop(slot),
        }
    }

    /// What to wait for before [`attend`](Self::attend): two descriptors a run at most, and one more.
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let (own, remote) = match self {
            PluginRuns::Own(own) => (Some(own), None),
            PluginRuns::Remote(remote) => (None, remote.interest()),
        };
        let pipes = own.into_iter().flat_map(Own::pipes);
        pipes.map(|pipe| (pipe, PollFlags::POLLIN)).chain(remote)
    }

    /// When [`attend`](Self::attend) is to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            PluginRuns::Own(own) => own.deadline(),
            PluginRuns::Remote(remote) => remote.deadline(),
        }
    }

    /// Returns what has ended, without waiting.
    pub fn attend(&mut self, now: Instant) -> Vec<RunOutcome> {
        match self {
            PluginRuns::Own(own) => own.attend(now),
            PluginRuns::Remote(remote) => remote.attend(now),
        }
    }

    /// Ends all of them and what they left behind, within `limit`. Called when the agent ends.
    pub fn end(self, limit: Duration) {
        match self {
            PluginRuns::Own(own) => drop(own),
            PluginRuns::Remote(remote) => remote.end(limit),
        }
        leftovers::end(limit);
    }

    fn count(&self) -> usize {
        match self {
            PluginRuns::Own(own) => own.count(),
            PluginRuns::Remote(remote) => remote.count(),
        }
    }
}

/// Runs that are this process's children.
#[derive(Debug)]
pub struct Own {
    /// Whom they run as; none: as this process's user.
    account: Option<PluginUser>,
    running: Vec<Running>,
    /// Starts them, from the first one on; an agent without plugins does without.
    starter: Option<Starter>,
}

impl Own {
    /// Without any runs yet.
    pub fn new(account: Option<PluginUser>) -> Self {
        Own {
            account,
            running: Vec::new(),
            starter: None,
        }
    }

    /// As [`PluginRuns::adopt`].
    pub fn adopt(&self) -> rustix::io::Result<()> {
        leftovers::adopt(self.account.as_ref().map(|it| it.uid))
    }

    /// As [`PluginRuns::start`].
    pub fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        let starter = match self.starter.take() {
            Some(starter) => starter,
            None => Starter::new(self.account.clone())
                .map_err(|cause| format!("the thread that starts plugins: {cause}"))?,
        };
        let starter = self.starter.insert(starter);
        starter.start(plugins, name, slot, now)
    }

    /// As [`PluginRuns::is_running`].
    pub fn is_running(&self, slot: usize) -> bool {
        let is_starting = self.starter.as_ref().is_some_and(|it| it.has(slot));
        is_starting || self.running.iter().any(|run| run.slot() == slot)
    }

    /// How many run, or are being started.
    pub fn count(&self) -> usize {
        self.running.len() + self.starter.as_ref().map_or(0, Starter::count)
    }

    /// As [`PluginRuns::stop`].
    pub fn stop(&mut self, slot: usize) {
        self.running.retain(|run| run.slot() != slot);
        if let Some(starter) = &mut self.starter {
            starter.stop(slot);
        }
    }

    /// What they write to, and what tells that one was started.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let started = self.starter.as_ref().and_then(Starter::interest);
        started
            .into_iter()
            .chain(self.running.iter().flat_map(Running::pipes))
    }

    /// When the next time limit is up.
    pub fn deadline(&self) -> Option<Instant> {
        let starts = self.starter.as_ref().and_then(Starter::deadline);
        let runs = self.running.iter().filter_map(Running::deadline);
        runs.chain(starts).min()
    }

    /// Reads what they print, ends those whose time is up, and returns those that have ended.
    pub fn attend(&mut self, now: Instant) -> Vec<RunOutcome> {
        let mut outcomes = Vec::new();
        if let Some(starter) = &mut self.starter {
            let (runs, failed) = starter.attend(now);
            self.running.extend(runs);
            outcomes = failed;
        }
        self.running.retain_mut(|run| {
            run.on_readable();
            run.on_deadline(now);
            let outcome = run.try_finish();
            let goes_on = outcome.is_none();
            outcomes.extend(outcome);
            goes_on
        });
        outcomes
    }
}
