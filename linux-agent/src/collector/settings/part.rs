//! A settings file, read.

use std::path::PathBuf;

use super::document::Document;
use crate::toml_reader::Given;

/// A file that was read: what it says, and where.
pub struct Part {
    pub document: Document,
    pub given: Given,
    /// Where its relative paths start.
    pub folder: PathBuf,
}
