//! A settings file, read.

use std::path::PathBuf;

use super::document::ServerDocument;
use crate::toml_reader::Given;

/// A file that was read: what it says, and where.
pub struct Part {
    pub document: ServerDocument,
    pub given: Given,
    /// Where its relative paths start.
    pub folder: PathBuf,
}
