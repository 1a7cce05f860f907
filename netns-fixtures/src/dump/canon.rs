//! From iproute2's JSON to sorted lines that hold nothing volatile.
//!
//! It drops what is known to change by itself and keeps the rest, so that a property this code has
//! never heard of still counts.

use serde_json::{Map, Value};
use std::io;

/// Numbered by the kernel, counted by it, or following the carrier and the clock.
const VOLATILE: [&str; 14] = [
    "ifindex",
    "link_index",
    "link_netnsid",
    "operstate",
    "stats",
    "stats64",
    "valid_life_time",
    "preferred_life_time",
    "expires",
    "cache",
    "tentative",
    "used",
    "age",
    "error",
];
const VOLATILE_FLAGS: [&str; 6] =
    ["LOWER_UP", "NO-CARRIER", "M-DOWN", "linkdown", "dead", "pervasive"];

/// One line per link, sorted by name.
pub(super) fn links(json: &str) -> io::Result<Vec<String>> {
    let line = |link: &Map<String, Value>| format!("{} {}", name(link), fields(link));
    Ok(sorted(objects(json)?.iter().map(line)))
}

/// One line per address, under the name of its link.
pub(super) fn addresses(json: &str) -> io::Result<Vec<String>> {
    let lines = objects(json)?.into_iter().flat_map(|link| {
        let name = name(&link).to_owned();
        let infos = link.get("addr_info").and_then(Value::as_array).cloned().unwrap_or_default();
        let infos = infos.into_iter().filter_map(|info| Some(fields(info.as_object()?)));
        infos.map(move |info| format!("{name} {info}")).collect::<Vec<_>>()
    });
    Ok(sorted(lines))
}

/// One line per route or rule.
pub(super) fn entries(json: &str) -> io::Result<Vec<String>> {
    Ok(sorted(objects(json)?.iter().map(fields)))
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

/// Older iproute2 prints nothing at all for an empty list, and empty objects for what a filter hid.
fn objects(json: &str) -> io::Result<Vec<Map<String, Value>>> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut objects: Vec<Map<String, Value>> = serde_json::from_str(json)?;
    for object in &mut objects {
        object.sort_keys();
        object.values_mut().for_each(Value::sort_all_objects);
    }
    Ok(objects.into_iter().filter(|object| !object.is_empty()).collect())
}

fn name(link: &Map<String, Value>) -> &str {
    link.get("ifname").and_then(Value::as_str).unwrap_or("?")
}

/// `key=value` for all that is not volatile, in the order of the keys.
fn fields(object: &Map<String, Value>) -> String {
    let kept = object.iter().filter(|(key, _)| !is_volatile(key) && *key != "ifname");
    kept.map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
}

/// A bridge has timers that run: hello_timer, gc_timer and more.
fn is_volatile(key: &str) -> bool {
    VOLATILE.contains(&key) || key.ends_with("_timer")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", kept_items(items).join(",")),
        Value::Object(object) => format!("{{{}}}", fields(object)),
        other => other.to_string(),
    }
}

fn kept_items(items: &[Value]) -> Vec<String> {
    items.iter().map(text).filter(|item| !VOLATILE_FLAGS.contains(&item.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_things_are_left_out() {
        let json = r#"[{"ifindex":7,"ifname":"br0","flags":["UP","LOWER_UP"],"operstate":"UP",
            "linkinfo":{"info_kind":"bridge","info_data":{"gc_timer":3.1,"vlan_filtering":0}}}]"#;
        let line = "br0 flags=[UP] linkinfo={info_data={vlan_filtering=0} info_kind=bridge}";
        assert_eq!(links(json).unwrap(), [line]);
    }

    #[test]
    fn empty_answers_are_no_lines() {
        assert_eq!(entries("").unwrap(), Vec::<String>::new());
        assert_eq!(addresses("[{},{}]").unwrap(), Vec::<String>::new());
    }
}
