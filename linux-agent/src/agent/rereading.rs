//! Reads the settings anew on a thread of its own: they may be on a file system that hangs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::settings::Settings;

/// How the settings are read when an operator asks for it. An error is one sentence.
pub type Reread = Arc<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// Reads files of the settings, and certificates.
const STACK_BYTES: usize = 512 << 10;

/// What is being read, one at a time.
pub struct Rereading {
    reread: Reread,
    /// Readable when something has been read.
    wake: Arc<EventFd>,
    under_way: Option<UnderWay>,
    /// It was asked for again meanwhile, and what is being read may be older than that.
    again: bool,
}

struct UnderWay {
    began: Instant,
    read: Receiver<Result<Settings, String>>,
}

/// What was read.
pub struct Read {
    /// It holds all that was written before this.
    pub began: Instant,
    /// The settings, or a sentence that says why there are none.
    pub settings: Result<Settings, String>,
}

impl Rereading {
    /// Nothing is being read.
    pub fn new(reread: Reread) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Rereading {
            reread,
            wake: Arc::new(EventFd::from_value_and_flags(0, flags)?),
            under_way: None,
            again: false,
        })
    }

    /// Starts to read the settings as they are now. An error is one sentence.
    pub fn ask(&mut self, now: Instant) -> Result<(), String> {
        match &self.under_way {
            Some(_) => self.again = true,
            None => self.begin(now)?,
        }
        Ok(())
    }

    /// Whether what is being read holds all that was written before `since`.
    pub fn covers(&self, since: Instant) -> bool {
        self.again || self.under_way.as_ref().is_some_and(|it| it.began >= since)
    }

    /// What to poll for reading meanwhile.
    pub fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.under_way.as_ref().map(|_| self.wake.as_fd())
    }

    /// What was read, once.
    pub fn take(&mut self, now: Instant) -> Option<Read> {
        let UnderWay { began, read } = self.under_way.as_ref()?;
        let settings = match read.try_recv() {
            Ok(settings) => settings,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the settings could not be read".to_owned()),
        };
        let began = *began;
        let _ = self.wake.read();
        self.under_way = None;
        if std::mem::take(&mut self.again)
            && let Err(sentence) = self.begin(now)
        {
            log::error!("{sentence}");
        }
        Some(Read { began, settings })
    }

    fn begin(&mut self, now: Instant) -> Result<(), String> {
        let (tell, read) = mpsc::channel();
        let (reread, wake) = (Arc::clone(&self.reread), Arc::clone(&self.wake));
        thread::Builder::new()
            .name("settings".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _ = tell.send(reread());
                let _ = wake.write(1);
            })
            .map_err(|cause| format!("the thread that reads the settings: {cause}"))?;
        self.under_way = Some(UnderWay { began: now, read });
        Ok(())
    }
}
