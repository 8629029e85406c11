//! What is wrong with the words of C's, and what it is told then.

use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::vec::Vec;

use super::*;

#[test]
fn null_is_an_error_everywhere() {
    let _alone = alone();
    let node = node();
    assert_eq!(init(null_mut(), &nothing(), 0), MoteError::Null);
    let (mut bytes, mut length, mut wait_ms) = (null(), 0, 0);
    let none = null_mut();
    // SAFETY: null is what is tried.
    unsafe {
        assert_eq!(mote_init(node, null(), 0), MoteError::Null);
        assert_eq!(init(node, &nothing(), 0), MoteError::Ok);
        assert_eq!(mote_receive(none, b"x".as_ptr(), 1, 0), MoteError::Null);
        assert_eq!(mote_receive(node, null(), 0, 0), MoteError::Null);
        assert_eq!(mote_poll(none, 0), MoteError::Null);
        assert_eq!(mote_wait(none, 0, &mut wait_ms), MoteError::Null);
        assert_eq!(mote_wait(node, 0, null_mut()), MoteError::Null);
        assert_eq!(
            mote_outgoing(none, 0, &mut bytes, &mut length),
            MoteError::Null
        );
        assert_eq!(
            mote_outgoing(node, 0, null_mut(), &mut length),
            MoteError::Null
        );
        assert_eq!(
            mote_outgoing(node, 0, &mut bytes, null_mut()),
            MoteError::Null
        );
        assert_eq!(mote_sent(none, 1, 0), MoteError::Null);
    }
    let null_texts = [
        MoteConfig {
            service_count: 1,
            ..nothing()
        },
        MoteConfig {
            plugin_count: 1,
            ..nothing()
        },
        with_plugins(nothing(), Vec::from([plugin(c"get_a", &[], None)])),
    ];
    for config in &null_texts {
        assert_eq!(
            init(super::node(), config, 0),
            MoteError::Null,
            "{config:?}"
        );
    }
}

#[test]
fn addresses_that_are_no_ram_are_refused() {
    let _alone = alone();
    let words = forever(Vec::from([0; 100]));
    let wrong = [
        MoteConfig {
            stack_end: &words[99],
            stack_start: &words[40],
            ..nothing()
        },
        MoteConfig {
            stack_end: null(),
            ..nothing()
        },
        MoteConfig {
            stack_start: (&raw const words[99]).cast::<u8>().wrapping_add(1).cast(),
            ..nothing()
        },
    ];
    for wrong in wrong {
        let config = MoteConfig {
            ram_start: &words[0],
            ..wrong
        };
        assert_eq!(
            init(super::node(), &config, 0),
            MoteError::Ram,
            "{config:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_config_is_said() {
    let _alone = alone();
    let refused = |config: MoteConfig, error| {
        let node = node();
        assert_eq!(init(node, &config, 0), error, "{config:?}");
        // And nothing has happened.
        assert_eq!(init(node, &nothing(), 0), MoteError::Ok);
    };
    let services = |services: &[_], error| refused(with_services(nothing(), services), error);
    services(&[(c"", c"get_a", 1)], MoteError::Text);
    services(&[(c"\xFF", c"get_a", 1)], MoteError::Text);
    services(&[(c"A", c"", 1)], MoteError::Text);
    services(
        &[(c"a name of 24 bytes is one", c"get_a", 1)],
        MoteError::Text,
    );
    services(&[(c"A", c"get_a", 0)], MoteError::Service);
    services(&[(c"A", c"get_a", 604_801)], MoteError::Service);
    services(
        &[(c"A", c"get_a", 1), (c"A", c"get_b", 1)],
        MoteError::Service,
    );
    let nine = [c"1", c"2", c"3", c"4", c"5", c"6", c"7", c"8", c"9"].map(|it| (it, c"get_a", 1));
    services(&nine, MoteError::TooMany);

    let fields = |fields: &[&'static CStr], error| {
        let plugins = Vec::from([plugin(c"get_a", fields, Some(two))]);
        refused(with_plugins(nothing(), plugins), error);
    };
    fields(&[c"status"], MoteError::Text);
    fields(&[c"a", c"a"], MoteError::Text);
    fields(&[c"a\""], MoteError::Text);
    fields(&[c"a", c""], MoteError::Text);
    let many = (0..17).map(|_| plugin(c"get_a", &[], Some(two)));
    refused(with_plugins(nothing(), many.collect()), MoteError::TooMany);
    let long = c"a client's name that is one byte longer than is allowed, which is 63";
    refused(
        MoteConfig {
            client_name: long.as_ptr(),
            ..nothing()
        },
        MoteError::Text,
    );

    let longest = [(c"a name of 23 bytes, yes", c"get_a", 604_800)];
    assert_eq!(longest[0].0.count_bytes(), MOTE_NAME);
    let node = node();
    assert_eq!(
        init(node, &with_services(nothing(), &longest), 0),
        MoteError::Ok
    );
    let eight = with_services(nothing(), &nine[..MOTE_SERVICES]);
    assert_eq!(init(super::node(), &eight, 0), MoteError::Ok);
}
