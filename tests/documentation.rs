//! What is written down is so: the README's commands are taken, the documented keys are printed.

mod calling;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use calling::{NETUP, document, done, netup, refused, shell};
use netns_fixtures::{Lab, isolate};
use serde_json::Value;

isolate!();

fn written(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines of the fenced blocks of this language, under the heading they stand below.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let (mut heading, mut block, mut found) = (String::new(), None, Vec::new());
    for line in text.lines() {
        match &mut block {
            None if line.starts_with("## ") => line[3..].clone_into(&mut heading),
            None => block = (line == format!("```{language}")).then(String::new),
            Some(_) if line.starts_with("```") => {
                found.push((heading.clone(), block.take().unwrap_or_default()));
            }
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    found
}

/// Each call of netup in a shell block, without what a shell makes of the rest of the line.
fn calls(text: &str) -> Vec<String> {
    let blocks = blocks(text, "sh").into_iter().chain(blocks(text, "console"));
    let lines: Vec<String> = blocks
        .flat_map(|(_, block)| {
            let joined = block.replace("\\\n", " ");
            joined.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let call = |line: &String| {
        let line = line.trim().trim_start_matches("$ ").trim_start_matches("# ");
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let line = line.split(" #").next()?.split(['|', '>', ';', '&']).next()?.trim();
        (line == "netup" || line.starts_with("netup ")).then(|| line.to_owned())
    };
    lines.iter().filter_map(call).collect()
}

#[test]
fn every_command_of_the_readme_is_taken() {
    let lab = Lab::new();
    let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
    let calls = calls(&written("README.md"));
    assert!(calls.len() > 3, "{calls:?}");
    for call in calls {
        let pid = container.pid().to_string();
        // Whatever names a container in there is this one.
        let line = ["\"$PID\"", "$PID", "$pid", "\"$pid\"", "$!", " 4711", " PID", " 1234"]
            .iter()
            .fold(call.clone(), |line, name| match name.starts_with(' ') {
                true => line.replace(name, &format!(" {pid}")),
                false => line.replace(name, &pid),
            });
        let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let plugins = tempfile::tempdir().unwrap();
        if words.first() == Some(&"install-cni") {
            // Not this machine's own folder.
            words.extend(["--dir", plugins.path().to_str().unwrap()]);
        }
        let said = netup(&host, &words);
        // Wrong usage is what must not be; that there is nothing by that name may be.
        assert_ne!(said.code, Some(2), "{call}: {}", said.stderr);
        assert!(said.code.is_some(), "{call}: {said:?}");
    }
}

#[test]
fn every_option_that_the_readme_names_exists() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let verbs =
        ["up", "down", "ls", "show", "check", "gc", "reload", "doctor", "install-cni", "man"];
    let help: String = verbs.map(|verb| done(&host, &[verb, "--help"])).concat();
    for call in calls(&written("README.md")) {
        for option in call.split_whitespace().filter(|word| word.starts_with("--")) {
            let name = option.split('=').next().unwrap_or_default();
            assert!(help.contains(name), "{call}: {name}");
        }
    }
}

/// Every path to a value, such as `error.kind` or `[].state`.
fn keys(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| {
                let below = keys(value).into_iter().map(move |below| format!("{key}.{below}"));
                below.chain([key.clone()])
            })
            .collect(),
        Value::Array(items) => {
            items.iter().flat_map(keys).map(|below| format!("[].{below}")).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The keys of the first example below a heading of docs/json.md.
fn documented(heading: &str) -> BTreeSet<String> {
    let blocks = blocks(&written("docs/json.md"), "json");
    let example = blocks.into_iter().find(|(found, _)| found == heading);
    let (_, example) = example.unwrap_or_else(|| panic!("no example of {heading}"));
    keys(&serde_json::from_str(&example).unwrap_or_else(|e| panic!("{heading}: {e}")))
}

#[track_caller]
fn agree(heading: &str, printed: &Value) {
    assert_eq!(documented(heading), keys(printed), "{heading}: {printed}");
}

#[test]
fn the_documented_keys_are_the_printed_ones() {
    let lab = Lab::new();
    let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
    let bridged = lab.container("bridged").unwrap();
    let (pid, other) = (container.pid().to_string(), bridged.pid().to_string());
    let up = ["up", &pid, "10.0.0.2/24", "--id", "web", "--nat", "-p", "8080:80"];
    // What is null without them has keys of its own with them.
    let limits = ["--bandwidth-in", "8mbit", "--bandwidth-out", "4mbit"];
    let up = [&up[..], &limits[..]].concat();
    let plan = document(&host, &[&up[..], &["--dry-run"]].concat());
    assert!(plan.as_array().is_some_and(|lines| lines.iter().all(Value::is_string)), "{plan}");
    agree("netup up --dry-run", &plan);
    agree("netup up", &document(&host, &up));
    agree("netup up", &document(&host, &up));
    agree("netup show", &document(&host, &["show", "web"]));
    document(&host, &["up", &other, "10.0.0.3/24", "--id", "db", "--bridge", "br0"]);
    agree("netup ls", &document(&host, &["ls"]));
    agree("netup reload", &document(&host, &["reload"]));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    agree("netup install-cni", &document(&host, &["install-cni", "--dir", dir]));
    agree("netup install-cni", &document(&host, &["install-cni", "--dir", dir, "--uninstall"]));
    agree("netup check", &document(&host, &["check"]));
    agree("netup doctor", &doctor(&host));
    agree("Errors", &refusal(&host, &["down", "nobody"], 3));
    agree("Errors", &refusal(&host, &["up", &pid, "10.0.0.2"], 2));
    agree("netup down", &document(&host, &["down", "web"]));
    bridged.kill().unwrap();
    let gc = std::iter::repeat_with(|| document(&host, &["gc"]));
    let collected = gc.take(1000).find(|facts| facts["removed"] != serde_json::json!([])).unwrap();
    let documented: BTreeSet<String> = documented("netup gc");
    assert!(keys(&collected).is_subset(&documented), "{collected}");
    agree("netup reload --remove", &document(&host, &["reload", "--remove"]));
}

/// Its exit status is a verdict on the machine, which is not what is asked here.
fn doctor(host: &netns_fixtures::Node) -> Value {
    serde_json::from_str(&netup(host, &["doctor", "--json"]).stdout).unwrap()
}

fn refusal(host: &netns_fixtures::Node, words: &[&str], code: i32) -> Value {
    let line = refused(host, words, code);
    let said = netup(host, &[words, &["--json"]].concat());
    assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""));
    let document: Value = serde_json::from_str(&said.stderr).unwrap();
    let error = &document["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(line, format!("{}; {}", text("message"), text("remedy")));
    document
}

#[test]
fn every_kind_of_error_is_documented_with_its_exit_status() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let text = written("docs/json.md");
    for (words, code) in [
        (vec!["up", "77777777", "10.0.0.2/24"], 3),
        (vec!["up", "/dev/null", "10.0.0.2/24"], 2),
        (vec!["up", "/proc/self/ns/net", "10.0.0.2/24"], 2),
        (vec!["show", "nobody"], 3),
        (vec!["up"], 2),
    ] {
        let kind = refusal(&host, &words, code)["error"]["kind"].as_str().unwrap().to_owned();
        let row = text.lines().find(|line| line.contains(&format!("`{kind}`")));
        let row = row.unwrap_or_else(|| panic!("{kind} is not documented"));
        assert!(row.starts_with(&format!("| {code} |")), "{row}");
    }
}

#[test]
fn the_examples_of_the_help_are_taken() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let container = lab.container("c").unwrap();
    let pid = container.pid().to_string();
    let help = ["--help", "up --help", "down --help"]
        .map(|line| done(&host, &line.split_whitespace().collect::<Vec<_>>()));
    let text = help.concat();
    let mut count = 0;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("netup 4711 ")) {
        // What stands behind two spaces explains.
        let example = line.split("  ").next().unwrap().replace("4711", &pid).replace('"', "");
        let example = example.trim_start_matches("netup").replace("--dry-run", "");
        let script = format!("{NETUP}{example} --dry-run");
        shell(&host, &script);
        count += 1;
    }
    assert!(count >= 6, "{count} examples in {text}");
}
