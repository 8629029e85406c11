use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Duration;

const TCP: &[u8] = include_bytes!("../../../../tests/fixtures/proc/net/tcp");
const TCP6: &[u8] = include_bytes!("../../../../tests/fixtures/proc/net/tcp6");
const SNMP: &[u8] = include_bytes!("../../../../tests/fixtures/proc/net/snmp");
const NETSTAT: &[u8] = include_bytes!("../../../../tests/fixtures/proc/net/netstat");

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("net")).unwrap();
    for (name, text) in [
        ("tcp", TCP),
        ("tcp6", TCP6),
        ("snmp", SNMP),
        ("netstat", NETSTAT),
    ] {
        fs::write(tree.path().join("net").join(name), text).unwrap();
    }
    tree
}

fn open(tree: &Path) -> (Context, Result<Tcp, ProbeError>) {
    let roots = Roots {
        procfs: tree.to_owned(),
        ..Roots::default()
    };
    let mut context = Context::new();
    let tcp = Tcp::open(&roots, &mut context);
    (context, tcp)
}

fn sample(tree: &Path) -> Result<TcpData, ProbeError> {
    let (mut context, tcp) = open(tree);
    context.now += Duration::from_secs(1);
    tcp?.sample(&mut context)
}

#[test]
fn counts_both_tables_by_state() {
    // Counted with: awk 'NR>1 {print $4}' | sort | uniq -c
    let expected = SocketStates {
        established: 6,
        syn_sent: 5,
        fin_wait2: 1,
        time_wait: 2,
        close_wait: 1,
        listen: 4,
        ..SocketStates::default()
    };
    assert_eq!(sample(tree().path()).unwrap().states, expected);
}

#[test]
fn all_but_the_sockets_of_ipv4_may_be_missing() {
    let tree = tree();
    for name in ["tcp6", "snmp", "netstat"] {
        fs::remove_file(tree.path().join("net").join(name)).unwrap();
    }
    let data = sample(tree.path()).unwrap();
    assert_eq!(data.states.listen, 3);
    assert_eq!((data.retransmits, data.listen_overflows), (None, None));
    fs::remove_file(tree.path().join("net/tcp")).unwrap();
    let error = sample(tree.path()).unwrap_err().to_string();
    assert!(error.contains("net/tcp:"), "{error}");
}

#[test]
fn a_foreign_procfs_means_the_network_of_its_first_process() {
    let tree = tree();
    fs::create_dir_all(tree.path().join("1/net")).unwrap();
    let heading = TCP.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    fs::write(tree.path().join("1/net/tcp"), heading).unwrap();
    assert_eq!(sample(tree.path()).unwrap().states.listen, 1);
}

#[test]
fn rates_are_per_second_and_absent_where_a_counter_is() {
    let tree = tree();
    let snmp = tree.path().join("net/snmp");
    let (mut context, tcp) = open(tree.path());
    let mut tcp = tcp.unwrap();
    let grown = String::from_utf8(SNMP.to_vec()).unwrap();
    fs::write(&snmp, grown.replace(" 33 10 0 ", " 33 35 0 ")).unwrap();
    context.now += Duration::from_secs(10);
    let data = tcp.sample(&mut context).unwrap();
    assert_eq!(data.retransmits, Some(2.5));
    assert_eq!(data.listen_overflows, Some(0.0));

    fs::write(tree.path().join("net/netstat"), "TcpExt:\nTcpExt:\n").unwrap();
    context.now += Duration::from_secs(10);
    let data = tcp.sample(&mut context).unwrap();
    assert_eq!(data.retransmits, Some(0.0));
    assert_eq!(data.listen_overflows, None, "it is gone");

    fs::write(&snmp, SNMP).unwrap();
    context.now += Duration::from_secs(10);
    let backwards = tcp.sample(&mut context);
    assert!(matches!(backwards, Err(ProbeError::NothingKnown)));
    fs::write(tree.path().join("net/netstat"), NETSTAT).unwrap();
    context.now += Duration::from_secs(10);
    let new = tcp.sample(&mut context);
    assert!(matches!(new, Err(ProbeError::NothingKnown)), "no baseline");
    context.now += Duration::from_secs(10);
    let data = tcp.sample(&mut context).unwrap();
    assert_eq!(
        (data.retransmits, data.listen_overflows),
        (Some(0.0), Some(0.0))
    );
}

#[test]
fn a_hundred_thousand_sockets_need_no_more_memory() {
    let tree = tree();
    let mut text = TCP
        .split_inclusive(|byte| *byte == b'\n')
        .next()
        .unwrap()
        .to_vec();
    for slot in 0..100_000u32 {
        let state = slot % 11 + 1;
        let line = format!(
            "{slot:4}: 0100007F:{:04X} 0100007F:0CEA {state:02X} 00000000:00000000 00:00000000",
            slot & 0xFFFF,
        );
        text.extend_from_slice(format!("{line:<149}\n").as_bytes());
    }
    fs::write(tree.path().join("net/tcp"), text).unwrap();
    fs::remove_file(tree.path().join("net/tcp6")).unwrap();
    let (mut context, tcp) = open(tree.path());
    let mut tcp = tcp.unwrap();
    context.now += Duration::from_secs(1);
    let before = context.scratch.capacity();
    let states = tcp.sample(&mut context).unwrap().states;
    assert_eq!(context.scratch.capacity(), before);
    // 100 000 = 11 * 9090 + 10: the last state has one less.
    assert_eq!(
        (states.established, states.listen, states.closing),
        (9091, 9091, 9090)
    );
}

#[test]
fn a_cut_table_never_counts_half_a_line() {
    let tree = tree();
    fs::remove_file(tree.path().join("net/tcp6")).unwrap();
    for cut in 0..TCP.len() {
        fs::write(tree.path().join("net/tcp"), &TCP[..cut]).unwrap();
        let whole_lines = cut > 0 && TCP[cut - 1] == b'\n';
        assert_eq!(sample(tree.path()).is_ok(), whole_lines, "cut at {cut}");
    }
}

#[test]
fn a_cut_counter_is_absent_never_smaller() {
    let expected = Some(10);
    assert_eq!(counter(SNMP, b"Tcp:", b"RetransSegs"), expected);
    for cut in 0..SNMP.len() {
        let found = counter(&SNMP[..cut], b"Tcp:", b"RetransSegs");
        assert!(
            found.is_none() || found == expected,
            "cut at {cut}: {found:?}"
        );
    }
    assert_eq!(counter(NETSTAT, b"TcpExt:", b"ListenOverflows"), Some(15));
    assert_eq!(counter(NETSTAT, b"TcpExt:", b"NoSuchThing"), None);
}

#[test]
fn junk_is_an_error() {
    let tree = tree();
    for junk in [&b"\0\xff\n\x80"[..], b"\n\n", b"0: x y 0A\n"] {
        fs::write(tree.path().join("net/tcp"), junk).unwrap();
        assert!(sample(tree.path()).is_err(), "{junk:?}");
    }
}

#[test]
fn a_socket_in_an_odd_state_is_counted_beside_the_others() {
    let tree = tree();
    fs::remove_file(tree.path().join("net/tcp6")).unwrap();
    let text = "a b c st\n0: x y 0A\n1: x y 0D\nodd\n\n2: x y 01\n";
    fs::write(tree.path().join("net/tcp"), text).unwrap();
    let expected = SocketStates {
        listen: 1,
        established: 1,
        omitted: 3,
        ..SocketStates::default()
    };
    assert_eq!(sample(tree.path()).unwrap().states, expected);
}

proptest! {
    #[test]
    fn parse_never_panics(text: Vec<u8>) {
        SocketStates::default().count(&text);
        let _ = counter(&text, b"Tcp:", b"RetransSegs");
    }
}
