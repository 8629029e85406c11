//! The few calls that the queue makes on its folder. A test can make each of them fail or stop halfway.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::system::files;

/// Files that are kept open: the segment that is written, one that is read, and what is done of each.
const MAX_OPEN: usize = 4;

/// A file of the queue. Both kinds are only ever appended to, and then removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// Reports, the first of which has this number.
    Segment(u64),
    /// Which reports of that segment are done with.
    Done(u64),
}

/// A folder of the queue. A call that fails may have done any part of its work.
pub trait Storage {
    /// The files there are, with their lengths in bytes; in any order.
    fn list(&mut self) -> io::Result<Vec<(FileName, u64)>>;
    /// Appends `bytes`, to a new file if there is none. After an error any prefix of them may be there.
    fn append(&mut self, name: FileName, bytes: &[u8]) -> io::Result<()>;
    /// Syncs the file and its entry in the folder, so that they survive a loss of power.
    fn sync(&mut self, name: FileName) -> io::Result<()>;
    /// Reads from `offset` on. Returns how many bytes; 0 at the end.
    fn read(&mut self, name: FileName, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Removes a file.
    fn remove(&mut self, name: FileName) -> io::Result<()>;
}

/// A real folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The one used most recently is the last.
    open: VecDeque<(FileName, File)>,
}

impl Folder {
    /// The folder at `path`, which is made when it is first listed.
    pub fn new(path: &Path) -> Self {
        Folder {
            path: path.to_owned(),
            open: VecDeque::new(),
        }
    }

    fn open(&self, name: FileName, create: bool) -> io::Result<File> {
        files::open_own(&self.path.join(name.to_string()), create)
    }

    fn file(&mut self, name: FileName, create: bool) -> io::Result<&mut File> {
        let found = self.open.iter().position(|(it, _)| *it == name);
        let entry = match found.and_then(|index| self.open.remove(index)) {
            Some(entry) => entry,
            None => match self.open(name, create) {
                Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                    // Somebody has removed the whole folder.
                    files::make_own_folder(&self.path)?;
                    (name, self.open(name, create)?)
                }
                result => (name, result?),
            },
        };
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(entry);
        let (_, file) = self.open.back_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }
}

/// Shows no open files.
impl Clone for Folder {
    fn clone(&self) -> Self {
        Folder::new(&self.path)
    }
}

impl Storage for Folder {
    fn list(&mut self) -> io::Result<Vec<(FileName, u64)>> {
        self.open.clear();
        files::make_own_folder(&self.path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Other files are not the queue's.
            let name = entry.file_name().to_str().and_then(FileName::parse);
            let facts = entry.metadata()?;
            if let Some(name) = name.filter(|_| facts.is_file()) {
                files.push((name, facts.len()));
            }
        }
        Ok(files)
    }

    fn append(&mut self, name: FileName, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(name, true)?;
        file.write_all(bytes)?;
        if file.metadata()?.nlink() == 0 {
            // Somebody has removed the file: what is written to it would be lost when the agent ends.
            self.open.retain(|(it, _)| *it != name);
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed",
            ));
        }
        Ok(())
    }

    fn sync(&mut self, name: FileName) -> io::Result<()> {
        self.file(name, false)?.sync_data()?;
        File::open(&self.path)?.sync_all()
    }

    fn read(&mut self, name: FileName, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file(name, false)?;
        loop {
            match file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn remove(&mut self, name: FileName) -> io::Result<()> {
        self.open.retain(|(it, _)| *it != name);
        match fs::remove_file(self.path.join(name.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

impl FileName {
    /// The file that is called `text`, if it is one of the queue's.
    pub fn parse(text: &str) -> Option<FileName> {
        let (number, kind) = text.split_once('.')?;
        let number = super::line::first(number)?;
        let name = match kind {
            "reports" => FileName::Segment(number),
            "done" => FileName::Done(number),
            _ => return None,
        };
        // Otherwise `1.reports` and `+1.reports` would be the same file.
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Segment(first) => write!(f, "{first:020}.reports"),
            FileName::Done(first) => write!(f, "{first:020}.done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            FileName::Segment(0),
            FileName::Segment(1 << 52),
            FileName::Done(17),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in [
            "",
            "17.reports",
            "+0000000000000000017.done",
            "00000000000000000017.tmp",
            // Too high for numbers to come.
            "00004503599627370497.reports",
            "00004503599627370497.done",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the flags of open")]
    fn a_folder_keeps_what_is_appended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let mut storage = Folder::new(&path);
        assert_eq!(storage.list().unwrap(), []);
        let names: Vec<_> = (0..6).map(FileName::Segment).collect();
        for name in names.iter().chain(&names) {
            storage.append(*name, b"abc").unwrap();
            storage.sync(*name).unwrap();
        }
        assert_eq!(storage.open.len(), MAX_OPEN);
        fs::write(path.join("notes.txt"), "not ours").unwrap();
        fs::create_dir(path.join(FileName::Segment(9).to_string())).unwrap();
        let mut files = storage.list().unwrap();
        files.sort();
        let expected: Vec<_> = names.iter().map(|name| (*name, 6)).collect();
        assert_eq!(files, expected);
        let mut buffer = [0; 4];
        assert_eq!(storage.read(names[0], 4, &mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"bc");
        storage.append(names[5], b"abc").unwrap();
        fs::remove_file(path.join(names[5].to_string())).unwrap();
        assert!(storage.append(names[5], b"abc").is_err());
        storage.append(names[5], b"abc").unwrap();
        assert_eq!(storage.read(names[5], 0, &mut buffer).unwrap(), 3);
        std::os::unix::fs::symlink("/dev/null", path.join(FileName::Done(1).to_string())).unwrap();
        assert!(storage.append(FileName::Done(1), b"abc").is_err());
        storage.remove(names[0]).unwrap();
        storage.remove(names[0]).unwrap();
        assert!(storage.read(names[0], 0, &mut buffer).is_err());
        assert_eq!(storage.list().unwrap().len(), 5);
    }
}
