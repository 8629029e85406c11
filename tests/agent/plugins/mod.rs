//! Executables that the settings allow: those in order, those that are not, and those of another user.

mod hostile;
mod listed;
mod own_user;

/// What a plugin's niceness is: this one's and 10.
fn niceness_of_plugins() -> i32 {
    (rustix::process::nice(0).unwrap() + 10).min(19)
}
