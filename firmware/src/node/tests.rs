use std::format;

use mote_core::frame;
use serde::Serialize;

use super::*;

/// Counts its samples. `get_count` is the one plugin that it has.
struct Counter(u32);

#[derive(Clone, Copy, Serialize)]
struct Count {
    status: u32,
    count: u32,
}

impl Board for Counter {
    type Plugin = ();
    type Baseline = ();
    type Sample = Count;

    const NO_BASELINE: () = ();

    fn plugin(name: &str) -> Option<()> {
        (name == "get_count").then_some(())
    }

    fn start(&mut self, (): (), _: Uptime) {}

    fn sample(&mut self, (): (), (): &mut (), _: &Context) -> Result<Count, Failed> {
        self.0 += 1;
        Ok(Count {
            status: 0,
            count: self.0,
        })
    }
}

/// A node with one service each ten seconds.
struct Run {
    node: Node<Counter>,
    board: Counter,
}

impl Run {
    fn new() -> Self {
        let mut node = Node::new();
        let settings = Settings {
            first_sample_spread_ms: 0,
            ..Settings::of(ClientId::Number(7))
        };
        node.start(settings, &[("Count", "get_count", 10)], at(0));
        let board = Counter(0);
        Run { node, board }
    }

    /// Does what is due at this second, sends what there is to send, and gives how the link is.
    fn link(&mut self, second: u64) -> Link {
        let now = at(second);
        self.node.poll(now, &mut self.board);
        loop {
            let bytes = self.node.outgoing(now).len();
            if bytes == 0 {
                return self.node.link(now);
            }
            self.node.sent(bytes, now);
        }
    }

    fn hear(&mut self, text: &str, second: u64) {
        let mut line = [0; 256];
        line[..text.len()].copy_from_slice(text.as_bytes());
        let length = frame::seal(&mut line, text.len()).unwrap();
        self.node.receive(&line[..length], at(second));
    }

    fn acknowledge_all(&mut self, second: u64) {
        for seq in 0..self.board.0 {
            let ack = format!(r#"{{"ack":{seq}}}"#);
            self.hear(&ack, second);
        }
        assert_eq!(self.node.waiting(), 0);
    }
}

fn at(second: u64) -> Uptime {
    Uptime::from_millis(second * 1000)
}

const ORDERS: &str = r#"{"services":{"Count":["get_count",10]}}"#;
const NO_ORDERS: &str = r#"{"services":{"Count":["get_count",0]}}"#;

#[test]
fn a_link_is_silent_while_a_sample_waits_for_more_than_five_seconds() {
    let mut run = Run::new();
    assert_eq!(run.link(9), Link::Up, "there is nothing to acknowledge");
    let mut sampled_s = 9;
    while run.node.waiting() == 0 {
        sampled_s += 1;
        assert_eq!(run.link(sampled_s), Link::Up);
    }
    assert_eq!(run.link(sampled_s + 5), Link::Up);
    assert_eq!(run.link(sampled_s + 6), Link::Silent);
    run.acknowledge_all(sampled_s + 6);
    assert_eq!(run.link(sampled_s + 6), Link::Up);
}

#[test]
fn a_link_is_refused_until_orders_are_taken() {
    let mut run = Run::new();
    run.hear(NO_ORDERS, 1);
    assert_eq!(run.link(1), Link::Refused);
    // Neither noise nor an acknowledgement is an order.
    run.hear(r#"{"uptime":7}"#, 2);
    run.hear(r#"{"ack":7}"#, 2);
    assert_eq!(run.link(2), Link::Refused);
    run.hear(ORDERS, 3);
    assert_eq!(run.link(3), Link::Up);
}

#[test]
fn silence_goes_before_refusal() {
    let mut run = Run::new();
    run.hear(NO_ORDERS, 1);
    let mut second = 1;
    while run.node.waiting() == 0 {
        second += 1;
        run.link(second);
    }
    second += 6;
    assert_eq!(run.link(second), Link::Silent);
    run.acknowledge_all(second);
    assert_eq!(run.link(second), Link::Refused);
}

#[test]
fn a_board_is_told_how_its_link_is() {
    struct Lamp(Counter, Link);
    impl Board for Lamp {
        type Plugin = ();
        type Baseline = ();
        type Sample = Count;
        const NO_BASELINE: () = ();
        fn plugin(name: &str) -> Option<()> {
            Counter::plugin(name)
        }
        fn start(&mut self, (): (), _: Uptime) {}
        fn sample(&mut self, (): (), (): &mut (), context: &Context) -> Result<Count, Failed> {
            self.0.sample((), &mut (), context)
        }
        fn link(&mut self, link: Link) {
            self.1 = link;
        }
    }
    let mut node: Node<Lamp> = Node::new();
    let mut lamp = Lamp(Counter(0), Link::Refused);
    node.start(
        Settings::of(ClientId::Number(7)),
        &[("Count", "get_count", 1)],
        at(0),
    );
    node.poll(at(0), &mut lamp);
    assert_eq!(lamp.1, Link::Up);
    for second in 1..=20 {
        node.poll(at(second), &mut lamp);
    }
    assert_eq!(lamp.1, Link::Silent);
}
