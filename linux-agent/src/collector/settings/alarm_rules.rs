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
