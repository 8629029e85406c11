//! The example's sensors and its lamp: simulated chips on the emulated bus, read through `embedded-hal`.

use serde_json::{Value, json};

use super::gateway::Gateway;

const SENSORS: &str = r#"{"services":{"Climate":["get_climate",2],"Supply":["get_supply",2],"McuLoad":["get_mcu_load",1]}}"#;

fn start() -> Option<Gateway> {
    let mut gateway = Gateway::start("example")?;
    gateway.services = Some(SENSORS);
    gateway.run_s(12.0);
    Some(gateway)
}

/// What comes in the next seconds.
fn next(gateway: &mut Gateway, service: &str, seconds: f64) -> Vec<Value> {
    gateway.run_s(0.5);
    let before = gateway.of(service).len();
    gateway.run_s(seconds);
    let reports = gateway.of(service);
    reports[before..].iter().map(|it| it.data.clone()).collect()
}

/// All of them are this.
fn assert_all(reports: &[Value], expected: &Value) {
    assert!(reports.len() >= 4, "{reports:?}");
    assert!(reports.iter().all(|it| it == expected), "{reports:?}");
}

#[test]
fn two_sensors_on_one_bus_are_read() {
    let Some(mut gateway) = start() else {
        return;
    };
    let climate = json!({"status": 0, "millicelsius": 23_730, "humidity_permille": 628});
    assert_all(&next(&mut gateway, "Climate", 10.0), &climate);
    let supply = json!({"status": 0, "millivolts": 5020, "milliamperes": 43});
    assert_all(&next(&mut gateway, "Supply", 10.0), &supply);

    gateway
        .board
        .sensor(json!({"name": "climate", "celsius": -40.0, "humidity": 99.99}));
    gateway
        .board
        .sensor(json!({"name": "supply", "volts": 3.3, "amperes": -1.25}));
    for sample in next(&mut gateway, "Climate", 10.0) {
        // A step of the sensor is 3 thousandths.
        let millicelsius = sample["millicelsius"].as_i64().unwrap();
        assert!((-40_003..=-39_997).contains(&millicelsius), "{sample}");
        assert_eq!(sample["humidity_permille"], 999, "{sample}");
    }
    let supply = json!({"status": 0, "millivolts": 3300, "milliamperes": -1250});
    assert_all(&next(&mut gateway, "Supply", 10.0), &supply);
}

#[test]
fn a_sensor_that_fails_says_why_and_stops_nothing_else() {
    let Some(mut gateway) = start() else {
        return;
    };
    let failure = |error: &str| json!({"status": 1, "error": error});
    let slow = json!({"name": "climate", "measureNanos": 5e6});
    let quick = json!({"name": "climate", "measureNanos": 0.8e6});
    for (change, restore, error) in [
        (
            json!({"name": "climate", "absent": true}),
            json!({"name": "climate", "absent": false}),
            "no sensor answers at its address",
        ),
        (slow, quick, "no sensor answers at its address"),
        (
            json!({"name": "climate", "damaged": true}),
            json!({"name": "climate", "damaged": false}),
            "what the sensor said is damaged",
        ),
        (
            json!({"name": "climate", "holds": true}),
            json!({"name": "climate", "holds": false}),
            "the bus to the sensor is disturbed or stands still",
        ),
    ] {
        gateway.board.sensor(change);
        assert_all(&next(&mut gateway, "Climate", 10.0), &failure(error));
        let loads = next(&mut gateway, "McuLoad", 5.0);
        assert!((4..=6).contains(&loads.len()), "{loads:?}");
        for sample in next(&mut gateway, "Supply", 5.0) {
            assert_eq!(sample["status"], 0, "{error}: {sample}");
        }
        gateway.board.sensor(restore);
        gateway.run_s(2.5);
        for sample in next(&mut gateway, "Climate", 5.0) {
            assert_eq!(sample["status"], 0, "after: {error}: {sample}");
        }
    }
    assert_eq!(gateway.board.resets, 0);
}

#[test]
fn the_wait_for_a_sensor_is_no_load() {
    let Some(mut gateway) = start() else {
        return;
    };
    let often = r#"{"services":{"Climate":["get_climate",0.1],"McuLoad":["get_mcu_load",1]}}"#;
    let never = r#"{"services":{"McuLoad":["get_mcu_load",1]}}"#;
    // A bus that stands still takes 20 ms of each tenth of a second: 200 ‰, were it load.
    gateway
        .board
        .sensor(json!({"name": "climate", "holds": true}));
    let mut mean = |services: &'static str| {
        gateway.services = Some(services);
        gateway.send(services);
        let loads = next(&mut gateway, "McuLoad", 30.0);
        let permille = loads.iter().map(|it| it["load_permille"].as_u64().unwrap());
        permille.sum::<u64>() / loads.len() as u64
    };
    let (often, never) = (mean(often), mean(never));
    // What comes on top is the sample and its report.
    assert!(often.saturating_sub(never) < 25, "{often} and {never}");
}

#[test]
fn the_lamp_tells_how_the_link_is() {
    let Some(mut gateway) = start() else {
        return;
    };
    let blinks = |gateway: &mut Gateway| {
        let period_ms = 2048.0;
        // To the middle of a pause.
        let now_ms = gateway.board.now_ms;
        gateway.run_s((period_ms * 1.7 - now_ms % period_ms) / 1000.0);
        gateway.board.blinks_ms.clear();
        gateway.run_s(period_ms / 1000.0);
        gateway.board.blinks_ms.len()
    };
    assert_eq!(blinks(&mut gateway), 1);
    gateway.services = None; // which it would ask for again
    gateway.send(r#"{"services":{"Climate":["get_climate",0]}}"#);
    gateway.run_s(1.0);
    assert_eq!(blinks(&mut gateway), 3);
    gateway.acknowledges = false;
    gateway.run_s(9.0);
    assert_eq!(blinks(&mut gateway), 2);
    gateway.acknowledges = true;
    gateway.run_s(9.0);
    assert_eq!(blinks(&mut gateway), 3);
    gateway.send(SENSORS);
    gateway.run_s(1.0);
    assert_eq!(blinks(&mut gateway), 1);
}
