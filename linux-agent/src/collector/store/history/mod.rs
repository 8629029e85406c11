//! The history of each service: its numbers over time.
//!
//! Reports of a service are gathered in memory, by column ([`open`]). After 240 of them, or an hour, they become a block of
//! [`points`] and one of [`partials`] ([`seal`]). The log has them all until then, so that a collector which is killed
//! finds them again.

pub(crate) mod codec;
pub(crate) mod gaps;
pub(crate) mod open;
pub(crate) mod partials;
pub(crate) mod places;
pub(crate) mod points;
pub(crate) mod samples;
pub(crate) mod seal;
pub(crate) mod series;
pub(crate) mod streams;
