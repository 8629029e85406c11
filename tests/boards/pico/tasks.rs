//! The load of each task of the example, which puts known loads on itself.

use super::gateway::Gateway;

#[test]
fn each_task_has_its_share_and_together_they_are_the_load() {
    let Some(mut gateway) = Gateway::start("example") else {
        return;
    };
    gateway.services = Some(r#"{"services":{"Tasks":["get_mcu_tasks",1]}}"#);
    gateway.run_s(27.0);
    // What the application's task takes, of each ten milliseconds; interrupts have 5 ‰ beside it.
    for (uptimes, work_permille) in [(4..=9, 0), (12..=19, 20), (22..=26, 40)] {
        let reports = gateway.of("Tasks");
        let samples = reports.iter().filter(|it| uptimes.contains(&it.uptime));
        let mut count = 0;
        for data in samples.map(|it| it.data.as_object().unwrap()) {
            let share = |name: &str| data.get(name).map_or(0, |it| it.as_u64().unwrap());
            let expected = work_permille..=work_permille + 2;
            assert!(
                expected.contains(&share("work")),
                "{work_permille}: {data:?}"
            );
            let parts = data
                .keys()
                .filter(|it| !["status", "load_permille"].contains(&&***it));
            let parts: Vec<u64> = parts.map(|it| share(it)).collect();
            assert_eq!(
                parts.iter().sum::<u64>(),
                share("load_permille"),
                "{data:?}"
            );
            // Entering and leaving interrupts, and the executor, come on top of what the interrupt does.
            assert!((5..=10).contains(&share("other")), "{data:?}");
            count += 1;
        }
        assert!(count >= 4, "{count}");
    }
    // The largest first, as the board wrote them; a task without load is not named.
    let last = gateway.lines.iter().rfind(|it| it.contains("Tasks"));
    let last = last.unwrap();
    let place = |name: &str| last.find(&format!("\"{name}\""));
    let places = ["load_permille", "work", "mote", "heartbeat", "other"].map(place);
    let places: Vec<usize> = places.into_iter().flatten().collect();
    assert!(places.len() >= 3 && places.is_sorted(), "{last}");
}
