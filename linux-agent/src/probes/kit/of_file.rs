//! Probes whose data is what one file below `/proc` says now.

use serde::Serialize;

use super::context::{Context, Roots};
use super::error::{Malformed, ProbeError};
use super::file::SourceFile;
use super::sample::Sample;

/// The data of such a probe.
pub trait FromFile: Serialize + Sized {
    /// The file, below `/proc`.
    const FILE: &'static str;

    /// Reads the whole text of the file.
    const PARSE: fn(&[u8]) -> Result<Self, Malformed>;
}

/// The probe that gives `D`: its file, open.
pub(crate) struct OfFile<D> {
    file: SourceFile,
    parse: fn(&[u8]) -> Result<D, Malformed>,
}

impl<D: FromFile> Sample for OfFile<D> {
    type Data<'a>
        = D
    where
        D: 'a;

    fn open(roots: &Roots, _: &mut Context) -> Result<Self, ProbeError> {
        Ok(OfFile {
            file: SourceFile::open(roots.procfs.join(D::FILE))?,
            parse: D::PARSE,
        })
    }

    fn sample(&mut self, context: &mut Context) -> Result<D, ProbeError> {
        let text = self.file.read_short(&mut context.scratch)?;
        (self.parse)(text).map_err(|malformed| self.file.malformed(malformed))
    }
}
