//! Finds the groups of this host.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::read_dir;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::group::{Before, Group};
use super::layout::Hierarchy;
use super::names::{GroupKind, Names};
use crate::probes::kit::Roots;

/// No more groups than this are read; the others are counted.
pub const MAX_GROUPS: usize = 1024;

/// No more folders than this are looked into, in one hierarchy.
const MAX_FOLDERS: usize = 8192;

/// All services, slices, scopes and containers, those above others first, and how many there are beyond the bound.
/// What is known of `before` is kept.
pub fn look(
    roots: &Roots,
    hierarchies: &[Hierarchy],
    names: &mut Names,
    before: Vec<Group>,
) -> (Vec<Group>, usize) {
    let mut paths = BTreeSet::new();
    let mut omitted = 0;
    for hierarchy in hierarchies {
        omitted = omitted.max(walk(&hierarchy.root, &mut paths));
    }
    omitted += paths.len().saturating_sub(MAX_GROUPS);
    let paths: Vec<Vec<u8>> = paths.into_iter().take(MAX_GROUPS).collect();
    names.refresh(roots, paths.iter().map(Vec::as_slice));

    let mut known: HashMap<Vec<u8>, Option<Before>> = before
        .into_iter()
        .map(|group| (group.path, group.before))
        .collect();
    let mut taken = HashSet::new();
    let mut places = HashMap::new();
    let mut groups = Vec::with_capacity(paths.len());
    for path in paths {
        let place_above = above(&path).find_map(|path| places.get(path).copied());
        let group = Group {
            name: unique(names.of(&path), &mut taken),
            kind: GroupKind::of(&path).unwrap_or(GroupKind::Slice),
            above: place_above,
            before: known.remove(&path).flatten(),
            now: None,
            path,
        };
        places.insert(group.path.clone(), groups.len());
        groups.push(group);
    }
    (groups, omitted)
}

/// Collects the paths of groups below `root`, and gives how many folders were not looked into.
fn walk(root: &Path, paths: &mut BTreeSet<Vec<u8>>) -> usize {
    let mut left = vec![Vec::new()];
    let mut looked_into = 0;
    while let Some(folder) = left.pop() {
        if looked_into == MAX_FOLDERS {
            return left.len() + 1;
        }
        looked_into += 1;
        let Ok(entries) = read_dir(root.join(OsStr::from_bytes(&folder))) else {
            continue;
        };
        for entry in entries.flatten() {
            // A link is no folder here.
            if !entry.file_type().is_ok_and(|it| it.is_dir()) {
                continue;
            }
            let mut path = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(entry.file_name().into_vec());
            if GroupKind::of(&path).is_some() {
                paths.insert(path.clone());
            }
            left.push(path);
        }
    }
    0
}

/// The paths above this one, the nearest first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(at, _)| path.get(..at))
}

/// A name that is taken gets a number.
fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut numbered = (2..).map(|number: u32| format!("{name} #{number}"));
    let mut free = name.clone();
    while taken.contains(&free) {
        free = numbered.next().unwrap_or_default();
    }
    taken.insert(free.clone());
    free
}
