//! The alarms of all files, and which of them a host has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarms::{AlarmRule, BUILT_IN};
use super::part::Part;
use crate::protocol::{MAX_NAME, is_text};
use crate::toml_reader::{TomlError, quoted};

/// The alarms of all files.
#[derive(Default)]
pub struct AlarmRules {
    /// Those of all hosts.
    everywhere: Vec<Arc<AlarmRule>>,
    of_templates: BTreeMap<String, Vec<Arc<AlarmRule>>>,
}

impl AlarmRules {
    /// Checks those of all files. A name stands for one alarm only, whatever template it is in.
    pub fn gather(first: &Part, further: &[Part], known: &[&str]) -> Result<AlarmRules, TomlError> {
        let mut all = AlarmRules::default();
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for part in std::iter::once(first).chain(further) {
            let document = &part.document;
            let of_templates = document.templates.iter().map(|(template, table)| {
                (
                    Some(template),
                    format!("templates.{}.", quoted(template)),
                    &table.alarms,
                )
            });
            let everywhere = (None, String::new(), &document.alarms);
            for (template, prefix, tables) in std::iter::once(everywhere).chain(of_templates) {
                for (name, table) in tables {
                    let key = format!("{prefix}alarms.{}", quoted(name));
                    let broken = |rule: String| Err(part.given.invalid(&key, rule));
                    if BUILT_IN.contains(&name.as_str())
                        || name.is_empty()
                        || !is_text(name, MAX_NAME)
                    {
                        return broken(format!(
                            "must have a name of 1 to {MAX_NAME} bytes without control characters, and none of {}, which \
                             are there without a setting",
                            BUILT_IN.join(", ")
                        ));
                    }
                    let place = part.given.place(&key).to_string();
                    if let Some(other) = names.insert(name, place) {
                        return broken(format!(
                            "has a name that stands in {other} already; alarms are known by it"
                        ));
                    }
                    let unknown = table
                        .notify()
                        .iter()
                        .find(|it| !known.contains(&it.as_str()));
                    if let Some(unknown) = unknown {
                        let rule =
                            format!("names `{unknown}`, but there is no table [notify.{unknown}]");
                        return Err(part.given.invalid(&format!("{key}.notify"), rule));
                    }
                    let rule = Arc::new(table.rule(name, &key, &part.given)?);
                    let rules = match template {
                        Some(template) => all.of_templates.entry(template.clone()).or_default(),
                        None => &mut all.everywhere,
                    };
                    rules.push(rule);
                }
            }
        }
        Ok(all)
    }

    /// Those of a host with these templates.
    pub fn of<'a>(&self, templates: impl Iterator<Item = &'a str>) -> Vec<Arc<AlarmRule>> {
        let of_templates = templates
            .filter_map(|it| self.of_templates.get(it))
            .flatten();
        self.everywhere
            .iter()
            .chain(of_templates)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_name::ClientName;
    use crate::collector::settings::alarms::{Figure, Limit, MAX_ALARMS, MAX_TEXT, Severity};
    use crate::collector::settings::tests::read;

    /// A host with an alarm that has these keys.
    fn alarm(keys: &str) -> Result<AlarmRule, String> {
        let text = format!(
            "[hosts.web]\nid = 1\n[alarms.a]\n{keys}\n[notify.ops]\nwebhook = \"http://h/\"\n"
        );
        let settings = read(&text)?;
        Ok((*settings.hosts[&ClientName::Number(1)].alarms[0]).clone())
    }

    const FIELD: &str = "service = \"A\"\nfield = \"x\"\n";

    #[test]
    fn every_key_takes_effect() {
        let rule = alarm(&format!(
            "{FIELD}item = \"/*\"\nper_cpu = true\nbelow = 5\nclear = 6.5\nfor = \"10m\"\nseverity = \"info\"\n\
             text = \"{{item}} {{value}}\"\nnotify = [\"ops\"]"
        ))
        .unwrap();
        let Figure::Field {
            service,
            field,
            item,
            per_cpu,
        } = &rule.figure
        else {
            panic!("{rule:?}")
        };
        assert_eq!(
            (service.as_str(), field.as_str(), *per_cpu),
            ("A", "x", true)
        );
        assert!(item.matches("/home") && !item.matches("home"));
        assert_eq!(
            (rule.limit, rule.clear, rule.hold_ms),
            (Limit::Below(5.0), 6.5, 600_000)
        );
        assert_eq!(
            (rule.severity, rule.text.as_deref()),
            (Severity::Info, Some("{item} {value}"))
        );
        assert_eq!(rule.notify, ["ops"]);
        let forecast = alarm(&format!("{FIELD}reaches = 100\nwithin = \"1d\"")).unwrap();
        let day = Limit::Reaches {
            level: 100.0,
            within_ms: 86_400_000,
        };
        assert_eq!(
            (forecast.limit, forecast.severity),
            (day, Severity::Warning)
        );
        let clock = alarm("figure = \"clock_off_s\"\nabove = 60").unwrap();
        assert_eq!((clock.figure, clock.clear), (Figure::ClockOff, 60.0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (keys, sentence) in [
            (
                "above = 1",
                "conf/server.toml:3: `alarms.a.service` is missing: name the service and the field, or a figure",
            ),
            (
                "service = \"A\"\nabove = 1",
                "conf/server.toml:3: `alarms.a.field` is missing: name the number in reports of the service",
            ),
            (
                "figure = \"services\"\nservice = \"A\"\nbelow = 1",
                "conf/server.toml:4: `alarms.a.figure` cannot be there beside service, field, item or per_cpu; leave either out",
            ),
            (
                "figure = \"x\"\nabove = 1",
                "conf/server.toml:4: `alarms.a.figure` must be \"clock_off_s\" or \"services\"",
            ),
            (
                &format!("{FIELD}above = 1\nbelow = 0"),
                "conf/server.toml:6: `alarms.a.above` or `below`, or `reaches` with `within`, must be there, and one of them only",
            ),
            (
                &format!("{FIELD}above = 90\nclear = 91"),
                "conf/server.toml:7: `alarms.a.clear` must not be more than `above`",
            ),
            (
                &format!("{FIELD}below = 5\nclear = 4"),
                "conf/server.toml:7: `alarms.a.clear` must not be less than `below`",
            ),
            (
                &format!("{FIELD}reaches = 5\nwithin = \"1h\"\nclear = 4"),
                "conf/server.toml:8: `alarms.a.clear` goes with `above` and `below` only",
            ),
            (
                "figure = \"services\"\nreaches = 5\nwithin = \"1h\"",
                "conf/server.toml:5: `alarms.a.reaches` needs a field of a service, without per_cpu",
            ),
            (
                &format!("{FIELD}above = 1\ntext = \"{{valeu}}\""),
                "conf/server.toml:7: `alarms.a.text` has braces that stand for nothing; there are {name}, {host}, {service}, \
                 {field}, {item}, {value}, {limit}",
            ),
            (
                &format!("{FIELD}above = 1\nnotify = [\"opps\"]"),
                "conf/server.toml:7: `alarms.a.notify` names `opps`, but there is no table [notify.opps]",
            ),
            (
                &format!("{FIELD}above = 1\nseverty = \"info\""),
                "conf/server.toml:7: there is no setting `alarms.a.severty`; the nearest is `alarms.a.severity`",
            ),
        ] {
            assert_eq!(alarm(keys).unwrap_err(), sentence, "{keys}");
        }
        for wrong in [
            "above = \"1\"",
            "above = nan",
            "above = 1\nfor = \"5\"",
            "above = 1\nfor = \"31d\"",
            "above = 1\nseverity = \"bad\"",
        ] {
            assert!(alarm(&format!("{FIELD}{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_has_the_alarms_of_all_hosts_and_of_its_templates() {
        let rule = "service = \"A\"\nfield = \"x\"\nabove = 1\n";
        let toml = format!(
            "[hosts.web]\ntemplates = [\"t\"]\ngroups = [\"g\"]\n[hosts.idle]\n[groups.g]\ntemplates = [\"t\", \"u\"]\n\
             [alarms.all]\n{rule}[templates.t.alarms.one]\n{rule}[templates.u.alarms.two]\n{rule}[templates.v.alarms.three]\n{rule}"
        );
        let settings = read(&toml).unwrap();
        let names = |host: &str| -> Vec<&str> {
            let rules = settings.hosts[&ClientName::from_text(host)].alarms.iter();
            rules.map(|it| it.name.as_str()).collect()
        };
        assert_eq!(names("web"), ["all", "one", "two"]);
        assert_eq!(names("idle"), ["all"]);
        let twice = format!("[alarms.a]\n{rule}[templates.t.alarms.a]\n{rule}");
        assert_eq!(
            read(&twice).unwrap_err(),
            "conf/server.toml:5: `templates.t.alarms.a` has a name that stands in conf/server.toml:1 already; alarms are \
             known by it"
        );
        assert!(
            read(&format!("[alarms.late]\n{rule}"))
                .unwrap_err()
                .contains("which are there without a setting")
        );
    }

    #[test]
    fn alarms_and_their_texts_are_bounded() {
        let alarms = |count: usize| {
            let each =
                (0..count).map(|n| format!("[alarms.a{n}]\nfigure = \"services\"\nbelow = 1\n"));
            read(&format!("[hosts.web]\n{}", each.collect::<String>()))
        };
        assert!(alarms(MAX_ALARMS).is_ok());
        assert_eq!(
            alarms(MAX_ALARMS + 1).unwrap_err(),
            "conf/server.toml:1: `hosts.web` has 65 alarms, more than 64"
        );
        let text = |length: usize| {
            alarm(&format!(
                "{FIELD}above = 1\ntext = \"{}\"",
                "x".repeat(length)
            ))
        };
        assert!(text(MAX_TEXT).is_ok() && text(MAX_TEXT + 1).is_err());
    }
}
