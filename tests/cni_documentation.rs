//! docs/cni.md is so: its configurations connect containers, its tables name the keys, codes and
//! plugins that the source has, and its commands are taken.

mod calling;
mod networks;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use calling::{World, done, netup, shell};
use netns_fixtures::cni::{Attachment, Chain};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Container, Lab, Node, isolate};
use networks::{Before, Set, address, at, texts, v4, v6, words};
use serde_json::{Value, json};
use tempfile::TempDir;

isolate!();

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page() -> String {
    source("docs/cni.md")
}

/// The page's fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    blocks_of(&page(), language)
}

fn blocks_of(text: &str, language: &str) -> Vec<String> {
    let (mut block, mut found) = (None::<String>, Vec::new());
    for line in text.lines() {
        match &mut block {
            None => block = (line == format!("```{language}")).then(String::new),
            Some(_) if line == "```" => found.extend(block.take()),
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    found
}

/// What stands below a heading, up to the next of its level or above.
fn section(heading: &str) -> String {
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let is_end = |line: &str| {
        let depth = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=level).contains(&depth) && line.as_bytes().get(depth) == Some(&b' ')
    };
    let text = page();
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let below: Vec<&str> = lines.take_while(|line| !is_end(line)).collect();
    assert!(!below.is_empty(), "nothing stands below {heading}");
    below.join("\n")
}

/// The first column of the first table below a heading, without what marks code.
fn rows(heading: &str) -> Vec<String> {
    let section = section(heading);
    let table = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let cell = |line: &str| Some(line.split('|').nth(1)?.trim().trim_matches('`').to_owned());
    table.take_while(|line| line.starts_with('|')).filter_map(cell).collect()
}

#[track_caller]
fn set(items: Vec<String>) -> BTreeSet<String> {
    let count = items.len();
    let set: BTreeSet<String> = items.into_iter().collect();
    assert_eq!(set.len(), count, "something is there twice: {set:?}");
    set
}

/// The keys that a structure of the source decodes.
fn keys(file: &str, name: &str) -> BTreeSet<String> {
    let text = source(file);
    let start = format!("struct {name} {{");
    let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{file}: no {start}"));
    let (body, _) = rest.split_once("\n}").unwrap();
    let (mut renamed, mut found) = (None, Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split_once('"').map(|(key, _)| key.to_owned());
        }
        let is_field = !line.starts_with(['/', '#']);
        if let Some((field, _)) = line.split_once(": ").filter(|_| is_field) {
            let field = field.trim_start_matches("pub ").trim_start_matches("r#");
            found.push(renamed.take().unwrap_or_else(|| camel_case(field)));
        }
    }
    set(found)
}

fn camel_case(field: &str) -> String {
    let mut parts = field.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_uppercase() + &part[1..])
}

#[test]
fn every_key_of_type_netup_is_documented_and_none_else() {
    // This one every type reads, and not as a key of its own.
    let mut own = keys("src/cni/types/netup.rs", "Keys");
    assert!(own.insert("ipam".to_owned()));
    assert_eq!(set(rows("### Keys")), own);
    for (heading, file, name) in [
        ("#### A subnet", "src/cni/types/netup.rs", "SubnetPart"),
        ("#### args.cni", "src/cni/types/netup.rs", "CniArgs"),
        ("#### runtimeConfig", "src/cni/capabilities.rs", "RuntimeConfig"),
        ("#### A port", "src/cni/capabilities.rs", "PortMapping"),
        ("#### Limits", "src/cni/capabilities.rs", "BandwidthKeys"),
        ("#### A route", "src/cni/result.rs", "Route"),
        ("#### DNS", "src/cni/result.rs", "Dns"),
    ] {
        assert_eq!(set(rows(heading)), keys(file, name), "{heading}");
    }
}

#[test]
fn every_key_of_the_standard_names_is_documented_and_none_else() {
    for (name, file, structures) in [
        ("bridge", "src/cni/types/bridge.rs", &["Keys"][..]),
        ("ptp", "src/cni/types/ptp.rs", &["Keys"]),
        ("host-local", "src/cni/ipam/host_local/config.rs", &["Ipam", "Place"]),
        ("static", "src/cni/ipam/static_.rs", &["Ipam"]),
        ("portmap", "src/cni/types/portmap.rs", &["Keys"]),
        ("firewall", "src/cni/types/firewall.rs", &["Keys"]),
        ("bandwidth", "src/cni/types/bandwidth.rs", &["Keys"]),
        ("tuning", "src/cni/types/tuning.rs", &["Keys"]),
    ] {
        let own = structures.iter().flat_map(|structure| keys(file, structure));
        // The page says of these two once what they are.
        let own = own.filter(|key| !["runtimeConfig", "args"].contains(&key.as_str()));
        assert_eq!(set(rows(&format!("### {name}"))), own.collect(), "{name}");
    }
}

/// The texts in double quotes after this text, up to the closing bracket.
fn quoted(text: &str, start: &str) -> Vec<String> {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start}"));
    let list = rest.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_names_are_those_that_are_served() {
    let served = quoted(&source("src/cni/registry.rs"), "STANDARD_NAMES: [&str; 9] = [");
    assert_eq!(served.len(), 9);
    let below = section("## The standard names");
    let headings = below.lines().filter_map(|line| line.strip_prefix("### "));
    let headings: Vec<&str> = headings.filter(|heading| *heading != "Names not served").collect();
    assert_eq!(headings, served);
    let intro = page().split("\n\n").nth(2).unwrap().to_owned();
    assert!(served.iter().all(|name| intro.contains(&format!("`{name}`"))), "{intro}");
    let missing = section("### Names not served");
    let missing = missing.split('`').skip(1).step_by(2).take(9);
    for name in missing {
        assert!(!served.iter().any(|one| one == name) && name != "netup", "{name} is served");
    }
}

#[test]
fn every_code_is_documented_and_none_else() {
    let code = |text: &str| text.trim().trim_end_matches([',', ';']).parse::<u32>().ok();
    let failure = source("src/cni/failure.rs");
    let (product, _) = failure.split_once("#[cfg(test)]").unwrap();
    let constants = product.lines().filter(|line| line.contains("pub const"));
    let constants = constants.filter_map(|line| code(line.split_once('=')?.1));
    let arms = product.lines().filter_map(|line| code(line.split_once("=> ")?.1));
    let delegate = source("src/cni/ipam/delegate.rs");
    let (_, failed) = delegate.split_once("const FAILED: u32 = ").unwrap();
    let failed = code(failed.lines().next().unwrap());
    let own: BTreeSet<u32> = constants.chain(arms).chain(failed).collect();
    assert!(own.len() > 20, "{own:?}");
    let documented: BTreeSet<u32> =
        rows("## Error codes").iter().map(|row| row.parse().unwrap()).collect();
    assert_eq!(documented, own);
}

/// The configuration lists of the page and of the README.
fn lists() -> Vec<Value> {
    let parse = |text: &String| -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let blocks = [blocks("json"), blocks_of(&source("README.md"), "json")].concat();
    blocks.iter().map(parse).filter(|list| list["plugins"].is_array()).collect()
}

/// One of the page's networks on a host.
struct Example {
    world: World,
    before: Before,
    folder: TempDir,
    conf: Value,
    chain: Chain,
}

impl Example {
    /// As it is written, but for the place of the leases.
    fn of(list: &Value) -> Self {
        let (world, folder) = (World::new(), TempDir::new().unwrap());
        let before = Before::of(&world);
        let mut conf = list.clone();
        let ipam = &mut conf["plugins"][0]["ipam"];
        if ipam["type"] == "host-local" {
            ipam["dataDir"] = json!(folder.path());
        }
        let chain = Chain::new(&world.host, conf.clone(), Set::Ours.folder());
        Self { world, before, folder, conf, chain }
    }

    fn name(&self) -> &str {
        self.conf["name"].as_str().unwrap()
    }

    fn first(&self, key: &str) -> &Value {
        &self.conf["plugins"][0][key]
    }

    /// Whether a plugin has the capability, or the port is in the configuration.
    fn publishes(&self) -> bool {
        let plugins = self.conf["plugins"].as_array().unwrap();
        self.has_port() || plugins.iter().any(|one| one["capabilities"]["portMappings"] == true)
    }

    fn has_port(&self) -> bool {
        self.first("portMappings").is_array()
    }

    fn connect(&self, container: &Container, chain: &Chain) -> (Attachment, Value) {
        let at = Attachment::of(container.name(), container);
        let result = chain.add(&at).unwrap_or_else(|e| panic!("{} ADD: {e}", self.name()));
        chain.check(&at, &result).unwrap_or_else(|e| panic!("{} CHECK: {e}", self.name()));
        (at, result)
    }

    fn disconnect(&self, (at, result): &(Attachment, Value)) {
        self.chain.del(at, Some(result)).unwrap_or_else(|e| panic!("{} DEL: {e}", self.name()));
    }

    /// To the host, and to the outside with the host's address.
    fn reaches(&self, container: &Node) {
        ping(&self.world.host, v4(container)).unwrap();
        if self.first("masquerade") != true && self.first("ipMasq") != true {
            return;
        }
        self.is_masqueraded(container, "198.51.100.1:7000", "198.51.100.2");
        if v6(container).is_some() {
            self.is_masqueraded(container, "[2001:db8:1::1]:7000", "2001:db8:1::2");
        }
    }

    fn is_masqueraded(&self, container: &Node, server: &str, seen: &str) {
        let _server = TcpEcho::start(&self.world.outside, at(server)).unwrap();
        let answer = tcp_ask(container, at(server)).unwrap();
        assert_eq!(answer.client_seen.ip().to_string(), seen, "{}", self.name());
    }

    fn is_published(&self, container: &Node) {
        let _server = TcpEcho::start(container, at("0.0.0.0:80")).unwrap();
        for from in [&self.world.outside, &self.world.host] {
            let answer = tcp_ask(from, at("198.51.100.2:8080")).unwrap();
            assert_eq!(answer.server, container.name(), "{} from {}", self.name(), from.name());
        }
    }

    fn keeps_out(&self, web: &Node, other: &Node) {
        let _server = TcpEcho::start(web, at("0.0.0.0:90")).unwrap();
        let reached = tcp_ask(other, SocketAddr::from((v4(web), 90))).is_ok();
        assert_eq!(reached, self.first("isolation") != "isolated", "{}", self.name());
    }

    /// The addresses lie where the configuration says.
    fn is_addressed(&self, container: &Node) {
        for subnet in self.first("subnets").as_array().into_iter().flatten() {
            let text = |key: &str| subnet[key].as_str();
            let network = subnet.as_str().or(text("subnet")).unwrap();
            let network: ipnetwork::IpNetwork = network.parse().unwrap();
            let ip = address(container, "eth0", network.is_ipv4()).unwrap();
            assert!(network.contains(ip), "{ip} is not in {network}");
            let end = |key: &str| text(key).map(|ip| ip.parse::<IpAddr>().unwrap());
            assert!(end("rangeStart").is_none_or(|first| first <= ip), "{ip}");
            assert!(end("rangeEnd").is_none_or(|last| ip <= last), "{ip}");
        }
    }

    fn is_limited(&self) {
        if !self.first("bandwidth").is_object() {
            return;
        }
        let limits = shell(&self.world.host, "tc qdisc");
        for rate in ["rate 100Mbit", "rate 50Mbit"] {
            assert!(limits.contains(rate), "no {rate} in {limits}");
        }
    }
}

/// From the first container's ADD to nothing being left.
fn life(example: &Example) {
    let mapping = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }]);
    let publishing = example.chain.clone().offering("portMappings", mapping);
    let (web, other) = (example.world.container("web"), example.world.container("other"));
    let first = example.connect(&web, &publishing);
    example.is_addressed(&web);
    example.reaches(&web);
    example.is_limited();
    if example.publishes() {
        example.is_published(&web);
    }
    // A port of the configuration is taken by now.
    let second = (!example.has_port()).then(|| example.connect(&other, &example.chain));
    let mut containers: Vec<&Node> = vec![&web];
    if second.is_some() {
        example.keeps_out(&web, &other);
        containers.push(&other);
    }
    let words = words(&containers, &["8080"]);
    example.disconnect(&first);
    second.iter().for_each(|second| example.disconnect(second));
    example.before.returns(&[], &texts(&words), &[example.folder.path().to_owned()]);
}

#[test]
fn every_list_connects_containers_and_lets_them_go() {
    let lists = lists();
    assert!(lists.len() >= 9, "{} lists", lists.len());
    lists.iter().for_each(|list| life(&Example::of(list)));
}

/// A folder of plugins as a node has it before: of others, with one that netup does not serve.
fn reference_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["bridge", "portmap", "macvlan"] {
        fs::write(folder.path().join(name), format!("the reference {name}")).unwrap();
    }
    folder
}

/// Each call of netup, without comments. Joined lines are one.
fn calls() -> Vec<String> {
    let blocks = blocks("sh").join("\n").replace("\\\n", " ");
    let call = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        line.starts_with("netup ").then(|| line.to_owned())
    };
    blocks.lines().filter_map(call).collect()
}

#[test]
fn every_command_does_what_it_should() {
    let world = World::new();
    let (web, other) = (world.container("web"), world.container("try"));
    let calls = calls();
    assert!(calls.len() >= 12, "{calls:?}");
    for call in &calls {
        // The last call may have taken it down.
        world.up(&web, "10.66.0.2/24 --id web");
        let call = call.replace("/run/netns/try", other.path().to_str().unwrap());
        let mut words: Vec<&str> = call.split_whitespace().skip(1).collect();
        let folder = TempDir::new().unwrap();
        let dir = folder.path().to_str().unwrap();
        // Not this machine's own folder.
        match words.iter().position(|word| *word == "--dir") {
            Some(at) => words[at + 1] = dir,
            None if words[0] == "install-cni" => words.extend(["--dir", dir]),
            None => {}
        }
        let said = netup(&world.host, &words);
        // Its exit status is a verdict on the machine.
        let is_verdict = words == ["doctor"] && said.code == Some(1);
        assert!(said.code == Some(0) || is_verdict, "{call}: {said}");
    }
}

fn content(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// The three commands, and the one back.
#[test]
fn the_migration_is_as_it_is_told() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let folder = reference_folder();
    let before = content(folder.path());
    let dir = folder.path().to_str().unwrap();
    let run = |call: &str| {
        let words: Vec<&str> = call.split_whitespace().skip(1).chain(["--dir", dir]).collect();
        done(&host, &words)
    };
    let below = section("## From the standard set");
    let lines: Vec<&str> = below.lines().filter(|line| line.starts_with("netup ")).collect();
    let lines: Vec<&str> = lines.iter().map(|line| line.split(" #").next().unwrap()).collect();
    let ["netup doctor", install, again, back] = lines.as_slice() else { panic!("{lines:?}") };
    run(install);
    assert!(folder.path().join(".netup-replaced/bridge").is_file());
    assert_eq!(fs::read_to_string(folder.path().join("macvlan")).unwrap(), "the reference macvlan");
    let again: Value = serde_json::from_str(&run(again)).unwrap();
    let results = again["plugins"].as_array().unwrap().iter();
    assert!(results.clone().count() == 10, "{again}");
    assert!(results.clone().all(|one| one["result"] == "unchanged"), "{again}");
    run(back);
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_plugin_can_be_tried_by_hand() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let script = blocks("sh").into_iter().find(|block| block.contains("CNI_COMMAND=ADD")).unwrap();
    let folder = Set::Ours.folder().to_str().unwrap();
    let said = shell(&host, &script.replace("/opt/cni/bin", folder));
    let result: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let address = result["ips"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("10.88.") && said.matches(address).count() == 2, "{said}");
    assert_eq!(done(&host, &["ls", "--json"]), "[]\n");
}

#[test]
fn links_lead_somewhere() {
    let text = page();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
    };
    let anchors: BTreeSet<String> = headings.map(anchor).collect();
    let links = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    let links: Vec<&str> = links.collect();
    assert!(links.len() > 10);
    links.iter().for_each(|link| assert!(anchors.contains(*link), "{link} of {anchors:?}"));
    assert!(source("README.md").contains("(docs/cni.md)"));
}
