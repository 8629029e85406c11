//! Rules for values of the collector's settings that more than one file of this folder has.

use std::path::PathBuf;

use crate::toml_reader::Value;

pub fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| "must be text in quotes".to_owned())
}

pub fn file_path(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from);
    path.ok_or_else(|| "must be a path in quotes".to_owned())
}

pub fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        _ => Err("must be true or false".to_owned()),
    }
}
