use std::collections::BTreeSet;

use netup::ErrorKind;
use serde_json::Value;

use super::*;
use crate::reply::samples;

const DOCS: &str = include_str!("../../../docs/json.md");

/// What each section of the documentation must show.
fn documents() -> Vec<(&'static str, String)> {
    let plan = ["ip link add nu0 type veth", "ip link set nu0 up"];
    vec![
        ("netup up", document(&samples::outcome())),
        ("netup up --dry-run", document(&plan)),
        ("netup down", document(&samples::detached())),
        ("netup ls", document(&samples::statuses())),
        ("netup show", document(&samples::statuses()[..1])),
        ("netup check", document(&samples::checked())),
        ("netup gc", collected(&samples::collected())),
        ("netup reload", document(&samples::reloaded())),
        ("netup reload --remove", ruleset_removed()),
        ("netup doctor", document(&samples::findings())),
        ("netup install-cni", document(&samples::installation())),
        ("Errors", error(&samples::error())),
    ]
}

fn example(section: &str) -> Value {
    let heading = format!("\n## {section}\n");
    let (_, text) = DOCS.split_once(&heading).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap();
    let (_, block) =
        text.split_once("```json\n").unwrap_or_else(|| panic!("{section}: no example"));
    serde_json::from_str(block.split("```").next().unwrap()).unwrap()
}

fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            keys(value, into);
        }),
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn the_documented_examples_are_what_is_written() {
    for (section, text) in documents() {
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(example(section), written, "{section}: {text}");
    }
}

#[test]
fn every_key_has_its_row_and_every_row_its_key() {
    let mut written = BTreeSet::new();
    for (_, text) in documents() {
        keys(&serde_json::from_str(&text).unwrap(), &mut written);
    }
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let documented: BTreeSet<String> = DOCS.lines().filter_map(row).collect();
    assert_eq!(written, documented);
}

#[test]
fn one_document_is_one_line() {
    for (section, text) in documents() {
        assert_eq!(text.matches('\n').count(), 1, "{section}");
        assert!(text.ends_with('\n'), "{section}");
    }
}

#[test]
fn every_kind_of_error_is_documented() {
    use ErrorKind::*;
    let kinds = [
        (InvalidArgument, "invalid_argument"),
        (TargetNotFound, "target_not_found"),
        (NotANetns, "not_a_netns"),
        (OwnNetns, "own_netns"),
        (AttachmentNotFound, "attachment_not_found"),
        (NotPermitted, "not_permitted"),
        (AttachmentExists, "attachment_exists"),
        (InterfaceExists, "interface_exists"),
        (AddressInUse, "address_in_use"),
        (PortInUse, "port_in_use"),
        (NotABridge, "not_a_bridge"),
        (BridgeUnsuitable, "bridge_unsuitable"),
        (PluginExists, "plugin_exists"),
        (PoolExhausted, "pool_exhausted"),
        (MissingTool, "missing_tool"),
        (MissingFeature, "missing_feature"),
        (Kernel, "kernel"),
        (Nft, "nft"),
        (State, "state"),
        (Drifted, "drifted"),
        (Interrupted, "interrupted"),
    ];
    for (kind, name) in kinds {
        assert_eq!(kind.as_str(), name);
        let (code, described) = (kind.exit_code(), format!("`{name}`"));
        let line = DOCS.lines().find(|line| line.starts_with(&format!("| {code} |"))).unwrap();
        assert!(line.contains(&described), "{name} is not among the kinds of exit status {code}");
    }
}

#[test]
fn control_characters_cannot_break_the_line() {
    let text = error(&Error::invalid("a\nb\u{1b}"));
    assert!(text.contains(r"a\nb\u001b"), "{text}");
}
