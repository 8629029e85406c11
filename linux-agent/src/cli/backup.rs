//! `mote backup`: a copy of the collector's database, while the collector runs or not.

use std::path::Path;

use super::collector::server_settings;
use super::outcome::{Failed, exit, failed, say};
use super::source::Source;
use crate::collector;

/// Writes a copy to `file`, which must not exist.
pub fn backup(source: &Source, file: &Path) -> Result<(), Failed> {
    let settings = server_settings(source)?;
    let bytes =
        collector::backup(&settings.database, file).map_err(|error| failed(exit::FAILED, error))?;
    say(&format!(
        "{}: {bytes} bytes, a copy of {}",
        file.display(),
        settings.database.display()
    ))
}
