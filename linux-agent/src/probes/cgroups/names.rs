//! What groups are called. A path says what a group is:
//!
//! ```text
//! system.slice/nginx.service                                  nginx.service
//! user.slice/user-1000.slice/user@1000.service/app.slice      user@1000.service/app.slice
//! system.slice/docker-0123…ef.scope                           docker/0123456789ab, or docker/web
//! docker/0123…ef                                              the same, without systemd
//! machine.slice/libpod-0123…ef.scope                          podman/0123456789ab, or podman/db
//! kubepods.slice/…/cri-containerd-0123…ef.scope               containerd/0123456789ab
//! ```
//!
//! Within a service or a container the name of that comes first, since there is more than one with such slices.

use std::collections::HashMap;

use serde::Deserialize;

use crate::probes::kit::Roots;
use crate::system::files::read_open;

/// A longer name is cut at its front, in bytes.
pub const MAX_NAME: usize = 256;

/// What Docker and Podman say of their containers is no longer than this.
const MAX_STATE: u64 = 4 << 20;

/// Bytes of the id of a container, and of those that are shown.
const ID: usize = 64;
const SHORT_ID: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Service,
    Slice,
    Scope,
    Container,
}

impl GroupKind {
    pub fn text(self) -> &'static str {
        match self {
            GroupKind::Service => "service",
            GroupKind::Slice => "slice",
            GroupKind::Scope => "scope",
            GroupKind::Container => "container",
        }
    }

    /// What the group at this path is, if it is of interest.
    pub fn of(path: &[u8]) -> Option<GroupKind> {
        let (above, last) = last(path);
        let ends = |end: &[u8]| last.ends_with(end);
        match () {
            () if Container::of(above, last).is_some() => Some(GroupKind::Container),
            () if ends(b".service") => Some(GroupKind::Service),
            () if ends(b".slice") => Some(GroupKind::Slice),
            () if ends(b".scope") => Some(GroupKind::Scope),
            () => None,
        }
    }
}

/// The folders above, and the last one.
fn last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// A container by its engine and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Container<'p> {
    engine: &'static str,
    id: &'p str,
}

impl<'p> Container<'p> {
    fn of(above: &[u8], name: &'p [u8]) -> Option<Container<'p>> {
        let name = std::str::from_utf8(name).ok()?;
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let (before, id) = name.split_at_checked(name.len().checked_sub(ID)?)?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !id.bytes().all(is_hex) {
            return None;
        }
        let engine = match (before, last(above).1) {
            ("docker-", _) | ("", b"docker") => "docker",
            ("libpod-", _) => "podman",
            ("cri-containerd-" | "nerdctl-", _) => "containerd",
            ("crio-", _) => "crio",
            ("", _) => "container",
            // Such as the monitor of a container, `libpod-conmon-…`.
            _ => return None,
        };
        Some(Container { engine, id })
    }

    fn short_id(&self) -> &'p str {
        self.id.get(..SHORT_ID).unwrap_or(self.id)
    }
}

/// The names of containers, where the agent may read them: both engines keep them for root.
#[derive(Default)]
pub struct Names {
    /// By id. Docker's are kept: a file for each is read once.
    docker: HashMap<String, String>,
    podman: HashMap<String, String>,
}

impl Names {
    /// Reads what may have changed since the last time.
    pub fn refresh<'p>(&mut self, roots: &Roots, paths: impl Iterator<Item = &'p [u8]>) {
        self.podman = podman(roots).unwrap_or_default();
        let mut before = std::mem::take(&mut self.docker);
        for path in paths {
            let (above, name) = last(path);
            let Some(Container {
                engine: "docker",
                id,
            }) = Container::of(above, name)
            else {
                continue;
            };
            let known = before.remove(id).or_else(|| docker(roots, id));
            if let Some(name) = known {
                self.docker.insert(id.to_owned(), name);
            }
        }
    }

    /// What the group at this path is called.
    pub fn of(&self, path: &[u8]) -> String {
        let mut whole = String::new();
        let mut start = 0;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([path.len()]) {
            let above = path.get(..start.max(1) - 1).unwrap_or_default();
            let part = path.get(start..end).unwrap_or_default();
            start = end + 1;
            let is_last = end == path.len();
            let container = Container::of(above, part);
            let is_unit = part.ends_with(b".service") || part.ends_with(b".scope");
            if container.is_none() && !is_unit && !is_last {
                continue;
            }
            if !whole.is_empty() {
                whole.push('/');
            }
            match &container {
                Some(it) => whole.extend([it.engine, "/", self.container(it)]),
                None => whole.push_str(&String::from_utf8_lossy(part)),
            }
        }
        shorten(whole)
    }

    fn container<'n>(&'n self, container: &Container<'n>) -> &'n str {
        let names = match container.engine {
            "docker" => &self.docker,
            _ => &self.podman,
        };
        let name = names.get(container.id).map(String::as_str);
        name.unwrap_or_else(|| container.short_id())
    }
}

fn shorten(name: String) -> String {
    let cut = (name.len().saturating_sub(MAX_NAME)..).find(|at| name.is_char_boundary(*at));
    name.get(cut.unwrap_or(0)..).unwrap_or_default().to_owned()
}

/// A name as an engine allows it; nothing else is taken for one.
fn checked(name: &str) -> Option<String> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-');
    let fits = (1..=128).contains(&name.len()) && name.chars().all(is_plain);
    fits.then(|| name.to_owned())
}

/// Docker has a file for each container.
fn docker(roots: &Roots, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "Name")]
        name: String,
    }
    let path = format!("var/lib/docker/containers/{id}/config.v2.json");
    let text = read_open(roots.open_of_host(&path).ok()?, MAX_STATE).ok()?;
    let state: State = serde_json::from_slice(&text).ok()?;
    checked(state.name.trim_start_matches('/'))
}

/// Podman has one for all of them.
fn podman(roots: &Roots) -> Option<HashMap<String, String>> {
    #[derive(Deserialize)]
    struct State {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let path = "var/lib/containers/storage/overlay-containers/containers.json";
    let text = read_open(roots.open_of_host(path).ok()?, MAX_STATE).ok()?;
    let states: Vec<State> = serde_json::from_slice(&text).ok()?;
    let named = states.into_iter().filter_map(|state| {
        let name = checked(state.names.first()?)?;
        Some((state.id, name))
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn roots(rootfs: &std::path::Path) -> Roots {
        Roots {
            rootfs: rootfs.to_owned(),
            ..Roots::default()
        }
    }

    fn named(path: &str) -> String {
        Names::default().of(path.replace("ID", ID).as_bytes())
    }

    #[test]
    fn a_path_says_what_a_group_is_called() {
        for (path, name, kind) in [
            ("system.slice", "system.slice", GroupKind::Slice),
            (
                "system.slice/nginx.service",
                "nginx.service",
                GroupKind::Service,
            ),
            (
                "system.slice/system-getty.slice/getty@tty1.service",
                "getty@tty1.service",
                GroupKind::Service,
            ),
            ("init.scope", "init.scope", GroupKind::Scope),
            (
                "user.slice/user-1.slice/user@1.service/init.scope",
                "user@1.service/init.scope",
                GroupKind::Scope,
            ),
            (
                "user.slice/user-1.slice/user@1.service/app.slice",
                "user@1.service/app.slice",
                GroupKind::Slice,
            ),
            (
                "user.slice/user-1.slice/user@1.service/app.slice/a.service",
                "user@1.service/a.service",
                GroupKind::Service,
            ),
            ("docker/ID", "docker/0123456789ab", GroupKind::Container),
            (
                "system.slice/docker-ID.scope",
                "docker/0123456789ab",
                GroupKind::Container,
            ),
            (
                "machine.slice/libpod-ID.scope",
                "podman/0123456789ab",
                GroupKind::Container,
            ),
            (
                "libpod_parent/libpod-ID",
                "podman/0123456789ab",
                GroupKind::Container,
            ),
            (
                "kubepods.slice/kubepods-podX.slice/cri-containerd-ID.scope",
                "containerd/0123456789ab",
                GroupKind::Container,
            ),
            (
                "kubepods/burstable/podX/ID",
                "container/0123456789ab",
                GroupKind::Container,
            ),
            (
                "kubepods.slice/kubepods-podX.slice/crio-ID.scope",
                "crio/0123456789ab",
                GroupKind::Container,
            ),
            (
                "docker/ID/system.slice/a.service",
                "docker/0123456789ab/a.service",
                GroupKind::Service,
            ),
            (
                "docker/ID/docker/ID",
                "docker/0123456789ab/docker/0123456789ab",
                GroupKind::Container,
            ),
        ] {
            assert_eq!(named(path), name, "{path}");
            let path = path.replace("ID", ID);
            assert_eq!(GroupKind::of(path.as_bytes()), Some(kind), "{path}");
        }
        // The monitor of a container is none.
        let monitor = format!("machine.slice/libpod-conmon-{ID}.scope");
        assert_eq!(GroupKind::of(monitor.as_bytes()), Some(GroupKind::Scope));
        for path in [
            "docker",
            "a/b",
            "dev-hugepages.mount",
            "",
            &ID[1..],
            &ID.replace('a', "A"),
            "docker/xyz",
        ] {
            assert_eq!(GroupKind::of(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn a_long_name_is_cut_at_its_front() {
        let name = named(&format!("{}/b.service", "ä".repeat(300) + ".service"));
        assert!(
            name.len() <= MAX_NAME && name.ends_with("ä.service/b.service"),
            "{name}"
        );
    }

    #[test]
    fn containers_have_the_names_that_their_engines_keep() {
        let root = tempfile::tempdir().unwrap();
        // Moved to a larger disk, as that host sees it.
        let docker = root.path().join("data/docker/containers").join(ID);
        fs::create_dir_all(&docker).unwrap();
        fs::create_dir_all(root.path().join("var/lib")).unwrap();
        std::os::unix::fs::symlink("/data/docker", root.path().join("var/lib/docker")).unwrap();
        let podman = root
            .path()
            .join("var/lib/containers/storage/overlay-containers");
        fs::create_dir_all(&podman).unwrap();
        let paths = [
            format!("docker/{ID}"),
            format!("machine.slice/libpod-{ID}.scope"),
        ];
        let mut names = Names::default();
        let mut both = |docker_text: &str, podman_text: &str| {
            fs::write(docker.join("config.v2.json"), docker_text).unwrap();
            fs::write(podman.join("containers.json"), podman_text).unwrap();
            // A name that was known would be kept.
            names.docker.clear();
            names.refresh(&roots(root.path()), paths.iter().map(String::as_bytes));
            paths.each_ref().map(|path| names.of(path.as_bytes()))
        };
        let good = format!(r#"[{{"id":"{ID}","names":["db","x"]}}]"#);
        assert_eq!(
            both(r#"{"ID":"x","Name":"/web-1"}"#, &good),
            ["docker/web-1", "podman/db"]
        );
        let nameless = format!(r#"[{{"id":"{ID}"}}]"#);
        let short = ["docker/0123456789ab", "podman/0123456789ab"];
        for (docker_text, podman_text) in [
            ("", ""),
            ("{}", "[]"),
            ("{", &nameless),
            (r#"{"Name":"/"}"#, "{}"),
            (r#"{"Name":"a b"}"#, &good.replace("db", "a\\nb")),
            (r#"{"Name":"../a"}"#, &good.replace("db", "")),
            (r#"{"Name":7}"#, &good.replace("db", &"x".repeat(129))),
            (&"[".repeat(1 << 20), &"[".repeat(1 << 20)),
            (&" ".repeat(5 << 20), &" ".repeat(5 << 20)),
        ] {
            assert_eq!(
                both(docker_text, podman_text),
                short,
                "{docker_text:.20} {podman_text:.20}"
            );
        }
    }

    proptest! {
        #[test]
        fn junk_never_panics(path: Vec<u8>, around in ".{0,9}") {
            GroupKind::of(&path);
            Names::default().of(&path);
            Names::default().of(format!("{around}docker-{ID}{around}").as_bytes());
        }
    }
}
