//! Boards on serial ports: the real program on pseudo-terminals, with a real collector or a scripted server behind it.

mod bench;
mod chain;
mod damage;
mod link;
mod pico;
mod reports;
mod runs;
mod services;
