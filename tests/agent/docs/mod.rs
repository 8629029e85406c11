//! The docs against the program: their commands are run, and their tables are compared with what the program says.

#[cfg(feature = "serve")]
mod commands;
mod containers;
#[cfg(feature = "serve")]
mod firmware;
mod map;
mod pages;
mod probes;
mod settings;
mod usage;
#[cfg(feature = "serve")]
mod wire;
