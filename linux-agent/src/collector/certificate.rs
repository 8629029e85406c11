//! A certificate that hosts have to be told of, since no authority vouches for it.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::settings::TlsFiles;
use super::tls;

/// SEQUENCE, in DER.
const SEQUENCE: u8 = 0x30;

/// The tag of a certificate's version, which old ones do not have.
const VERSION: u8 = 0xA0;

/// The last certificate of the chain, in base64, if it is its own issuer: nobody trusts that one already. Chains of public
/// authorities end before their root.
pub fn to_be_told(files: &TlsFiles) -> Option<String> {
    let chain = tls::certificates(&files.certificates).ok()?;
    let last = chain.last()?;
    let is_told = is_its_own_issuer(last).unwrap_or(false);
    is_told.then(|| BASE64_STANDARD.encode(last))
}

/// RFC 5280, 4.1: version, serial number, algorithm, issuer, validity, subject.
fn is_its_own_issuer(certificate: &[u8]) -> Option<bool> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut rest, _) = element(certificate)? else {
        return None;
    };
    let mut next = || {
        let (tag, content, after) = element(rest)?;
        rest = after;
        Some((tag, content))
    };
    if next()?.0 == VERSION {
        next()?;
    }
    next()?;
    let issuer = next()?;
    next()?;
    let subject = next()?;
    Some(issuer == subject)
}

/// The tag and the content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0x80.. => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            let digits = digits.iter().skip_while(|it| **it == 0);
            let length = digits
                .clone()
                .fold(0_usize, |sum, it| (sum << 8) | usize::from(*it));
            (digits.count() <= 4).then_some((length, rest))?
        }
        _ => (usize::from(first), rest),
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use std::path::Path;

    fn named(name: &str) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    }

    fn told(folder: &Path, chain: &[&rcgen::Certificate]) -> Option<String> {
        let certificates = folder.join("chain.pem");
        std::fs::write(
            &certificates,
            chain.iter().map(|it| it.pem()).collect::<String>(),
        )
        .unwrap();
        to_be_told(&TlsFiles {
            certificates,
            key: folder.join("key.pem"),
            client_authorities: None,
        })
    }

    #[test]
    fn who_issued_itself_is_told_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let own = named("monitor").self_signed(&key).unwrap();
        assert_eq!(
            told(folder.path(), &[&own]),
            Some(BASE64_STANDARD.encode(own.der()))
        );

        let mut root = named("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let authority = root.self_signed(&root_key).unwrap();
        let leaf = named("monitor")
            .signed_by(&key, &Issuer::new(root, &root_key))
            .unwrap();
        assert_eq!(told(folder.path(), &[&leaf]), None);
        let whole = told(folder.path(), &[&leaf, &authority]);
        assert_eq!(whole, Some(BASE64_STANDARD.encode(authority.der())));
    }

    #[test]
    fn a_certificate_that_is_cut_off_or_damaged_is_no_error() {
        let key = KeyPair::generate().unwrap();
        let own = named("monitor").self_signed(&key).unwrap().der().to_vec();
        assert_eq!(is_its_own_issuer(&own), Some(true));
        for length in 0..own.len() {
            assert_eq!(is_its_own_issuer(&own[..length]), None, "{length}");
        }
        for place in 0..own.len() {
            let mut damaged = own.clone();
            damaged[place] ^= 0xFF;
            let _ = is_its_own_issuer(&damaged);
        }
    }
}
