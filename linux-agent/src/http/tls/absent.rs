//! Replaces TLS in a build without it. These types have no values: settings with an https:// address are refused.

use std::io;

use thiserror::Error;

use crate::http::socket::Socket;
use crate::settings::Server;

/// Cannot exist in a build without TLS.
#[derive(Clone, Debug)]
pub enum TlsConfig {}

/// Cannot exist in a build without TLS.
pub enum TlsStream {}

/// Cannot exist in a build without TLS.
#[derive(Debug, Error)]
pub enum TlsError {}

/// Says that this build has no TLS.
#[derive(Debug, Error)]
#[error("this build speaks no TLS")]
pub struct TlsConfigError;

impl TlsConfig {
    pub fn read(_: &Server) -> Result<TlsConfig, TlsConfigError> {
        Err(TlsConfigError)
    }

    pub fn connect(&self, _: &str, _: Socket) -> Result<TlsStream, TlsError> {
        match *self {}
    }
}

impl TlsStream {
    pub fn socket(&mut self) -> &mut Socket {
        match *self {}
    }

    pub fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub fn write_all(&mut self, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub fn is_quiet(&self) -> bool {
        match *self {}
    }
}

impl TlsError {
    pub fn in_use(error: io::Error) -> Result<TlsError, io::Error> {
        Err(error)
    }

    pub fn is_before_request(&self) -> bool {
        match *self {}
    }
}
