//! The real program and what its reports survive: kills, disks out of order, a long backlog, a server that refuses.

mod backlog;
mod dead;
mod faults;
mod kills;
mod replaced;
