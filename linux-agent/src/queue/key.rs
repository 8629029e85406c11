//! Whose a report is.

use mote_core::ClientId;
use serde::Deserialize;

use crate::client_name::ClientName;

/// Whose a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose<'a> {
    /// Tells services apart, also those of boards. The same after a restart.
    pub key: u64,
    /// The service's name, for people.
    pub name: &'a str,
}

impl<'a> Whose<'a> {
    /// The key and name of a client's service.
    pub fn of(client: &ClientId<'_>, service: &'a str) -> Self {
        Whose {
            key: service_key(client, service),
            name: service,
        }
    }
}

/// A hash (FNV-1a) of the client and the name.
fn service_key(client: &ClientId<'_>, service: &str) -> u64 {
    let number;
    let (kind, client) = match client {
        ClientId::Number(id) => {
            number = id.to_le_bytes();
            (0, number.as_slice())
        }
        ClientId::Name(name) => (1, name.as_bytes()),
    };
    let bytes = [kind].into_iter().chain(client.iter().copied());
    let bytes = bytes.chain([0xFF]).chain(service.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// The key and name of a report that an earlier run left on disk, read from the report itself.
pub fn read_whose(report: &[u8]) -> (u64, String) {
    #[derive(Deserialize)]
    struct Named {
        client_id: ClientName,
        service_name: String,
    }
    let Ok(named) = serde_json::from_slice::<Named>(report) else {
        return (0, "?".to_owned());
    };
    (
        service_key(&named.client_id.id(), &named.service_name),
        named.service_name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_read_belongs_to_the_service_that_sampled_it() {
        let name = "N\u{f6}t";
        for (json, client) in [("7", ClientId::Number(7)), ("\"7\"", ClientId::Name("7"))] {
            let report = format!(r#"{{"client_id":{json},"service_name":{name:?},"data":{{}}}}"#);
            let read = read_whose(report.as_bytes());
            assert_eq!(read, (service_key(&client, name), name.to_owned()));
        }
    }
}
