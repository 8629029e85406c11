//! The plugins that are running, whoever runs them.

use std::collections::VecDeque;
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

/// The plugins of an agent that are running, and those that wait for a place. Each run has a slot of its own.
#[derive(Debug)]
pub struct PluginRuns {
    runs: Runs,
    /// In the order in which they were due; a slot at most once.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
enum Runs {
    /// Plugins that are the agent's own children.
    Own(Own),
    /// Plugins that a runner runs.
    Remote(Remote),
}

#[derive(Debug)]
struct Waiting {
    slot: usize,
    name: String,
}

/// What became of an order to run a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It runs, or is being started.
    Runs,
    /// It runs once one of the others has ended.
    Waits,
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
            return Ok(Runs::Own(Own::new(None)).into());
        };
        let account = PluginUser::find(plugin_user, user).map_err(RunsError::User)?;
        let user = user.map(privileges::user_to_become).transpose();
        match user.map_err(RunsError::Agent)?.flatten() {
            None => Ok(Runs::Own(Own::new(Some(account))).into()),
            Some(_) => Remote::start(&account.name)
                .map(|remote| Runs::Remote(remote).into())
                .map_err(RunsError::Runner),
        }
    }

    /// Makes this process the parent of what plugins leave behind, if it runs them.
    pub fn adopt(&self) -> rustix::io::Result<()> {
        match &self.runs {
            Runs::Own(own) => own.adopt(),
            Runs::Remote(_) => leftovers::adopt(None),
        }
    }

    /// Starts the plugin `name`, if it may run, or has it wait for its turn. A failure is one sentence.
    pub fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<Begun, String> {
        if self.waiting.is_empty() && self.runs.count() < MAX_RUNNING {
            self.runs.start(plugins, name, slot, now)?;
            return Ok(Begun::Runs);
        }
        if !self.is_waiting(slot) {
            let name = name.to_owned();
            self.waiting.push_back(Waiting { slot, name });
        }
        Ok(Begun::Waits)
    }

    /// Whether the run of `slot` has not begun, since so many run.
    pub fn is_waiting(&self, slot: usize) -> bool {
        self.waiting.iter().any(|it| it.slot == slot)
    }

    /// Whether the run of `slot` has not ended.
    pub fn is_running(&self, slot: usize) -> bool {
        match &self.runs {
            Runs::Own(own) => own.is_running(slot),
            Runs::Remote(remote) => remote.is_running(slot),
        }
    }

    /// Ends the run of `slot`, if there is one. It has no outcome.
    pub fn stop(&mut self, slot: usize) {
        self.waiting.retain(|it| it.slot != slot);
        match &mut self.runs {
            Runs::Own(own) => own.stop(slot),
            Runs::Remote(remote) => remote.stop(slot),
        }
    }

    /// What to wait for before [`attend`](Self::attend): two descriptors a run at most, and one more.
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let (own, remote) = match &self.runs {
            Runs::Own(own) => (Some(own), None),
            Runs::Remote(remote) => (None, remote.interest()),
        };
        let pipes = own.into_iter().flat_map(Own::pipes);
        pipes.map(|pipe| (pipe, PollFlags::POLLIN)).chain(remote)
    }

    /// When [`attend`](Self::attend) is to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.waiting.is_empty() && self.runs.count() < MAX_RUNNING {
            return Some(Instant::now());
        }
        match &self.runs {
            Runs::Own(own) => own.deadline(),
            Runs::Remote(remote) => remote.deadline(),
        }
    }

    /// Returns what has ended, without waiting, and starts those whose turn it is.
    pub fn attend(&mut self, plugins: &Plugins, now: Instant) -> Vec<RunOutcome> {
        let mut outcomes = match &mut self.runs {
            Runs::Own(own) => own.attend(now),
            Runs::Remote(remote) => remote.attend(now),
        };
        while self.runs.count() < MAX_RUNNING
            && let Some(Waiting { slot, name }) = self.waiting.pop_front()
        {
            if let Err(sentence) = self.runs.start(plugins, &name, slot, now) {
                outcomes.push(RunOutcome::failed(slot, sentence));
            }
        }
        outcomes
    }

    /// Ends all of them and what they left behind, within `limit`. Called when the agent ends.
    pub fn end(self, limit: Duration) {
        match self.runs {
            Runs::Own(own) => drop(own),
            Runs::Remote(remote) => remote.end(limit),
        }
        leftovers::end(limit);
    }
}

impl From<Runs> for PluginRuns {
    fn from(runs: Runs) -> Self {
        PluginRuns {
            runs,
            waiting: VecDeque::new(),
        }
    }
}

impl Runs {
    fn start(
        &mut self,
        plugins: &Plugins,
        name: &str,
        slot: usize,
        now: Instant,
    ) -> Result<(), String> {
        match self {
            Runs::Own(own) => own.start(plugins, name, slot, now),
            Runs::Remote(remote) => remote.start_run(plugins, name, slot, now),
        }
    }

    fn count(&self) -> usize {
        match self {
            Runs::Own(own) => own.count(),
            Runs::Remote(remote) => remote.count(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::thread;

    /// Plugins that run until the file `go` is there.
    fn plugins(folder: &Path) -> Plugins {
        let path = folder.join("check");
        let script = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\necho '{}'\n";
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Plugins {
            folder: folder.to_owned(),
            allowed: vec!["check".to_owned(), "gone".to_owned()],
            commands: vec![],
            time_limit: Duration::from_secs(600),
        }
    }

    #[test]
    fn one_too_many_waits_for_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let plugins = plugins(folder.path());
        let mut runs = PluginRuns::from(Runs::Own(Own::new(None)));
        let start = |runs: &mut PluginRuns, name, slot| {
            runs.start(&plugins, name, slot, Instant::now()).unwrap()
        };
        for slot in 0..MAX_RUNNING {
            assert_eq!(start(&mut runs, "check", slot), Begun::Runs);
        }
        let (stopped, gone, last) = (MAX_RUNNING, MAX_RUNNING + 1, MAX_RUNNING + 2);
        for (name, slot) in [("check", stopped), ("gone", gone), ("check", last)] {
            // Once more, as at its next tick, is no second run.
            for _ in 0..2 {
                assert_eq!(start(&mut runs, name, slot), Begun::Waits);
            }
            assert!(runs.is_waiting(slot) && !runs.is_running(slot));
        }
        assert!(runs.attend(&plugins, Instant::now()).is_empty());
        runs.stop(stopped);

        // A place is free: the first one takes it, and since that one has failed, the next one does.
        runs.stop(0);
        assert!(runs.deadline() <= Some(Instant::now()));
        let mut outcomes = Vec::new();
        while outcomes.is_empty() {
            outcomes = runs.attend(&plugins, Instant::now());
            assert!(runs.runs.count() <= MAX_RUNNING);
            thread::sleep(Duration::from_millis(5));
        }
        let failed: Vec<usize> = outcomes.iter().map(|it| it.slot).collect();
        assert_eq!(failed, [gone]);
        while !runs.is_running(last) {
            assert!(runs.attend(&plugins, Instant::now()).is_empty());
            thread::sleep(Duration::from_millis(5));
        }
        fs::write(folder.path().join("go"), "").unwrap();
        let mut ended = BTreeSet::new();
        while ended.len() < MAX_RUNNING {
            for outcome in runs.attend(&plugins, Instant::now()) {
                assert_eq!(outcome.data().status().0, 0, "{outcome:?}");
                assert!(ended.insert(outcome.slot));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let expected = (1..MAX_RUNNING).chain([last]);
        assert!(ended.into_iter().eq(expected));
    }
}
