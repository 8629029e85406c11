//! What stands in a block of the collector's history. The input is the block.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mote_agent::collector::{Partials, Points};

fuzz_target!(|block: &[u8]| -> Corpus {
    let points = Points::decode(block, |_, _| true);
    let partials = Partials::decode(block, |_, _| true);
    if points.is_err() && partials.is_err() {
        return Corpus::Keep;
    }
    // Bits are compared, since there are numbers that are none.
    if let Ok(points) = points {
        let again = points.encode().unwrap();
        let again = Points::decode(&again, |_, _| true).unwrap();
        assert_eq!(format!("{again:?}"), format!("{points:?}"));
        Partials::of(&points);
    }
    if let Ok(partials) = partials {
        let again = partials.encode().unwrap();
        let again = Partials::decode(&again, |_, _| true).unwrap();
        assert_eq!(format!("{again:?}"), format!("{partials:?}"));
    }
    Corpus::Keep
});
