//! Golden plans: each folder below `tests/golden` is a case, and adding one needs no Rust.
//!
//! ```text
//! request.json    id, target, netns_cookie, addresses; network: what differs from the default
//! observed.json   what differs from a host where all is ready
//! plan.txt        the commands, as an admin would type them
//! undo.txt        what takes them back
//! error.txt       in place of these two: why there is no plan
//! ```
//!
//! `NETUP_BLESS=1 cargo test --test plan_golden` writes the expected files anew. Read the difference
//! before it is committed: is it what an expert would type?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netup::Network;
use netup::TargetName;
use netup::addr::HostAddr;
use netup::ident::AttachmentId;
use netup::plan::{self, Observed, Plan, Step, UndoScope, Wanted};
use netup::request::AddressRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    id: AttachmentId,
    target: TargetName,
    netns_cookie: u64,
    addresses: Vec<HostAddr>,
    #[serde(default)]
    network: Map<String, Value>,
}

impl Given {
    /// The default network with what the case says differently. Without a word about its
    /// addresses, exactly those of the request were asked for.
    fn network(&self) -> Network {
        let exact = self.addresses.iter().copied().map(AddressRequest::Exact).collect();
        let default = Network { addresses: exact, ..Network::new() };
        let network: Network = overlaid(serde_json::to_value(default).unwrap(), &self.network);
        network.validate().expect("a request that is refused before it is planned proves nothing");
        network
    }
}

/// A host that is ready: rules loaded, forwarding on, an uplink.
fn ready() -> Value {
    json!({ "ruleset": true, "ipv6": true, "uplink_mtu": 1500, "loopback_up": true })
}

fn overlaid<T: for<'a> Deserialize<'a>>(mut base: Value, over: &Map<String, Value>) -> T {
    let base_map = base.as_object_mut().unwrap();
    base_map.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    serde_json::from_value(base).unwrap_or_else(|error| panic!("{error} in {over:?}"))
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// File names and what they should hold.
fn expected_of(case: &Path) -> Vec<(&'static str, String)> {
    let given: Given = read(&case.join("request.json"));
    let observed: Observed = overlaid(ready(), &read(&case.join("observed.json")));
    let network = given.network();
    let wanted = Wanted {
        id: &given.id,
        target: &given.target,
        netns_cookie: given.netns_cookie,
        network: &network,
        addresses: &given.addresses,
    };
    match plan::plan(&wanted, &observed) {
        Ok(plan) => vec![("plan.txt", planned(&plan)), ("undo.txt", undone(&plan))],
        Err(error) => vec![("error.txt", format!("{error}\n"))],
    }
}

fn planned(plan: &Plan) -> String {
    text(plan, plan.all().map(|planned| &planned.step))
}

/// Under a head each: what `down` does, what the last one on the bridge does besides, and what only
/// a failed attach takes back.
fn undone(plan: &Plan) -> String {
    let all: Vec<_> = plan.all().collect();
    let only_on_failure: Vec<&Step> = all
        .iter()
        .rev()
        .filter(|planned| planned.scope != UndoScope::Attachment)
        .flat_map(|planned| &planned.undo)
        .collect();
    let section = |head: &str, text: String| match text.is_empty() {
        true => String::new(),
        false => format!("# {head}\n{text}"),
    };
    section("down", text(plan, &plan.undo()))
        + &section("with the bridge's last attachment", text(plan, &plan.bridge_undo()))
        + &section("only when the attach fails", text(plan, only_on_failure))
}

fn text<'a>(plan: &Plan, steps: impl IntoIterator<Item = &'a Step>) -> String {
    let lines = steps.into_iter().flat_map(|step| plan::lines(step, &plan.attachment.target));
    lines.map(|line| line + "\n").collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Writes what is expected, and removes what is not.
fn bless(case: &Path, expected: &[(&str, String)]) {
    for name in ["plan.txt", "undo.txt", "error.txt"] {
        let path = case.join(name);
        match expected.iter().find(|(expected, _)| *expected == name) {
            Some((_, content)) => fs::write(path, content).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
}

fn difference(case: &Path, expected: &[(&str, String)]) -> String {
    let mut text = String::new();
    for name in ["plan.txt", "undo.txt", "error.txt"] {
        let golden = fs::read_to_string(case.join(name)).unwrap_or_default();
        let now = expected.iter().find(|(expected, _)| *expected == name);
        let now = now.map_or("", |(_, content)| content);
        if golden != now {
            let name = case.join(name);
            text += &format!("{} should be\n{golden}but is\n{now}\n", name.display());
        }
    }
    text
}

#[test]
fn every_request_is_planned_as_its_golden_file_says() {
    let mut differences = String::new();
    for case in cases() {
        let expected = expected_of(&case);
        if std::env::var_os("NETUP_BLESS").is_some() {
            bless(&case, &expected);
        }
        differences += &difference(&case, &expected);
    }
    assert!(differences.is_empty(), "{differences}Set NETUP_BLESS=1 to write them anew.");
    println!("{} golden cases", cases().len());
}

#[test]
fn every_golden_line_is_valid_shell() {
    for path in cases().iter().flat_map(|case| [case.join("plan.txt"), case.join("undo.txt")]) {
        let Ok(script) = fs::File::open(&path) else { continue };
        let mut shell = Command::new("/bin/sh");
        let output = shell.arg("-n").stdin(Stdio::from(script)).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", path.display());
    }
}

#[test]
fn a_plan_says_the_same_each_time() {
    for case in cases() {
        assert_eq!(expected_of(&case), expected_of(&case), "{}", case.display());
    }
}
