//! Alarms of figures: their limits and items, losses, clocks and orders.

use super::*;

#[test]
fn a_figure_is_judged_by_item_with_its_limit_and_what_ends_it() {
    let toml = format!(
        "{}[alarms.full]\nservice = \"A\"\nfield = \"used_p\"\nitem = \"/*\"\nabove = 90\nclear = 85\n\
         severity = \"critical\"\ntext = \"{{host}} {{item}}: {{value}} > {{limit}}\"\n",
        fleet(1)
    );
    let mut scene = Scene::new(&toml);
    let disks = |home: f64, srv: f64| {
        format!(r#"{{"data": {{"/home": {{"used_p": {home}}}, "/srv": {{"used_p": {srv}}}}}}}"#)
    };
    assert_eq!(scene.report(0, &disks(90.0, 50.0)), []);
    let fired = scene.report(1, &disks(90.5, 50.0));
    assert_eq!(kinds(&fired), [MessageKind::Fired]);
    assert_eq!(
        (fired[0].title.as_str(), fired[0].text.as_str()),
        ("[critical] h1: full /home", "h1 /home: 90.5 > 90")
    );
    assert_eq!(
        (fired[0].alarms[0].value, fired[0].alarms[0].limit),
        (Some(90.5), Some(90.0))
    );
    // Better, but not good. A report of before, which came late, says nothing.
    assert_eq!(scene.report(2, &disks(86.0, 50.0)), []);
    assert_eq!(scene.report(1, &disks(10.0, 99.0)), []);
    // A failure has no figures.
    assert_eq!(scene.report(3, r#"{"status": 1, "error": "no"}"#), []);
    assert_eq!(
        kinds(&scene.report(4, &disks(85.0, 50.0))),
        [MessageKind::Cleared]
    );
    // What is not there any more is not full.
    scene.report(5, &disks(99.0, 50.0));
    assert_eq!(
        kinds(&scene.report(6, r#"{"data": {"/srv": {"used_p": 50}}}"#)),
        [MessageKind::Cleared]
    );
}

#[test]
fn what_the_settings_do_not_have_any_more_ends() {
    let toml = format!(
        "{}[alarms.high]\nservice = \"A\"\nfield = \"x\"\nabove = 5\n",
        fleet(2)
    );
    let mut scene = Scene::new(&toml);
    assert_eq!(kinds(&scene.report(0, r#"{"x": 9}"#)), [MessageKind::Fired]);
    scene.pass(60, |host| host == 1);
    let now = scene.now();
    scene.engine.follow(hosts(&fleet(1)), now);
    let told = scene.tell();
    assert_eq!(kinds(&told), [MessageKind::Cleared]);
    assert!(
        scene
            .engine
            .alarms
            .values()
            .all(|it: &Alarm| it.machine.phase() == Phase::Good)
    );
}

#[test]
fn changed_orders_are_an_event() {
    let mut scene = Scene::new(&fleet(1));
    let other = fleet(1).replace("A = [\"p\", 10]", "A = [\"p\", 20]\nB = [\"q\", 0.5]");
    let now = scene.now();
    scene.engine.follow(hosts(&other), now);
    let events = scene
        .engine
        .take_records()
        .into_iter()
        .filter_map(|it| match it {
            AlarmRecord::Event(event) => Some((event.kind, event.text)),
            _ => None,
        });
    let text = "A every 20 s in place of every 10 s; B is new, every 0.5 s".to_owned();
    assert_eq!(events.collect::<Vec<_>>(), [("orders", text)]);
}

#[test]
fn losses_the_clock_and_the_orders_are_figures_too() {
    let toml = format!(
        "{}[alarms.clock]\nfigure = \"clock_off_s\"\nabove = 60\n[alarms.none]\nfigure = \"services\"\nbelow = 1\n[hosts.idle]\nid = 99\n",
        fleet(1)
    );
    let mut scene = Scene::new(&toml);
    let (one, idle) = (ClientName::Number(1), ClientName::Number(99));
    let now = scene.now();
    scene.engine.note_own_figures(&one, Some(-61 * S), now);
    scene.engine.note_own_figures(&idle, None, now);
    let told = scene.tell();
    let titles: Vec<_> = told.iter().map(|it| it.title.as_str()).collect();
    assert_eq!(titles, ["[warning] h1: clock", "[warning] idle: none"]);
    let gaps = |gaps| {
        [RunGaps {
            boot: "b".to_owned(),
            gaps,
        }]
    };
    scene.engine.note_gaps(&one, &gaps(0), now);
    for _ in 0..11 {
        scene.now_ms += MIN;
        let now = scene.now();
        scene.engine.note_gaps(&one, &gaps(3), now);
    }
    let told = scene.tell();
    assert_eq!(told[0].title, "[warning] h1: lost");
    assert_eq!(told[0].alarms[0].value, Some(3.0));
}

#[test]
fn what_flaps_or_changes_its_name_fills_no_table() {
    let toml = format!(
        "{}[alarms.high]\nservice = \"A\"\nfield = \"x\"\nitem = \"*\"\nabove = 5\n",
        fleet(1)
    );
    let mut scene = Scene::new(&toml);
    for seq in 0..1000 {
        scene.now_ms += S;
        scene.report(
            seq,
            if seq % 2 == 0 {
                r#"{"a": {"x": 9}}"#
            } else {
                r#"{"a": {"x": 1}}"#
            },
        );
    }
    assert!(scene.records.len() < 50, "{}", scene.records.len());
    // Each time another item, and those of before are gone.
    for seq in 1000..4000 {
        scene.report(seq, &format!(r#"{{"item{seq}": {{"x": 9}}}}"#));
    }
    assert_eq!(scene.engine.alarms.len(), MAX_REMEMBERED);
}
