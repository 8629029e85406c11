//! Hashes that spread clients and services over time: equal on every platform and in every version.

use crate::report::ClientId;

/// A hash of the client id, for [`crate::MonitorSettings::client`].
pub fn client_hash(client: ClientId<'_>) -> u32 {
    // FNV-1a's offset basis.
    const BASIS: u32 = 0x811C_9DC5;
    match client {
        ClientId::Number(number) => hash(BASIS, &number.to_le_bytes()),
        ClientId::Name(name) => hash(!BASIS, name.as_bytes()),
    }
}

/// FNV-1a, begun at `basis`, with MurmurHash3's finish: FNV alone leaves names that differ in their last
/// letter close together.
pub(crate) fn hash(basis: u32, bytes: &[u8]) -> u32 {
    let mut hash = bytes.iter().fold(basis, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85EB_CA6B);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hash_apart() {
        let number = client_hash(ClientId::Number(1));
        assert_ne!(number, client_hash(ClientId::Number(2)));
        assert_ne!(number, client_hash(ClientId::Name("\u{1}\0\0\0")));
        // Pinned: a change would move every client's phase on its next update.
        assert_eq!(number, 1_647_799_542);
    }
}
