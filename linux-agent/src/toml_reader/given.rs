//! Which keys were given, and where.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Place, TomlError};

/// Which keys a file and the variables gave, and where.
#[derive(Debug)]
pub(crate) struct Given {
    file: PathBuf,
    keys: BTreeMap<String, GivenKey>,
}

/// A key that was given, or an element of a list.
#[derive(Debug)]
struct GivenKey {
    /// As errors name it. In lists it has no number: `board.device`.
    shown: String,
    place: Place,
}

impl Given {
    pub(super) fn new(file: &Path) -> Given {
        Given {
            file: file.to_owned(),
            keys: BTreeMap::new(),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Enters the key at `path`, which errors name as `shown`.
    pub(super) fn add(&mut self, path: &str, shown: &str, place: Place) {
        let shown = shown.to_owned();
        self.keys.insert(path.to_owned(), GivenKey { shown, place });
    }

    /// Forgets the key at `path` and all below it.
    pub(super) fn forget(&mut self, path: &str) {
        let is_below = |it: &str| it.strip_prefix(path).is_some_and(|it| it.starts_with('.'));
        self.keys.retain(|it, _| it != path && !is_below(it));
    }

    /// Whether a key was given. A table was if it stands in the file or one of its keys was given.
    pub fn has(&self, path: &str) -> bool {
        self.keys.contains_key(path)
    }

    /// Where a key was given; for one that was not, where its table begins, else the file.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(key) = self.keys.get(path) {
                return key.place.clone();
            }
            match path.rsplit_once('.') {
                Some((table, _)) => path = table,
                None => return Place::File(self.file.clone()),
            }
        }
    }

    /// The error that the value of a key breaks a rule, "must be …".
    pub fn invalid(&self, path: &str, rule: impl Into<String>) -> TomlError {
        let shown = self.keys.get(path).map(|key| key.shown.clone());
        TomlError::Invalid {
            place: self.place(path),
            key: shown.unwrap_or_else(|| path.to_owned()),
            rule: rule.into(),
        }
    }
}
