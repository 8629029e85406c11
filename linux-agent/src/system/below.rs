//! Opens what is below the root of another system, as that system would see it.
//!
//! A symbolic link there, such as `etc/hostname -> /persist/hostname`, means a path of that system. The kernel would
//! follow it from the root of this process, and so lead to this process's own files. `openat2` can take another
//! folder for the root (Linux 5.6); where there is none of it, each part of the path is looked at by hand.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::files::regular;

/// The kernel follows as many links of one path.
const MAX_LINKS: usize = 40;

/// The kernel takes no longer path, in bytes.
const MAX_PATH: usize = 4095;

/// By hand, each folder on the way is an open file.
const MAX_DEPTH: usize = 128;

/// `openat2` asks to try again when something below the root was moved meanwhile.
const TRIES: usize = 4;

/// Opens a regular file for reading, without waiting for anything.
pub fn open_below(root: &Path, name: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    regular(File::from(open(root, name, flags)?))
}

/// Opens a place of any kind, only to ask about it.
pub fn place_below(root: &Path, name: &Path) -> rustix::io::Result<OwnedFd> {
    open(root, name, OFlags::PATH)
}

fn open(root: &Path, name: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let root = openat(CWD, root, FOLDER, Mode::empty())?;
    for _ in 0..TRIES {
        match openat2(&root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Err(Errno::AGAIN) => {}
            // Before Linux 5.6, or for a sandbox that has not heard of it.
            Err(Errno::NOSYS | Errno::PERM) => break,
            opened => return opened,
        }
    }
    by_hand(root.as_fd(), name, flags)
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The same without `openat2`. Neither `..` nor a link leads above the root, also while somebody moves folders: the
/// way back is by the folders that were come through.
fn by_hand(root: BorrowedFd, name: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let parts = |path: &[u8]| -> rustix::io::Result<Vec<Vec<u8>>> {
        if path.len() > MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        let parts = path.split(|byte| *byte == b'/').rev();
        Ok(parts.map(<[u8]>::to_vec).collect())
    };
    // The next part is the last one of the list.
    let mut rest = parts(name.as_os_str().as_bytes())?;
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        // Behind a name it says that this is a folder.
        if matches!(part.as_slice(), b"" | b".") {
            continue;
        }
        if part == b".." {
            way.pop();
            continue;
        }
        let here = way.last().map_or(root, AsFd::as_fd);
        let name = OsStr::from_bytes(&part);
        match readlinkat(here, name, Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = target.as_bytes();
                rest.extend(parts(target)?);
                if target.starts_with(b"/") {
                    way.clear();
                }
            }
            // It is no link.
            Err(Errno::INVAL) if rest.is_empty() => {
                return openat(here, name, flags | OFlags::NOFOLLOW, Mode::empty());
            }
            Err(Errno::INVAL) if way.len() < MAX_DEPTH => {
                way.push(openat(
                    here,
                    name,
                    FOLDER | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?);
            }
            Err(Errno::INVAL) => return Err(Errno::NAMETOOLONG),
            Err(errno) => return Err(errno),
        }
    }
    let here = way.last().map_or(root, AsFd::as_fd);
    openat(here, ".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::fstat;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A root with a file of each name in it, beside a stranger's of the same names.
    fn two_systems() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("host");
        for (of, text) in [(folder.path(), "ours"), (&root, "theirs")] {
            fs::create_dir_all(of.join("etc")).unwrap();
            fs::create_dir_all(of.join("usr/lib")).unwrap();
            fs::write(of.join("etc/name"), text).unwrap();
            fs::write(of.join("usr/lib/os-release"), text).unwrap();
        }
        (folder, root)
    }

    type Open = fn(&Path, &Path) -> rustix::io::Result<OwnedFd>;

    /// The kernel's way, and the one without it.
    const WAYS: [Open; 2] = [
        |root, name| open(root, name, OFlags::RDONLY),
        |root, name| {
            let root = openat(CWD, root, FOLDER, Mode::empty())?;
            by_hand(root.as_fd(), name, OFlags::RDONLY | OFlags::CLOEXEC)
        },
    ];

    #[test]
    fn a_link_leads_where_its_own_system_would_go() {
        let (folder, root) = two_systems();
        let outside = folder.path().join("etc/name");
        symlink("/etc/name", root.join("etc/absolute")).unwrap();
        symlink("../usr/lib/os-release", root.join("etc/relative")).unwrap();
        symlink("../../../../etc/name", root.join("etc/above")).unwrap();
        symlink("/etc", root.join("folder")).unwrap();
        symlink("/folder/absolute", root.join("usr/twice")).unwrap();
        symlink(&outside, root.join("etc/outside")).unwrap();
        symlink("loop", root.join("etc/loop")).unwrap();
        symlink("/proc/self/root/etc/name", root.join("etc/magic")).unwrap();
        for way in WAYS {
            for name in [
                "etc/name",
                "/etc/name",
                "etc/../etc/./name",
                "../etc/name",
                "etc/absolute",
                "etc/relative",
                "etc/above",
                "folder/name",
                "usr/twice",
            ] {
                let file = way(&root, Path::new(name)).unwrap();
                assert_eq!(io::read_to_string(File::from(file)).unwrap(), "theirs");
            }
            for (name, errno) in [
                ("etc/outside", Errno::NOENT),
                ("etc/missing", Errno::NOENT),
                ("etc/magic", Errno::NOENT),
                ("etc/name/below", Errno::NOTDIR),
                ("etc/name/.", Errno::NOTDIR),
                ("etc/name/", Errno::NOTDIR),
                ("etc/loop", Errno::LOOP),
                (&"x/".repeat(2048), Errno::NAMETOOLONG),
            ] {
                let error = way(&root, Path::new(name)).unwrap_err();
                assert_eq!(error, errno, "{name:.20}");
            }
            for name in ["/", "", "etc/..", "../.."] {
                // The kernel wants a name.
                let found = way(&root, Path::new(name));
                let Ok(found) = found else {
                    assert_eq!((name, found.unwrap_err()), ("", Errno::NOENT));
                    continue;
                };
                let metadata = fs::metadata(&root).unwrap();
                let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
                assert_eq!(fstat(&found).unwrap().st_ino, inode, "{name}");
            }
        }
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let (_folder, root) = two_systems();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["fifo", "etc"] {
            let error = open_below(&root, Path::new(name)).unwrap_err().to_string();
            assert!(error.ends_with("and not a regular file"), "{error}");
        }
        assert!(open_below(&root, Path::new("etc/name")).is_ok());
        assert!(place_below(&root, Path::new("fifo")).is_ok());
    }

    proptest! {
        // Both ways come to the same file, or to the same error.
        #[test]
        fn by_hand_and_by_the_kernel_is_the_same(
            links in proptest::collection::vec(("[abc](/[abc]){0,2}", "/?([abc]|\\.\\.)(/([abc]|\\.|\\.\\.)){0,4}"), 1..12),
            names in proptest::collection::vec("/?([abc]|\\.\\.)(/([abc]|\\.\\.)){0,4}", 1..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            fs::create_dir_all(root.join("a/b")).unwrap();
            fs::create_dir_all(root.join("b/c")).unwrap();
            fs::write(root.join("c"), "").unwrap();
            for (at, target) in &links {
                let at = root.join(at);
                // Through links that were made before, outside the root too: which are of this test's folder.
                if at.parent().and_then(|it| it.canonicalize().ok()).is_some_and(|it| it.starts_with(&root)) {
                    let _ = symlink(target, at);
                }
            }
            for name in &names {
                let [by_kernel, by_hand] = WAYS.map(|way| way(&root, Path::new(name)).map(|it| fstat(it).unwrap().st_ino));
                prop_assert_eq!(by_kernel, by_hand, "{} in {:?}", name, links);
            }
        }
    }
}
