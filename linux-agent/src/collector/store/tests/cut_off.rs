//! What a process that is cut off at any point leaves behind.

use super::*;

/// Stores random batches, some of which fail, writes down and removes at random, and cuts the process off at random:
/// what was acknowledged is there once, in the log or in the history, and its run knows it.
#[test]
fn what_was_acknowledged_is_there_once_wherever_the_process_is_cut_off() {
    for seed in 0..40_u64 {
        let (_folder, path) = scratch();
        let mut random = Random(seed);
        let mut disk = Disk::open(&path);
        let mut acknowledged: BTreeMap<(u32, i64), i64> = BTreeMap::new();
        let mut duplicates = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
        let mut next = [0_i64; 3];
        let mut now_ms = 1_000_000_000_000;
        for _ in 0..120 {
            now_ms += 60_000 * random.below(20) as i64;
            match random.below(10) {
                0 => {
                    // As a kill does: nothing is written at the end.
                    drop(disk);
                    disk = Disk::open(&path);
                }
                1..=2 => {
                    disk.intake.write_down(&disk.connection, now_ms, 2).unwrap();
                }
                3 => {
                    let retention = Retention {
                        reports_ms: 3_600_000,
                        ..Retention::default()
                    };
                    retention::step(&retention, &disk.connection, &mut disk.intake, now_ms)
                        .unwrap();
                }
                _ => {
                    let batch: Vec<(u32, i64)> = (0..random.below(60))
                        .map(|_| {
                            let client = random.below(3) as u32;
                            let seq = &mut next[client as usize];
                            *seq += 1;
                            // Some come again, and some come late.
                            let back = [0, 0, 0, 1, 5][random.below(5) as usize];
                            (client, (*seq - 1 - back).max(0))
                        })
                        .collect();
                    let reports = batch.iter().map(|(client, seq)| {
                        let mut report = report(*client, "s", Some("a"), Some(*seq));
                        let data = json!({ "seq": seq }).to_string();
                        report.data = RawValue::from_string(data).unwrap();
                        report.time = Some((now_ms + seq) as f64 / 1000.0);
                        report
                    });
                    let fails = random.below(4) == 0;
                    let reports = reports.collect();
                    if fails {
                        let locker = Connection::open(&path).unwrap();
                        locker.execute_batch("BEGIN IMMEDIATE").unwrap();
                        disk.connection.busy_timeout(Duration::ZERO).unwrap();
                        assert!(disk.insert(reports, now_ms).is_err());
                    } else {
                        disk.insert(reports, now_ms).unwrap();
                        for (client, seq) in batch {
                            match acknowledged.insert((client, seq), now_ms + seq) {
                                None => {}
                                Some(first) => {
                                    acknowledged.insert((client, seq), first);
                                    *duplicates.entry(client).or_insert(0) += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        disk.intake.write_down(&disk.connection, now_ms, 0).unwrap();
        drop(disk);
        check(&path, &acknowledged, &duplicates, seed);
    }
}

fn check(
    path: &Path,
    acknowledged: &BTreeMap<(u32, i64), i64>,
    duplicates: &BTreeMap<u32, u64>,
    seed: u64,
) {
    with_store(path, async |store| {
        for client in 0..3_u32 {
            let expected: BTreeMap<i64, i64> = acknowledged
                .iter()
                .filter(|((it, _), _)| *it == client)
                .map(|((_, seq), time_ms)| (*seq, *time_ms))
                .collect();
            if expected.is_empty() {
                continue;
            }
            let name = ClientName::Number(client);
            let account = store.accounting(vec![name.clone()]).await.unwrap();
            assert_eq!(account[0].received, expected.len() as u64, "seed {seed}");
            assert_eq!(account[0].duplicates, duplicates[&client], "seed {seed}");
            let (first, last) = (expected.values().min(), expected.values().max());
            let question = Question {
                client: name,
                service: "s".to_owned(),
                item: None,
                field: None,
                from_ms: *first.unwrap(),
                to_ms: last.unwrap() + 1,
                bins: 1,
            };
            let ten_minutes = Question {
                bins: 4000,
                ..question.clone()
            };
            // Both by partials and by points.
            for question in [question, ten_minutes] {
                let series = store.series(question).await.unwrap().unwrap();
                let column = &series.columns[&(String::new(), "seq".to_owned())];
                let count: u32 = column.iter().map(|it| it.count).sum();
                let sum: f64 = column.iter().map(|it| it.sum).sum();
                assert_eq!(count as usize, expected.len(), "seed {seed}");
                assert_eq!(sum, expected.keys().sum::<i64>() as f64, "seed {seed}");
            }
        }
        // The log has each of the rest once.
        let page = store.read(ALL).await.unwrap();
        let all = page.reports.iter().map(|it| (it.client_id.clone(), it.seq));
        let once: BTreeSet<_> = all.clone().collect();
        assert_eq!(once.len(), all.count(), "seed {seed}");
    });
}

/// The generator of Steele, Lea and Flood (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
