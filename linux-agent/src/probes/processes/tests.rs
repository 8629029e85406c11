use super::*;
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

const STAT: &[u8] = include_bytes!("../../../../tests/fixtures/proc/4711/stat");
const COUNTERS: &[u8] =
    b"cpu  1 2 3 4 5 6 7 8 9 0\nintr 5 0\nctxt 2163804\nbtime 1\nprocesses 30218\n";

fn tree(processes: &[(&str, &[u8])]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("stat"), COUNTERS).unwrap();
    for (pid, stat) in processes {
        fs::create_dir(tree.path().join(pid)).unwrap();
        fs::write(tree.path().join(pid).join("stat"), stat).unwrap();
    }
    tree
}

fn open_tree(tree: &tempfile::TempDir) -> (Context, Processes) {
    let roots = Roots {
        procfs: tree.path().to_owned(),
        ..Roots::default()
    };
    let mut context = Context::new();
    let processes = Processes::open(&roots, &mut context).unwrap();
    context.now += Duration::from_secs(1);
    (context, processes)
}

#[test]
fn a_name_may_look_like_a_state() {
    assert_eq!(state(STAT), Some(b'S'));
    assert_eq!(state(b"7 (a) R (b) Z) D 1 2\n"), Some(b'D'));
    assert_eq!(state(b"7 ()) R 1 2\n"), Some(b'R'));
    assert_eq!(state(b"7 (a) RR 1 2\n"), None);
}

#[test]
fn a_name_may_have_several_lines() {
    assert_eq!(state(b"7 (a) Z 1\nb) R 1 2\n"), Some(b'R'));
    assert_eq!(state(b"7 (\n) D 1\n) S 1 2\n"), Some(b'S'));
    assert_eq!(state(b"7 (\n\n) T 1 2\n"), Some(b'T'));
}

#[test]
fn each_state_is_counted_once() {
    let tree = tree(&[
        ("1", b"1 (init) S 0\n"),
        ("2", b"2 (kthreadd) I 0\n"),
        ("30", b"30 (a b) R 1\n"),
        ("31", b"31 (dd) D 1\n"),
        ("32", b"32 (vi) T 1\n"),
        ("33", b"33 (gdb) t 1\n"),
        ("34", b"34 (gone) Z 1\n"),
        ("35", b"35 (odd) ? 1\n"),
        ("36", b""),
        ("self", b"30 (a b) R 1\n"),
        ("4x", b"4 (a) R 1\n"),
    ]);
    // Listed, and gone when it is read.
    fs::create_dir(tree.path().join("99")).unwrap();
    let (mut context, mut processes) = open_tree(&tree);
    let expected = ProcessStates {
        running: 1,
        sleeping: 2,
        blocked: 1,
        stopped: 2,
        zombie: 1,
        total: 9,
        omitted: 2,
    };
    assert_eq!(processes.sample(&mut context).unwrap().states, expected);
    fs::remove_dir_all(tree.path().join("36")).unwrap();
    context.now += Duration::from_secs(1);
    assert_eq!(processes.sample(&mut context).unwrap().states.total, 8);
}

#[test]
fn a_fifo_has_no_state_and_holds_nobody_up() {
    let tree = tree(&[("1", b"1 (init) S 0\n")]);
    let fifo = tree.path().join("2/stat");
    fs::create_dir(tree.path().join("2")).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut context, mut processes) = open_tree(&tree);
    let mut omitted = || {
        context.now += Duration::from_secs(1);
        processes.sample(&mut context).unwrap().states.omitted
    };
    assert_eq!(omitted(), 1);
    let _reader_and_writer = fs::File::options().read(true).write(true).open(&fifo);
    assert_eq!(omitted(), 1, "with a writer that does not write");
}

#[test]
fn beyond_the_bound_processes_are_only_counted() {
    let tree = tree(&[
        ("1", b"1 (a) S 0\n"),
        ("2", b"2 (b) S 0\n"),
        ("3", b"3 (c) S 0\n"),
    ]);
    let states = open_tree(&tree).1.states(2).unwrap();
    assert_eq!((states.total, states.sleeping, states.omitted), (3, 2, 1));
}

#[test]
fn rates_are_per_second() {
    let tree = tree(&[]);
    let (mut context, mut processes) = open_tree(&tree);
    context.now -= Duration::from_secs(1);
    let mut sample = |text: &str| {
        fs::write(tree.path().join("stat"), text).unwrap();
        context.now += Duration::from_secs(8);
        let data = processes.sample(&mut context)?;
        Ok((data.forks, data.context_switches))
    };
    let known = |result: Result<_, ProbeError>| result.unwrap();
    let rates = known(sample("ctxt 2164804\nprocesses 30222\n"));
    assert_eq!(rates, (Some(0.5), Some(125.0)));
    let backwards = sample("ctxt 2164804\nprocesses 30000\n");
    assert!(matches!(backwards, Err(ProbeError::NothingKnown)));
    assert_eq!(
        known(sample("ctxt 2164804\n")),
        (None, Some(0.0)),
        "lacks one"
    );
    assert_eq!(known(sample("btime 1\n")), (None, None), "lacks both");
}

#[test]
fn states_are_counted_where_the_counters_cannot_be_read() {
    let lacks = |tree: &tempfile::TempDir| {
        let (mut context, mut processes) = open_tree(tree);
        let data = processes.sample(&mut context).unwrap();
        assert_eq!((data.states.sleeping, data.states.total), (1, 1));
        assert_eq!((data.forks, data.context_switches), (None, None));
    };
    let tree = tree(&[("1", b"1 (init) S 0\n")]);
    let stat = tree.path().join("stat");
    for text in ["", "cpu  1 2", "cpu  1 2\n", "ctxt x\nprocesses\n"] {
        fs::write(&stat, text).unwrap();
        lacks(&tree);
    }
    fs::remove_file(&stat).unwrap();
    lacks(&tree);
    fs::create_dir(&stat).unwrap();
    lacks(&tree);
}

#[test]
fn what_is_cut_is_never_counted() {
    for cut in 0..STAT.len() {
        assert_eq!(state(&STAT[..cut]), None, "cut at {cut}");
    }
    let whole = parse(COUNTERS).unwrap();
    for cut in 0..COUNTERS.len() {
        let between_lines = cut > 0 && COUNTERS[cut - 1] == b'\n';
        let Ok(part) = parse(&COUNTERS[..cut]) else {
            assert!(!between_lines, "cut at {cut}");
            continue;
        };
        assert!(between_lines, "cut at {cut}");
        assert!(part.forks.is_none() || part.forks == whole.forks);
        let switches = part.context_switches;
        assert!(switches.is_none() || switches == whole.context_switches);
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text: Vec<u8>) {
        let _ = state(&text);
        let _ = parse(&text);
    }
}
