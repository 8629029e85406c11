//! `mote enroll`: a one-time code becomes this client's token.
//!
//! Everything that can fail on this host is tried before the code is spent. Neither code nor token is ever shown.

mod authority;
mod certificate;
mod text;
mod unspent;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use serde::Deserialize;

use authority::Authority;
use certificate::Certificate;
use unspent::{UNSPENT, already_there, in_time};

use super::outcome::{Failed, exit, failed, say};
use super::source::Source;
use crate::http::Client;
use crate::settings::{ClientName, SYSTEM_USER, Server, Settings, rules};
use crate::system::files::FileError;
use crate::system::places::SYSTEM_FOLDER;
use crate::system::privileges;
use crate::system::secret::{NewFile, Token};

/// A code may have this many bytes.
pub const MAX_CODE: usize = 256;

/// What a server answers to a code.
#[derive(Deserialize)]
struct Enrolled {
    client_id: ClientName,
    token: String,
}

/// The settings of the agent that is enrolled.
enum Site {
    /// There are none: they are made.
    New(PathBuf),
    /// They are there as a package brought them, with this text: they are filled in.
    Delivered(PathBuf, String),
    /// They are there, and an operator changes them.
    Old(Box<Settings>),
}

/// What somebody asks for.
pub struct Enrolment<'a> {
    /// The server.
    pub url: &'a str,
    /// The code, or `-` for a line of standard input.
    pub code: &'a str,
    /// Certificates of the authorities to trust.
    pub ca_file: Option<&'a Path>,
    /// In its place the one certificate to trust, in base64.
    pub certificate: Option<&'a str>,
    /// Who this is, if the code is for whoever comes.
    pub client_id: Option<&'a str>,
    /// What is to become of a token that is there already.
    pub if_enrolled: IfEnrolled,
}

/// What is to become of a token that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IfEnrolled {
    /// It stays, and that is said and a failure.
    Refuse,
    /// It stays, and all is well.
    Leave,
    /// Another one takes its place.
    Replace,
}

/// Exchanges a code at the server. Writes the token's file, and the settings if there are none.
pub fn enroll(source: &Source, asked: &Enrolment<'_>) -> Result<(), Failed> {
    let force = asked.if_enrolled == IfEnrolled::Replace;
    let given = asked.certificate.map(Certificate::laid_out).transpose()?;
    let given = given.as_ref().map(|it| it.path.as_path());
    let mut server = server(asked.url, asked.ca_file.or(given))?;
    let code = read_code(asked.code)?;
    let (its, to) = (source.clone(), server.clone());
    let site = in_time(&Settings::file_to_load(source.file.as_deref()), move || {
        site(&its, &to)
    })??;
    let claimed = site.client_id(asked.client_id)?;
    let token_file = site.token_file();
    let file = token_file.clone();
    let is_there = in_time(&token_file, move || fs::symlink_metadata(file).is_ok())?;
    match asked.if_enrolled {
        IfEnrolled::Refuse if is_there => return Err(already_there(&token_file)),
        IfEnrolled::Leave if is_there => {
            let token = token_file.display();
            return say(&format!("{token}: this client has a token already"));
        }
        _ => {}
    }
    let keeper = site.keeper()?;
    let no_file = |path: &Path, error: io::Error| failed(exit::FAILED, FileError::new(path, error));
    if let (Site::New(file), Some(folder)) = (&site, token_file.parent()) {
        fs::create_dir_all(folder).map_err(|error| no_file(file, error))?;
    }
    let token = NewFile::create(&token_file, 0o600)
        .and_then(|token| token.given_to(keeper.as_ref()))
        .map_err(|error| no_file(&token_file, error))?;
    let settings = match &site {
        Site::New(file) | Site::Delivered(file, _) => {
            let new = NewFile::create(file, 0o644).map_err(|error| no_file(file, error))?;
            Some((file, new))
        }
        Site::Old(_) => None,
    };

    let authority = match (&site, &server.ca_file) {
        (Site::New(file) | Site::Delivered(file, _), Some(from)) => {
            Some(Authority::beside(file, from, force)?)
        }
        (Site::Old(settings), Some(from)) if given.is_some() => {
            Some(Authority::beside(&settings.file, from, force)?)
        }
        _ => None,
    };

    let (id, secret) = exchange(&server, &code, claimed.as_ref())?;
    token
        .write(&format!("{}\n", secret.expose()), force)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_there(&token_file),
            _ => no_file(&token_file, error),
        })?;
    if let Some((file, new)) = settings {
        let ca_file = authority.as_ref().map(|it| it.name.as_str());
        let (text, replaces) = match &site {
            Site::Delivered(_, text) => (
                text::filled_in(text, &id, &server.url, ca_file, keeper.as_ref()),
                true,
            ),
            _ => (
                text::made(&id, &server.url, ca_file, keeper.as_ref()),
                false,
            ),
        };
        let written = authority.map_or(Ok(()), Authority::write);
        let written = written.and_then(|()| new.write(&text, replaces));
        written.map_err(|error| no_file(file, error))?;
    } else if let (Site::Old(settings), Some(authority)) = (&site, authority) {
        let path = settings.file.with_file_name(&authority.name);
        let written = authority.write();
        written.map_err(|error| no_file(&path, error))?;
        server.ca_file = Some(path);
    }
    say(&format!(
        "{}: this is client {id}, and its token is in {}",
        server.url,
        token_file.display()
    ))?;
    match &site {
        Site::New(file) => say(&format!("{}: the settings are made", file.display())),
        Site::Delivered(file, _) => say(&format!("{}: the settings are filled in", file.display())),
        Site::Old(settings) => compare(settings, &id, &server),
    }
}

fn server(url: &str, ca_file: Option<&Path>) -> Result<Server, Failed> {
    let usage = |sentence: String| failed(exit::USAGE, sentence);
    let url = rules::address(url).map_err(|rule| usage(format!("the address {rule}")))?;
    let ca_file = ca_file.map(std::path::absolute).transpose();
    let ca_file = ca_file.map_err(|error| usage(format!("--ca-file: {error}")))?;
    if ca_file.as_ref().is_some_and(|file| file.to_str().is_none()) {
        return Err(usage("the path of --ca-file must be UTF-8".to_owned()));
    }
    let server = Server::at(&url, ca_file);
    if !server.is_private() {
        let sentence =
            "the address must start with https://, since others could read the code and the token";
        return Err(usage(sentence.to_owned()));
    }
    if server.ca_file.is_some() && !server.is_https() {
        return Err(usage("--ca-file is of use only with https://".to_owned()));
    }
    crate::http::access::check_in_time(&server).map_err(usage_of)?;
    Ok(server)
}

fn usage_of(error: impl std::fmt::Display) -> Failed {
    failed(exit::USAGE, error)
}

fn read_code(code: &str) -> Result<String, Failed> {
    let mut line = Vec::new();
    let code = match code {
        "-" => {
            let limit = MAX_CODE as u64 + 2;
            let read = io::stdin().lock().take(limit).read_to_end(&mut line);
            read.map_err(|error| failed(exit::FAILED, format!("standard input: {error}")))?;
            str::from_utf8(&line).unwrap_or_default().trim_end()
        }
        code => code,
    };
    let is_code =
        (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic());
    match is_code {
        true => Ok(code.to_owned()),
        false => Err(failed(
            exit::USAGE,
            format!("a code is 1 to {MAX_CODE} visible ASCII characters without spaces"),
        )),
    }
}

/// Checks that the settings, if any, are for this server, before the code is spent.
fn site(source: &Source, server: &Server) -> Result<Site, Failed> {
    let file = Settings::file_to_load(source.file.as_deref());
    if !file.exists() {
        let file = std::path::absolute(&file);
        return Ok(Site::New(
            file.map_err(|error| failed(exit::FAILED, error))?,
        ));
    }
    if let Ok(text) = fs::read_to_string(&file)
        && text::is_delivered(&text)
    {
        let file = std::path::absolute(&file);
        return Ok(Site::Delivered(
            file.map_err(|error| failed(exit::FAILED, error))?,
            text,
        ));
    }
    let settings = source.settings()?;
    let name = settings.file.display();
    match settings.server() {
        Some(own) if own.url == server.url => Ok(Site::Old(Box::new(settings))),
        Some(own) => Err(failed(
            exit::SETTINGS,
            format!(
                "{name}: `server.url` is {}; change it to {} and enrol again, {UNSPENT}",
                own.url, server.url
            ),
        )),
        None => Err(failed(
            exit::SETTINGS,
            format!(
                "{name}: there is no [server]; add one with `url = \"{}\"` and enrol again, {UNSPENT}",
                server.url
            ),
        )),
    }
}

impl Site {
    /// Whose the token is to be, if root enrols and the agent does not run as root: the user of the settings, else for
    /// settings of the host the system's user `mote`, whom the systemd unit names too.
    fn keeper(&self) -> Result<Option<User>, Failed> {
        let folder = match self {
            Site::New(file) | Site::Delivered(file, _) => file.parent(),
            Site::Old(settings) => settings.file.parent(),
        };
        let is_of_host = folder.is_some_and(|it| it.starts_with(SYSTEM_FOLDER));
        let named = match self {
            Site::Old(settings) => settings.user.as_deref(),
            Site::New(_) | Site::Delivered(..) => None,
        };
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        match named {
            Some(name) => privileges::user_to_become(name)
                .map_err(|error| failed(exit::SETTINGS, format!("{error}; {UNSPENT}"))),
            None if is_of_host => match User::from_name(SYSTEM_USER) {
                Ok(Some(user)) => Ok(Some(user)),
                // Settings that are there may be for an agent that stays root.
                _ if matches!(self, Site::Old(_)) => Ok(None),
                _ => Err(failed(
                    exit::SETTINGS,
                    format!(
                        "there is no user {SYSTEM_USER:?} on this host, whom the agent is to run as: make it with \
                         `useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {SYSTEM_USER}`, or \
                         `adduser -S -D -H {SYSTEM_USER}` with BusyBox; {UNSPENT}"
                    ),
                )),
            },
            None => Ok(None),
        }
    }

    /// Who this is, as far as it is known: by the command line, the settings, or the name of the machine.
    fn client_id(&self, given: Option<&str>) -> Result<Option<ClientName>, Failed> {
        if let Some(given) = given {
            let id = ClientName::from_text(given);
            return match id.is_valid() {
                true => Ok(Some(id)),
                false => Err(failed(
                    exit::USAGE,
                    "--client-id is a number, or a name of 1 to 64 bytes without control characters",
                )),
            };
        }
        Ok(match self {
            Site::Old(settings) => Some(settings.client_id.clone()),
            Site::New(_) | Site::Delivered(..) => {
                let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                Some(ClientName::from_text(name.trim())).filter(ClientName::is_valid)
            }
        })
    }

    fn token_file(&self) -> PathBuf {
        let beside = |file: &Path| file.with_file_name("token");
        match self {
            Site::New(file) | Site::Delivered(file, _) => beside(file),
            Site::Old(settings) => {
                let own = settings.server().and_then(|it| it.token.as_ref());
                own.map_or_else(|| beside(&settings.file), |own| own.path.clone())
            }
        }
    }
}

fn exchange(
    server: &Server,
    code: &str,
    claimed: Option<&ClientName>,
) -> Result<(ClientName, Token), Failed> {
    let answer = Client::new(server, "")
        .enroll(code, claimed)
        .map_err(|error| failed(exit::UNAVAILABLE, as_typed(&error.to_string())))?;
    let invalid = || {
        failed(
            exit::UNAVAILABLE,
            format!(
                "{}/api/enroll answered without a valid client id and token",
                server.url
            ),
        )
    };
    let enrolled: Enrolled = serde_json::from_slice(&answer).map_err(|_| invalid())?;
    let token = Token::new(&enrolled.token).ok_or_else(invalid)?;
    Ok((enrolled.client_id, token))
}

/// A sentence about a call, which names settings, in terms of the command line: there may be no settings yet.
fn as_typed(sentence: &str) -> String {
    sentence
        .replace("`server.ca_file`", "`--ca-file`")
        .replace("`server.url`", "the address")
}

/// Says what the settings must be for this client, if they are not.
fn compare(settings: &Settings, id: &ClientName, server: &Server) -> Result<(), Failed> {
    let own = settings.server();
    let mut changes = Vec::new();
    // In a URL a number and a name of the same digits look the same.
    if settings.client_id.to_string() != id.to_string() {
        changes.push(format!("`client_id = {}`", text::literal(id)));
    }
    if own.is_some_and(|own| own.token.is_none()) {
        changes.push("`token_file = \"token\"` in [server]".to_owned());
    }
    let new = server.ca_file.as_ref();
    let is_new = |file: &&PathBuf| match own.and_then(|own| own.ca_file.as_ref()) {
        Some(own) => own != *file && !authority::are_alike(own, file),
        None => own.is_some(),
    };
    if let Some(file) = new.filter(is_new) {
        let file = text::quoted(&file.display().to_string());
        changes.push(format!("`ca_file = {file}` in [server]"));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let sentence = format!(
        "{}: set {} before the agent starts",
        settings.file.display(),
        changes.join(" and ")
    );
    Err(failed(exit::SETTINGS, sentence))
}

#[cfg(test)]
mod tests;
