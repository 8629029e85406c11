//! What tells services apart.

use mote_core::ClientId;
use serde::Deserialize;

/// Tells services apart, also those of boards, and after a restart: a hash (FNV-1a) of the client and the name.
pub fn service_key(client: &ClientId<'_>, service: &str) -> u64 {
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

/// The key of a report that was read.
pub fn key_of(report: &[u8]) -> u64 {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Client {
        Number(u32),
        Name(String),
    }
    #[derive(Deserialize)]
    struct Named {
        client_id: Client,
        service_name: String,
    }
    let Ok(named) = serde_json::from_slice::<Named>(report) else {
        return 0;
    };
    let client = match &named.client_id {
        Client::Number(number) => ClientId::Number(*number),
        Client::Name(name) => ClientId::Name(name),
    };
    service_key(&client, &named.service_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_read_belongs_to_the_service_that_sampled_it() {
        let name = "N\u{f6}t";
        for (json, client) in [("7", ClientId::Number(7)), ("\"7\"", ClientId::Name("7"))] {
            let report = format!(r#"{{"client_id":{json},"service_name":{name:?},"data":{{}}}}"#);
            assert_eq!(key_of(report.as_bytes()), service_key(&client, name));
        }
    }
}
