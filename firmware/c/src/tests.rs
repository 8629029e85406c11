use std::boxed::Box;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::string::String;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::*;

mod refusals;

/// Counter and plugins are the whole firmware's, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

std::thread_local! {
    static TICKS: Cell<u32> = const { Cell::new(0) };
    static ASKED: Cell<[Option<MoteError>; 3]> = const { Cell::new([None; 3]) };
}

extern "C" fn ticks() -> u32 {
    TICKS.get()
}

unsafe extern "C" fn two(_: *mut c_void, values: *mut i32) -> *const c_char {
    // SAFETY: there is room for so many.
    unsafe {
        values.write(-5);
        values.add(1).write(i32::MAX);
    }
    null()
}

unsafe extern "C" fn fails(_: *mut c_void, _: *mut i32) -> *const c_char {
    c"it is \"broken\"".as_ptr()
}

/// Asks the node that samples it, more than once.
unsafe extern "C" fn asks(node: *mut c_void, _: *mut i32) -> *const c_char {
    // SAFETY: it is the node of a test.
    let ask = || unsafe { mote_poll(node.cast(), 0) };
    ASKED.set([ask(), init(node.cast(), &nothing(), 0), ask()].map(Some));
    null()
}

fn node() -> *mut MoteNode {
    // SAFETY: it is made of integers. It is never freed, as a static one is not.
    Box::into_raw(unsafe { Box::<MoteNode>::new_zeroed().assume_init() })
}

fn forever<T>(list: Vec<T>) -> &'static [T] {
    Box::leak(list.into_boxed_slice())
}

fn nothing() -> MoteConfig {
    MoteConfig {
        client_name: null(),
        client_number: 7,
        ticks: None,
        ram_start: null(),
        stack_end: null(),
        stack_start: null(),
        reset_bits: 0,
        watchdog_resets: 0,
        plugins: null(),
        plugin_count: 0,
        services: null(),
        service_count: 0,
    }
}

fn with_services(
    config: MoteConfig,
    services: &[(&'static CStr, &'static CStr, u32)],
) -> MoteConfig {
    let services = services
        .iter()
        .map(|(name, plugin, interval_s)| MoteService {
            name: name.as_ptr(),
            plugin: plugin.as_ptr(),
            interval_s: *interval_s,
        });
    let services = forever(services.collect());
    MoteConfig {
        services: services.as_ptr(),
        service_count: services.len(),
        ..config
    }
}

fn with_plugins(config: MoteConfig, plugins: Vec<MotePlugin>) -> MoteConfig {
    let plugins = forever(plugins);
    MoteConfig {
        plugins: plugins.as_ptr(),
        plugin_count: plugins.len(),
        ..config
    }
}

fn plugin(name: &'static CStr, fields: &[&'static CStr], sample: MoteSampler) -> MotePlugin {
    let mut places = [null(); MOTE_FIELDS];
    for (place, field) in places.iter_mut().zip(fields) {
        *place = field.as_ptr();
    }
    MotePlugin {
        name: name.as_ptr(),
        fields: places,
        sample,
        context: null_mut(),
    }
}

fn init(node: *mut MoteNode, config: &MoteConfig, now_ms: u32) -> MoteError {
    // SAFETY: tests hold to what it asks.
    unsafe { mote_init(node, config, now_ms) }
}

/// A services document comes over the line.
fn order(node: *mut MoteNode, text: &str, now_ms: u32) {
    let line = std::format!("{text}*{:08X}\n", crc32fast::hash(text.as_bytes()));
    // SAFETY: tests hold to what it asks.
    let taken = unsafe { mote_receive(node, line.as_ptr(), line.len(), now_ms) };
    assert_eq!(taken, MoteError::Ok);
}

/// All that the node has to send, opened by another's checksum. The first line may be empty.
fn said(node: *mut MoteNode, now_ms: u32) -> Vec<serde_json::Value> {
    let mut text = Vec::new();
    loop {
        let (mut bytes, mut length) = (null(), 0);
        // SAFETY: tests hold to what they ask, and the bytes are there until the next call.
        unsafe {
            assert_eq!(
                mote_outgoing(node, now_ms, &mut bytes, &mut length),
                MoteError::Ok
            );
            if length == 0 {
                break;
            }
            // Half of it, as a port with little room takes.
            let part = length.div_ceil(2);
            text.extend_from_slice(std::slice::from_raw_parts(bytes, part));
            assert_eq!(mote_sent(node, part, now_ms), MoteError::Ok);
        }
    }
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|it| !it.is_empty());
    let opened = lines.map(|line| {
        let (text, seal) = line.rsplit_once('*').unwrap();
        assert_eq!(
            seal,
            std::format!("{:08X}", crc32fast::hash(text.as_bytes()))
        );
        serde_json::from_str(text).unwrap()
    });
    opened.collect()
}

/// The data of a service's reports up to so many milliseconds.
fn samples(
    node: *mut MoteNode,
    from_ms: u32,
    for_ms: u32,
    service: &str,
) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for step in 0..for_ms / 100 {
        let now_ms = from_ms.wrapping_add(step * 100);
        // SAFETY: tests hold to what it asks.
        assert_eq!(unsafe { mote_poll(node, now_ms) }, MoteError::Ok);
        found.extend(said(node, now_ms));
    }
    found.retain(|it| it["service_name"] == service && it["age"].is_null());
    found.into_iter().map(|mut it| it["data"].take()).collect()
}

#[test]
fn a_node_is_begun_once_and_used_after() {
    let _alone = alone();
    let node = node();
    // SAFETY: it is zeroed.
    assert_eq!(unsafe { mote_poll(node, 0) }, MoteError::State);
    assert_eq!(init(node, &nothing(), 0), MoteError::Ok);
    assert_eq!(init(node, &nothing(), 0), MoteError::State);
    // SAFETY: as above.
    assert_eq!(unsafe { mote_poll(node, 0) }, MoteError::Ok);
}

#[test]
fn whoever_comes_meanwhile_is_told_so() {
    let _alone = alone();
    let node = node();
    let plugin = MotePlugin {
        context: node.cast(),
        ..plugin(c"get_asks", &[], Some(asks))
    };
    let config = with_plugins(nothing(), Vec::from([plugin]));
    let config = with_services(config, &[(c"A", c"get_asks", 1)]);
    assert_eq!(init(node, &config, 0), MoteError::Ok);
    assert!(!samples(node, 0, 3000, "A").is_empty());
    assert_eq!(ASKED.get(), [Some(MoteError::Busy); 3]);
    // And is served later.
    // SAFETY: it was begun.
    assert_eq!(unsafe { mote_poll(node, 3000) }, MoteError::Ok);
}

#[test]
fn what_c_samples_is_reported() {
    let _alone = alone();
    let node = node();
    let plugins = Vec::from([
        plugin(c"get_two", &[c"milli_a", c"b2"], Some(two)),
        plugin(c"get_broken", &[c"a"], Some(fails)),
    ]);
    let config = with_services(
        with_plugins(nothing(), plugins),
        &[
            (c"Two", c"get_two", 1),
            (c"Broken", c"get_broken", 1),
            (c"None", c"get_mcu_load", 1),
        ],
    );
    assert_eq!(init(node, &config, 0), MoteError::Ok);
    let data = samples(node, 0, 3000, "Two");
    let expected = serde_json::json!({"status": 0, "milli_a": -5, "b2": i32::MAX});
    assert!(
        data.len() >= 2 && data.iter().all(|it| *it == expected),
        "{data:?}"
    );
    let data = samples(node, 3000, 3000, "Broken");
    let expected = serde_json::json!({"status": 1, "error": "it is \"broken\""});
    assert!(
        data.len() >= 2 && data.iter().all(|it| *it == expected),
        "{data:?}"
    );
}

#[test]
fn a_plugin_of_the_firmware_goes_before_the_librarys() {
    let _alone = alone();
    let node = node();
    let own = plugin(c"get_mcu_load", &[c"load_permille"], Some(two));
    let config = with_services(
        with_plugins(nothing(), Vec::from([own])),
        &[(c"Load", c"get_mcu_load", 1)],
    );
    assert_eq!(init(node, &config, 0), MoteError::Ok);
    let expected = serde_json::json!({"status": 0, "load_permille": -5});
    assert_eq!(samples(node, 0, 2000, "Load")[0], expected);
}

#[test]
fn what_is_not_slept_is_load() {
    let _alone = alone();
    let node = node();
    let config = MoteConfig {
        ticks: Some(ticks),
        ..nothing()
    };
    let config = with_services(config, &[(c"Load", c"get_mcu_load", 1)]);
    mote_idle_leave();
    assert_eq!(init(node, &config, 0), MoteError::Ok);
    let mut loads = Vec::new();
    for step in 0..40 {
        TICKS.set(TICKS.get().wrapping_add(30));
        mote_idle_enter();
        TICKS.set(TICKS.get().wrapping_add(70));
        mote_idle_leave();
        // Nothing began it.
        mote_idle_leave();
        loads.extend(samples(node, step * 100, 100, "Load"));
    }
    assert!(loads.len() >= 3, "{loads:?}");
    for load in &loads[1..] {
        assert_eq!(
            *load,
            serde_json::json!({"status": 0, "load_permille": 300, "wakeups": 10})
        );
    }
}

#[test]
fn ram_is_what_c_says() {
    let _alone = alone();
    let mut words = Vec::from([0xCCCC_CCCC_u32; 100]);
    words[70] = 0;
    let words = forever(words).as_ptr();
    let config = MoteConfig {
        ram_start: words,
        stack_end: words.wrapping_add(40),
        stack_start: words.wrapping_add(100),
        reset_bits: MOTE_RESET_WATCHDOG | MOTE_RESET_POWER_ON,
        watchdog_resets: 3,
        ..nothing()
    };
    let config = with_services(
        config,
        &[(c"Ram", c"get_mcu_ram", 1), (c"Up", c"host_alive_check", 1)],
    );
    let node = node();
    assert_eq!(init(node, &config, 0), MoteError::Ok);
    let expected = serde_json::json!(
        {"status": 0, "total": 400, "static": 160, "stack_peak": 120, "stack_free": 120}
    );
    assert_eq!(samples(node, 0, 2000, "Ram")[0], expected);
    let alive = samples(node, 2000, 2000, "Up").remove(0);
    assert_eq!(alive["reset_cause"], "power-on+watchdog");
    assert_eq!(
        (&alive["reset_bits"], &alive["watchdog_resets"]),
        (&9.into(), &3.into())
    );
}

#[test]
fn a_node_without_ram_says_so_beside_one_that_has_it() {
    let _alone = alone();
    let (with, without) = (node(), node());
    let services: &[(_, _, _)] = &[(c"Ram", c"get_mcu_ram", 1)];
    assert_eq!(
        init(without, &with_services(nothing(), services), 0),
        MoteError::Ok
    );
    let none = serde_json::json!({"status": 1, "error": "this board has no such plugin"});
    assert_eq!(samples(without, 0, 2000, "Ram"), [none]);

    let words = forever(Vec::from([0; 4])).as_ptr();
    let config = MoteConfig {
        ram_start: words,
        stack_end: words.wrapping_add(1),
        stack_start: words.wrapping_add(4),
        ..nothing()
    };
    assert_eq!(init(with, &config, 0), MoteError::Ok);
    order(without, r#"{"services":{"Again":["get_mcu_ram",1]}}"#, 2000);
    let none = serde_json::json!(
        {"status": 1, "error": "mote_init was told of no RAM for this node"}
    );
    assert_eq!(samples(without, 2000, 2000, "Again")[0], none);
}

#[test]
fn milliseconds_may_wrap_and_begin_anywhere() {
    let _alone = alone();
    for start_ms in [0, 5000, (1 << 31) + 5, u32::MAX - 1500] {
        let node = node();
        let config = with_services(nothing(), &[(c"Up", c"host_alive_check", 1)]);
        assert_eq!(init(node, &config, start_ms), MoteError::Ok);
        let uptimes: Vec<u64> = samples(node, start_ms, 5000, "Up")
            .iter()
            .map(|it| it["uptime"].as_u64().unwrap())
            .collect();
        assert!(uptimes.len() >= 4, "{start_ms}: {uptimes:?}");
        assert!(
            uptimes.is_sorted_by(|a, b| a + 1 == *b),
            "{start_ms}: {uptimes:?}"
        );
        assert!(
            (1..=2).contains(&(uptimes[0] - u64::from(start_ms / 1000))),
            "{uptimes:?}"
        );
    }
}

#[test]
fn it_follows_orders_and_says_when_it_is_due() {
    let _alone = alone();
    let node = node();
    assert_eq!(init(node, &nothing(), 0), MoteError::Ok);
    samples(node, 0, 1000, "");
    order(node, r#"{"services":{"Up":["host_alive_check",2]}}"#, 1000);
    let mut wait_ms = u32::MAX;
    // SAFETY: tests hold to what they ask.
    unsafe {
        assert_eq!(mote_poll(node, 1000), MoteError::Ok);
        assert_eq!(mote_wait(node, 1000, &mut wait_ms), MoteError::Ok);
    }
    assert!((1..=2000).contains(&wait_ms), "{wait_ms}");
    let due_ms = 1000 + wait_ms;
    // SAFETY: as above.
    assert_eq!(unsafe { mote_poll(node, due_ms - 1) }, MoteError::Ok);
    assert_eq!(said(node, due_ms - 1).len(), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { mote_poll(node, due_ms) }, MoteError::Ok);
    let reports = said(node, due_ms);
    assert_eq!(reports[0]["service_name"], "Up");
}
