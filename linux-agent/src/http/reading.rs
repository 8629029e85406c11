//! Reads files on a thread of its own: the file system that they are on may hang, and then only that thread waits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Certificates are parsed there, too.
const STACK_BYTES: usize = 256 << 10;

/// One thread that looks at files whenever it is told to. It starts with the first look, and ends once this is dropped
/// and the files answer.
pub struct FileReader<T> {
    shared: Arc<Shared<T>>,
    look: Arc<Mutex<Look<T>>>,
    has_thread: bool,
}

/// Looks at files. With `true` it reads them even if they seem unchanged. `None`: they are.
type Look<T> = Box<dyn FnMut(bool) -> Option<T> + Send>;

struct Shared<T> {
    turn: Mutex<Turn<T>>,
    changed: Condvar,
}

enum Turn<T> {
    Idle,
    Wanted { even_unchanged: bool },
    UnderWay,
    Done(Option<T>),
    Over,
}

impl<T: Send + 'static> FileReader<T> {
    /// Begins without a look.
    pub fn new(look: impl FnMut(bool) -> Option<T> + Send + 'static) -> Self {
        FileReader {
            shared: Arc::new(Shared {
                turn: Mutex::new(Turn::Idle),
                changed: Condvar::new(),
            }),
            look: Arc::new(Mutex::new(Box::new(look))),
            has_thread: false,
        }
    }

    /// Orders a look. Returns false while the last one is under way or was not taken.
    pub fn begin(&mut self, even_unchanged: bool) -> io::Result<bool> {
        let mut turn = self.shared.turn();
        if !matches!(*turn, Turn::Idle) {
            return Ok(false);
        }
        if !self.has_thread {
            let (shared, look) = (Arc::clone(&self.shared), Arc::clone(&self.look));
            thread::Builder::new()
                .name("access".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || shared.serve(&mut lock(&look)))?;
            self.has_thread = true;
        }
        *turn = Turn::Wanted { even_unchanged };
        self.shared.changed.notify_all();
        Ok(true)
    }

    /// What the look that was ordered found, if it ends within `wait`. Inside: `None` if the files are unchanged.
    pub fn take(&self, wait: Duration) -> Option<Option<T>> {
        let is_busy = |turn: &mut Turn<T>| matches!(turn, Turn::Wanted { .. } | Turn::UnderWay);
        let turn = self.shared.turn();
        let waited = self.shared.changed.wait_timeout_while(turn, wait, is_busy);
        let (mut turn, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if !matches!(*turn, Turn::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *turn, Turn::Idle) {
            Turn::Done(found) => Some(found),
            _ => None,
        }
    }
}

impl<T> Drop for FileReader<T> {
    fn drop(&mut self) {
        *self.shared.turn() = Turn::Over;
        self.shared.changed.notify_all();
    }
}

impl<T> Shared<T> {
    fn serve(&self, look: &mut Look<T>) {
        loop {
            let is_idle = |turn: &mut Turn<T>| !matches!(turn, Turn::Wanted { .. } | Turn::Over);
            let waited = self.changed.wait_while(self.turn(), is_idle);
            let mut turn = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            let Turn::Wanted { even_unchanged } = *turn else {
                return;
            };
            *turn = Turn::UnderWay;
            drop(turn);
            let found = look(even_unchanged);
            let mut turn = self.turn();
            if matches!(*turn, Turn::Over) {
                return;
            }
            *turn = Turn::Done(found);
            self.changed.notify_all();
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn<T>> {
        lock(&self.turn)
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
