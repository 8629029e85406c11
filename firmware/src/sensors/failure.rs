//! Failures of a bus, in words.

use embedded_hal::i2c::{Error, ErrorKind, NoAcknowledgeSource};

use crate::board::Failed;

/// Why a sensor could not be read.
pub(super) fn failed(error: &impl Error) -> Failed {
    Failed(match error.kind() {
        ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data) => {
            "the sensor did not acknowledge what it was told"
        }
        ErrorKind::NoAcknowledge(_) => "no sensor answers at its address",
        ErrorKind::ArbitrationLoss => "another master took the bus",
        ErrorKind::Overrun => "the driver of the bus lost what the sensor said",
        ErrorKind::Bus => "the bus to the sensor is disturbed or stands still",
        // `Other`, and what later versions of embedded-hal may tell apart.
        _ => "the driver of the bus failed for a reason of its own",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_kind_of_error_has_words_of_its_own() {
        use NoAcknowledgeSource::{Address, Data, Unknown};
        let words = |kind: ErrorKind| failed(&kind).0;
        let absent = words(ErrorKind::NoAcknowledge(Address));
        assert_eq!(absent, "no sensor answers at its address");
        // Which of the two it was the chip does not say: most often nobody is there.
        assert_eq!(words(ErrorKind::NoAcknowledge(Unknown)), absent);
        let expected = [
            (ErrorKind::NoAcknowledge(Data), "did not acknowledge what"),
            (ErrorKind::ArbitrationLoss, "another master took"),
            (ErrorKind::Overrun, "lost what the sensor said"),
            (ErrorKind::Bus, "disturbed or stands still"),
            (ErrorKind::Other, "a reason of its own"),
        ];
        let mut all = BTreeSet::from([absent]);
        for (kind, part) in expected {
            assert!(words(kind).contains(part), "{kind}: {}", words(kind));
            all.insert(words(kind));
        }
        assert_eq!(all.len(), 6);
    }
}
