//! Recorded and odd sensors.

use super::*;
use proptest::prelude::*;
use std::fs;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn open(sysfs: &Path) -> (Context, Temperature) {
    let roots = Roots {
        sysfs: sysfs.to_owned(),
        ..Roots::default()
    };
    let mut context = Context::new();
    let temperature = Temperature::open(&roots, &mut context).unwrap();
    (context, temperature)
}

fn sample(context: &mut Context, temperature: &mut Temperature) -> Vec<(String, f64)> {
    let items = temperature.sample(context).unwrap();
    let plain = |(name, data): (&str, &TemperatureData)| (name.to_owned(), data.celsius);
    items.iter().map(plain).collect()
}

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn sensors_are_named_by_chip_and_label_and_never_alike() {
    let (mut context, mut temperature) = open(&fixture("sys"));
    let expected = [
        ("coretemp Package id 0", 45.0),
        ("coretemp Core 0", 43.0),
        ("nvme Composite", 38.85),
        ("nvme Composite #2", 41.85),
        ("jc42 temp1", -3.25),
    ];
    let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
    assert_eq!(sample(&mut context, &mut temperature), expected);
}

#[test]
fn zones_are_found_when_a_driver_comes() {
    let tree = tempfile::tempdir().unwrap();
    let (mut context, mut temperature) = open(tree.path());
    assert_eq!(sample(&mut context, &mut temperature), []);

    write(tree.path().join("class/hwmon/hwmon0/name"), "acpi_fan\n");
    write(
        tree.path().join("class/thermal/cooling_device0/type"),
        "Fan\n",
    );
    write(
        tree.path().join("class/thermal/thermal_zone0/type"),
        "cpu-thermal\n",
    );
    write(
        tree.path().join("class/thermal/thermal_zone0/temp"),
        "51121\n",
    );
    // Not yet: it looked a moment ago.
    assert_eq!(sample(&mut context, &mut temperature), []);
    context.now += LOOK_AGAIN;
    let expected = [("cpu-thermal".to_owned(), 51.12)];
    assert_eq!(sample(&mut context, &mut temperature), expected);
}

#[test]
fn a_sensor_that_cannot_be_read_is_left_out() {
    let tree = tempfile::tempdir().unwrap();
    let chip = tree.path().join("class/hwmon/hwmon0");
    write(chip.join("temp2_input"), "20000\n");
    // It opens, and reading what is at address 0 of this process is EIO, as of a sensor asleep.
    std::os::unix::fs::symlink("/proc/self/mem", chip.join("temp1_input")).unwrap();
    let (mut context, mut temperature) = open(tree.path());
    let expected = [("temp2".to_owned(), 20.0)];
    assert_eq!(sample(&mut context, &mut temperature), expected);
    assert_eq!(temperature.items.omitted(), 1);
}

#[test]
fn an_odd_sensor_is_counted_and_hides_no_other() {
    let odd = [
        "",
        "\n",
        "N/A\n",
        "45.5\n",
        "45000",
        "-100001\n",
        "200001\n",
        "127000000\n",
        "\u{0}\n",
    ];
    for text in odd {
        let tree = tempfile::tempdir().unwrap();
        write(tree.path().join("class/hwmon/hwmon0/temp1_input"), text);
        write(
            tree.path().join("class/hwmon/hwmon1/temp1_input"),
            "-100000\n",
        );
        write(
            tree.path().join("class/hwmon/hwmon1/temp2_input"),
            "200000\n",
        );
        write(tree.path().join("class/thermal/thermal_zone0/temp"), text);
        write(
            tree.path().join("class/thermal/thermal_zone1/temp"),
            "1000\n",
        );
        let (mut context, mut temperature) = open(tree.path());
        let expected = [
            ("temp1 #2", -100.0),
            ("temp2", 200.0),
            ("thermal_zone #2", 1.0),
        ];
        let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
        assert_eq!(sample(&mut context, &mut temperature), expected, "{text:?}");
        assert_eq!(temperature.items.omitted(), 2, "{text:?}");
    }
}

#[test]
fn a_sensor_with_a_fault_is_counted_and_one_that_is_off_is_not() {
    let tree = tempfile::tempdir().unwrap();
    let chip = tree.path().join("class/hwmon/hwmon0");
    for sensor in ["temp1", "temp2", "temp3"] {
        write(chip.join(format!("{sensor}_input")), "20000\n");
    }
    write(chip.join("temp1_fault"), "1\n");
    write(chip.join("temp2_enable"), "0\n");
    write(chip.join("temp3_fault"), "0\n");
    write(chip.join("temp3_enable"), "1\n");
    let (mut context, mut temperature) = open(tree.path());
    let expected = [("temp3".to_owned(), 20.0)];
    assert_eq!(sample(&mut context, &mut temperature), expected);
    assert_eq!(temperature.items.omitted(), 1);
    // Both are asked each time.
    write(chip.join("temp1_fault"), "0\n");
    write(chip.join("temp2_enable"), "1\n");
    assert_eq!(sample(&mut context, &mut temperature).len(), 3);
    assert_eq!(temperature.items.omitted(), 0);
}

#[test]
fn zones_that_no_chip_shows_are_sensors_too() {
    let tree = tempfile::tempdir().unwrap();
    let hwmon = |path: &str| tree.path().join("class/hwmon").join(path);
    let thermal = |path: &str| tree.path().join("class/thermal").join(path);
    write(hwmon("hwmon0/name"), "nvme\n");
    write(hwmon("hwmon0/temp1_input"), "38000\n");
    // The chip of the first two zones, which are of one type, and of the third, by another name.
    write(hwmon("hwmon1/name"), "soc_thermal\n");
    write(hwmon("hwmon1/temp1_input"), "50000\n");
    write(hwmon("hwmon1/temp2_input"), "51000\n");
    write(hwmon("hwmon2/name"), "other\n");
    write(hwmon("hwmon2/temp1_input"), "60000\n");
    // A chip without temperatures shows nothing of a zone.
    write(hwmon("hwmon3/name"), "fan\n");
    let zones = [
        "soc-thermal",
        "soc-thermal",
        "gpu",
        "fan",
        "x86_pkg_temp",
        "nvme2",
    ];
    for (number, kind) in zones.iter().enumerate() {
        write(
            thermal(&format!("thermal_zone{number}/type")),
            &format!("{kind}\n"),
        );
        write(thermal(&format!("thermal_zone{number}/temp")), "70000\n");
    }
    write(thermal("thermal_zone0/hwmon1/name"), "soc_thermal\n");
    write(thermal("thermal_zone2/hwmon2/name"), "other\n");
    write(thermal("thermal_zone3/hwmon3/name"), "fan\n");
    let (mut context, mut temperature) = open(tree.path());
    let expected = [
        ("nvme temp1", 38.0),
        ("soc_thermal temp1", 50.0),
        ("soc_thermal temp2", 51.0),
        ("other temp1", 60.0),
        ("fan", 70.0),
        ("x86_pkg_temp", 70.0),
        ("nvme2", 70.0),
    ];
    let expected = expected.map(|(name, celsius)| (name.to_owned(), celsius));
    assert_eq!(sample(&mut context, &mut temperature), expected);
    assert_eq!(temperature.items.omitted(), 0);
}

#[test]
fn old_drivers_have_their_files_with_the_device() {
    let tree = tempfile::tempdir().unwrap();
    let device = tree.path().join("class/hwmon/hwmon0/device");
    write(device.join("name"), "w83627hf\n");
    write(device.join("temp2_input"), "31000\n");
    let (mut context, mut temperature) = open(tree.path());
    let expected = [("w83627hf temp2".to_owned(), 31.0)];
    assert_eq!(sample(&mut context, &mut temperature), expected);
}

#[test]
fn a_fifo_is_no_sensor() {
    let tree = tempfile::tempdir().unwrap();
    let chip = tree.path().join("class/hwmon/hwmon0");
    write(chip.join("temp2_input"), "20000\n");
    for name in ["name", "temp1_input", "temp2_label"] {
        nix::unistd::mkfifo(&chip.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let (mut context, mut temperature) = open(tree.path());
    let expected = [("temp2".to_owned(), 20.0)];
    assert_eq!(sample(&mut context, &mut temperature), expected);
    assert_eq!(temperature.items.omitted(), 1);
}

#[test]
fn sensors_beyond_the_bound_are_counted() {
    let tree = tempfile::tempdir().unwrap();
    for number in 0..MAX_SENSORS + 3 {
        write(
            tree.path()
                .join(format!("class/hwmon/hwmon0/temp{number}_input")),
            "1000\n",
        );
    }
    let (mut context, mut temperature) = open(tree.path());
    assert_eq!(sample(&mut context, &mut temperature).len(), MAX_SENSORS);
    assert_eq!(temperature.items.omitted(), 3);
}

#[test]
fn thousandths_become_degrees() {
    assert_eq!(parse(b"45678\n"), Ok(45.68));
    assert_eq!(parse(b"-500\n"), Ok(-0.5));
    assert!(parse(b"-0\n").unwrap().is_sign_positive());
    let whole = b"-12345\n";
    for cut in 0..whole.len() {
        assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for junk in [
        &b""[..],
        b"\n",
        b"--1\n",
        b"1.5\n",
        b"\xff\0\n",
        b"99999999999999999999\n",
    ] {
        assert!(parse(junk).is_err(), "{junk:?}");
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text: Vec<u8>) {
        let celsius = parse(&text);
        prop_assert!(celsius.is_err() || celsius.is_ok_and(f64::is_finite));
    }
}
