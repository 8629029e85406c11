//! How many files this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the collector opens beside connections: the database by its threads, settings, tokens, what commands ask over.
const OTHERS: u32 = 64;

/// Allows this process so many connections, as far as the system lets it. Returns how many it may have.
pub fn allow(connections: u32) -> u32 {
    let wanted = u64::from(connections) + u64::from(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections;
    };
    let mut limit = soft;
    if soft < wanted {
        let raised = wanted.min(hard);
        if setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
            limit = raised;
        }
    }
    let possible = limit.saturating_sub(u64::from(OTHERS)).max(1);
    let possible = u32::try_from(possible).unwrap_or(u32::MAX);
    if possible < connections {
        log::warn!(
            "this process may open {limit} files, so at most {possible} connections are taken at a time: raise the limit \
             (LimitNOFILE= of a unit, ulimit -n)"
        );
    }
    possible.min(connections)
}
