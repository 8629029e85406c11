//! A folder of the queue in memory, whose calls can be failed and cut.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use mote_agent::queue::{FileName, Storage};

/// Copies are the same folder.
#[derive(Clone, Default)]
pub struct MemoryFolder {
    state: Rc<RefCell<State>>,
}

/// What the next call does.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It writes this many bytes, and then nothing works until [`MemoryFolder::restart`].
    Cut(usize),
    /// It writes this many bytes and fails.
    Fail(usize),
}

#[derive(Default)]
struct State {
    files: BTreeMap<FileName, Vec<u8>>,
    synced: BTreeMap<FileName, usize>,
    is_dead: bool,
    calls: usize,
    /// Which call goes wrong, and how.
    fault: Option<(usize, Fault)>,
    /// Asked before each call that changes something.
    faults: Option<Box<dyn FnMut() -> Option<Fault>>>,
    /// Asked before each call that reads, whether it fails.
    read_faults: Option<Box<dyn FnMut() -> bool>>,
    /// No file may have more bytes.
    max_file_bytes: Option<usize>,
    /// Bytes that were to be written by each call so far.
    written: Vec<usize>,
    /// There is room for so many bytes.
    room: Option<usize>,
}

impl MemoryFolder {
    /// Makes one call go wrong.
    pub fn fail_at(&self, call: usize, fault: Fault) {
        self.state.borrow_mut().fault = Some((call, fault));
    }

    /// Makes calls go wrong as `faults` says.
    pub fn fail_by(&self, faults: impl FnMut() -> Option<Fault> + 'static) {
        self.state.borrow_mut().faults = Some(Box::new(faults));
    }

    /// Has calls that read go wrong as `faults` says.
    pub fn fail_reads_by(&self, faults: impl FnMut() -> bool + 'static) {
        self.state.borrow_mut().read_faults = Some(Box::new(faults));
    }

    /// Bounds the bytes of each file.
    pub fn set_max_file(&self, bytes: usize) {
        self.state.borrow_mut().max_file_bytes = Some(bytes);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let state = &mut *self.state.borrow_mut();
        state.fault = None;
        state.faults = None;
        state.read_faults = None;
        state.max_file_bytes = None;
        state.room = None;
    }

    /// Bounds the bytes of all files together.
    pub fn set_room(&self, bytes: usize) {
        self.state.borrow_mut().room = Some(bytes);
    }

    /// The process is there again. The files are what was written.
    pub fn restart(&self) {
        self.state.borrow_mut().is_dead = false;
    }

    /// The call that was to go wrong will not.
    pub fn spare(&self) {
        self.state.borrow_mut().fault = None;
    }

    /// Power was lost: of what was not synced, `keep` says for each file how much of so many bytes is there.
    pub fn lose_power(&self, mut keep: impl FnMut(usize) -> usize) {
        let state = &mut *self.state.borrow_mut();
        for (name, bytes) in &mut state.files {
            let synced = state
                .synced
                .get(name)
                .copied()
                .unwrap_or(0)
                .min(bytes.len());
            let kept = keep(bytes.len() - synced);
            bytes.truncate(synced + kept);
            state.synced.insert(*name, bytes.len());
        }
    }

    /// Whether a call was cut.
    pub fn is_dead(&self) -> bool {
        self.state.borrow().is_dead
    }

    /// The files with their lengths, and how each ends.
    pub fn listing(&self) -> String {
        let state = self.state.borrow();
        let files = state.files.iter().map(|(name, bytes)| {
            let tail =
                String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(40)..]).into_owned();
            let numbers: Vec<String> = String::from_utf8_lossy(bytes)
                .lines()
                .map(|line| line.chars().take(9).collect())
                .collect();
            format!("\n    {name}: {} bytes, {numbers:?} …{tail:?}", bytes.len())
        });
        files.collect()
    }

    /// How many calls changed something.
    pub fn calls(&self) -> usize {
        self.state.borrow().calls
    }

    /// For each call that changed something how many bytes it wrote.
    pub fn written(&self) -> Vec<usize> {
        self.state.borrow().written.clone()
    }

    /// Whether these bytes are in one of the files.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let state = self.state.borrow();
        let mut files = state.files.values();
        files.any(|file| file.windows(bytes.len()).any(|it| it == bytes))
    }

    /// What the files take.
    pub fn bytes(&self) -> usize {
        self.state.borrow().files.values().map(Vec::len).sum()
    }
}

impl State {
    /// How many bytes of a call take effect, and whether it succeeds.
    fn call(&mut self, bytes: usize) -> (usize, io::Result<()>) {
        if self.is_dead {
            return (0, Err(io::Error::other("dead")));
        }
        self.calls += 1;
        self.written.push(bytes);
        let fault = match self.fault {
            Some((call, fault)) if call + 1 == self.calls => Some(fault),
            _ => self.faults.as_mut().and_then(|faults| faults()),
        };
        match fault {
            None => {}
            Some(Fault::Cut(kept)) => {
                self.is_dead = true;
                return (kept.min(bytes), Err(io::Error::other("cut")));
            }
            Some(Fault::Fail(kept)) => {
                return (kept.min(bytes), Err(io::Error::other("fails")));
            }
        }
        (bytes, Ok(()))
    }

    /// The same for a call that writes.
    fn write(&mut self, bytes: usize) -> (usize, io::Result<()>) {
        let taken: usize = self.files.values().map(Vec::len).sum();
        let room = self.room.map(|room| room.saturating_sub(taken));
        match (self.call(bytes), room) {
            ((_, Ok(())), Some(room)) if room < bytes => {
                (room, Err(io::ErrorKind::StorageFull.into()))
            }
            (called, _) => called,
        }
    }

    fn alive(&self) -> io::Result<()> {
        match self.is_dead {
            true => Err(io::Error::other("dead")),
            false => Ok(()),
        }
    }
}

impl Storage for MemoryFolder {
    fn list(&mut self) -> io::Result<Vec<(FileName, u64)>> {
        let state = self.state.borrow();
        state.alive()?;
        let files = state.files.iter();
        Ok(files
            .map(|(name, bytes)| (*name, bytes.len() as u64))
            .collect())
    }

    fn append(&mut self, name: FileName, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        let length = state.files.get(&name).map_or(0, Vec::len);
        let fits = state
            .max_file_bytes
            .map_or(usize::MAX, |it| it - length.min(it));
        let (count, result) = match state.write(bytes.len()) {
            (count, Ok(())) if fits < count => (fits, Err(io::ErrorKind::FileTooLarge.into())),
            called => called,
        };
        if !state.is_dead || count > 0 || matches!(state.fault, Some((_, Fault::Cut(_)))) {
            let file = state.files.entry(name).or_default();
            file.extend_from_slice(&bytes[..count]);
        }
        result
    }

    fn sync(&mut self, name: FileName) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        let (_, result) = state.call(0);
        if result.is_ok() {
            let length = state.files.get(&name).map_or(0, Vec::len);
            state.synced.insert(name, length);
        }
        result
    }

    fn read(&mut self, name: FileName, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.state.borrow_mut();
        state.alive()?;
        if state.read_faults.as_mut().is_some_and(|fails| fails()) {
            return Err(io::Error::other("cannot be read"));
        }
        let file = state.files.get(&name).ok_or(io::ErrorKind::NotFound)?;
        let rest = file.get(usize::try_from(offset).unwrap_or(usize::MAX)..);
        let rest = rest.unwrap_or_default();
        // Less than was asked for, as a file system may. Miri is slow to prepare what is not filled.
        let piece = if cfg!(miri) { 7777 } else { 777 };
        let count = rest.len().min(buffer.len()).min(piece);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn remove(&mut self, name: FileName) -> io::Result<()> {
        let state = &mut *self.state.borrow_mut();
        // A removal that is cut has happened if a byte of it was to be kept.
        let (count, result) = state.call(1);
        if count > 0 {
            state.files.remove(&name);
            state.synced.remove(&name);
        }
        result
    }
}
