//! Who may look at the collector, and how requests reach it, as the settings have it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::HeaderName;
use serde::Serialize;

use crate::collector::password::PasswordHash;
use crate::protocol::is_text;
use crate::toml_reader::{FromTable, Table, TomlError, Value};

/// Longest name of a user, in bytes.
pub const MAX_USER: usize = 64;

/// What somebody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything.
    #[default]
    Viewer,
    /// And change what can be changed from outside, such as inviting hosts.
    Admin,
}

/// `[users.NAME]`
#[derive(Clone, Debug)]
pub struct User {
    pub role: Role,
    /// Without one only a trusted proxy can say that it is this user.
    pub password: Option<PasswordHash>,
}

/// Who may look, and by which names and proxies.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub users: BTreeMap<String, User>,
    /// Whose `X-Forwarded-…` and `proxy_user_header` are believed.
    pub trusted_proxies: Vec<AddressRange>,
    /// Where a trusted proxy says which user it has let in.
    pub proxy_user_header: Option<HeaderName>,
    /// Names of this collector beside those that its machine has.
    pub host_names: Vec<String>,
}

impl Access {
    /// What the first file says.
    pub(crate) fn read(table: &Table<'_>) -> Result<Access, TomlError> {
        Ok(Access {
            users: table.named_tables("users")?,
            trusted_proxies: table.list("trusted_proxies", AddressRange::from_setting)?,
            proxy_user_header: table.get("proxy_user_header", header)?,
            host_names: table.list("host_names", host_name)?,
        })
    }

    /// Whether this is the address of a proxy that is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|it| it.has(address))
    }
}

impl FromTable for User {
    fn from_table(table: &Table<'_>) -> Result<User, TomlError> {
        Ok(User {
            role: table.get("role", role)?.unwrap_or_default(),
            password: table.get("password", password)?,
        })
    }
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

impl AddressRange {
    fn from_setting(value: &Value) -> Result<AddressRange, String> {
        let network = value.as_str().and_then(AddressRange::parse);
        network.ok_or_else(|| {
            "must be an address such as \"127.0.0.1\", or a network such as \"10.0.0.0/8\""
                .to_owned()
        })
    }

    pub fn parse(text: &str) -> Option<AddressRange> {
        let (first, bits) = match text.split_once('/') {
            None => (text, None),
            Some((first, bits)) => (first, Some(bits.parse().ok()?)),
        };
        let first: IpAddr = first.parse().ok()?;
        let length = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(length);
        (bits <= length).then_some(AddressRange { first, bits })
    }

    fn has(&self, address: IpAddr) -> bool {
        let differ = |one: u128, other: u128, length: u8| {
            (one ^ other)
                .checked_shr(u32::from(length.saturating_sub(self.bits)))
                .unwrap_or(0)
        };
        match (self.first, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                differ(one.to_bits().into(), other.to_bits().into(), 32) == 0
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                differ(one.to_bits(), other.to_bits(), 128) == 0
            }
            _ => false,
        }
    }
}

/// Whether this can be the name of a user.
pub fn is_user_name(name: &str) -> bool {
    !name.is_empty() && is_text(name, MAX_USER)
}

fn role(value: &Value) -> Result<Role, String> {
    match value.as_str() {
        Some("viewer") => Ok(Role::Viewer),
        Some("admin") => Ok(Role::Admin),
        _ => Err("must be \"admin\" or \"viewer\"".to_owned()),
    }
}

fn password(value: &Value) -> Result<PasswordHash, String> {
    PasswordHash::parse(value.as_str().unwrap_or_default())
}

fn header(value: &Value) -> Result<HeaderName, String> {
    let name = value.as_str().and_then(|it| it.parse().ok());
    name.ok_or_else(|| "must be the name of a header such as \"Remote-User\"".to_owned())
}

fn host_name(value: &Value) -> Result<String, String> {
    let name = value
        .as_str()
        .filter(|it| !it.is_empty() && !it.contains([':', '/', '[', ' ']));
    name.map(str::to_owned)
        .ok_or_else(|| "must be a name such as \"monitor.example\", without a port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, address, is_in) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.255", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let parsed = AddressRange::parse(network).unwrap();
            assert_eq!(
                parsed.has(address.parse().unwrap()),
                is_in,
                "{network} {address}"
            );
        }
        for bad in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "1.2.3",
        ] {
            assert_eq!(AddressRange::parse(bad), None, "{bad}");
        }
    }
}
