//! Values that no runtime sends: in the end there is a coded error and nothing has changed, or it
//! worked and DEL takes it back.

use netns_fixtures::Dump;
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, TYPES, settle};

/// In place of the value of a key.
fn junk() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("../../../../etc"),
        json!("a\u{0}b"),
        json!("\u{1b}[2J%n%s\u{202e}"),
        json!("x".repeat(100_000)),
        json!([]),
        json!([null]),
        json!([[[[1]]]]),
        json!({}),
        json!({"a": {"b": [1]}}),
    ]
}

/// The keys of each type, as paths.
fn keys(plugin: &str) -> &'static [&'static str] {
    match plugin {
        "netup" => &[
            "topology",
            "bridge",
            "subnets",
            "subnets.0",
            "gateway",
            "defaultRoute",
            "routes",
            "masquerade",
            "portMappings",
            "bandwidth",
            "isolation",
            "ips",
            "mac",
            "mtu",
            "sysctls",
            "dns",
            "runtimeConfig",
            "args",
            "ipam",
        ],
        "bridge" => &[
            "bridge",
            "isGateway",
            "isDefaultGateway",
            "forceAddress",
            "ipMasq",
            "ipMasqBackend",
            "mtu",
            "hairpinMode",
            "promiscMode",
            "vlan",
            "vlanTrunk",
            "preserveDefaultVlan",
            "macspoofchk",
            "enabledad",
            "disableContainerInterface",
            "portIsolation",
            "dns",
            "runtimeConfig",
            "args",
            "ipam",
            "ipam.type",
        ],
        "ptp" => &["ipMasq", "ipMasqBackend", "mtu", "dns", "ipam", "ipam.type"],
        "host-local" => &[
            "ipam",
            "ipam.ranges",
            "ipam.ranges.0",
            "ipam.ranges.0.0",
            "ipam.ranges.0.0.subnet",
            "ipam.ranges.0.0.rangeStart",
            "ipam.ranges.0.0.rangeEnd",
            "ipam.ranges.0.0.gateway",
            "ipam.routes",
            "ipam.routes.0",
            "ipam.routes.0.dst",
            "ipam.dataDir",
            "ipam.resolvConf",
            "ipam.subnet",
            "runtimeConfig",
            "args",
        ],
        "static" => &[
            "ipam",
            "ipam.addresses",
            "ipam.addresses.0",
            "ipam.addresses.0.address",
            "ipam.addresses.0.gateway",
            "ipam.routes",
            "ipam.dns",
            "runtimeConfig",
            "args",
        ],
        "loopback" => &["ipam", "prevResult", "runtimeConfig", "args"],
        "portmap" => &[
            "backend",
            "snat",
            "masqAll",
            "markMasqBit",
            "externalSetMarkChain",
            "conditionsV4",
            "conditionsV6",
            "runtimeConfig",
            "runtimeConfig.portMappings",
            "runtimeConfig.portMappings.0",
            "runtimeConfig.portMappings.0.hostPort",
            "runtimeConfig.portMappings.0.containerPort",
            "runtimeConfig.portMappings.0.protocol",
            "runtimeConfig.portMappings.0.hostIP",
            "prevResult",
        ],
        "firewall" => {
            &["backend", "iptablesAdminChainName", "firewalldZone", "ingressPolicy", "prevResult"]
        }
        "bandwidth" => &[
            "ingressRate",
            "ingressBurst",
            "egressRate",
            "egressBurst",
            "runtimeConfig",
            "prevResult",
        ],
        _ => &[
            "sysctl",
            "mac",
            "mtu",
            "promisc",
            "allmulti",
            "txQLen",
            "dataDir",
            "runtimeConfig",
            "args",
            "prevResult",
        ],
    }
}

/// What is amiss with an answer to an ADD; after one that succeeded, DEL must take it back.
fn judge(bench: &Bench, plugin: &str, what: &str, key: &[&str], value: &Value) -> Vec<String> {
    let told = |why: String| format!("{plugin} {what}: {why}");
    let added = bench.call(plugin, "ADD").with(key, value).run();
    let mut amiss = Vec::new();
    match added.code() {
        Ok(Some(_)) => {}
        Ok(None) => {
            let bad = |answer: &Answer| {
                answer.code().map_or_else(Some, |code| code.map(|_| format!("DEL: {answer:?}")))
            };
            amiss.extend(added.document().err());
            amiss.extend(bad(&bench.call(plugin, "DEL").with(key, value).run()));
        }
        Err(why) => amiss.push(why),
    }
    amiss.into_iter().map(told).collect()
}

fn changed(before: &[Dump; 2], after: &[Dump; 2]) -> String {
    before.iter().zip(after).map(|(before, after)| before.changes(after)).collect()
}

fn every_key_of(plugin: &str) {
    let bench = Bench::warm();
    let mut amiss = Vec::new();
    let mut before = bench.dump();
    for key in keys(plugin) {
        let path: Vec<&str> = key.split('.').collect();
        for value in junk() {
            let what = format!("{key} = {:.60}", value.to_string());
            amiss.extend(judge(&bench, plugin, &what, &path, &value));
        }
        if plugin == "loopback" {
            bench.container.ip(&["link", "set", "lo", "up"]).unwrap();
        }
        let after = bench.dump();
        let changes = changed(&before, &after);
        if !changes.is_empty() {
            amiss.push(format!("{plugin} {key} changes\n{changes}"));
            before = after;
        }
    }
    settle(&amiss);
}

macro_rules! every_key {
    ($($name:ident: $plugin:literal),*) => {$(
        #[test]
        fn $name() {
            every_key_of($plugin);
        }
    )*};
}
every_key! {
    keys_of_netup: "netup", keys_of_bridge: "bridge", keys_of_ptp: "ptp",
    keys_of_host_local: "host-local", keys_of_static: "static", keys_of_loopback: "loopback",
    keys_of_portmap: "portmap", keys_of_firewall: "firewall", keys_of_bandwidth: "bandwidth",
    keys_of_tuning: "tuning"
}

#[test]
fn whole_documents() {
    let bench = Bench::new();
    let mut amiss = Vec::new();
    for plugin in TYPES {
        let conf = bench.conf(plugin, "1.1.0");
        let mut big = conf.clone();
        big["x"] = json!("x".repeat(10_000_000));
        let many: serde_json::Map<String, Value> =
            (0..50_000).map(|i| (format!("k{i}"), json!(i))).collect();
        let mut wide = conf.clone();
        wide.as_object_mut().unwrap().extend(many);
        let doubled =
            conf.to_string().replacen('{', "{\"name\":\"first\",\"NAME\":5,\"ipam\":7,", 1);
        let utf16 = conf.to_string().replacen('{', "{\"x\":\"\\ud800\",", 1);
        let deep = conf.to_string().replacen(
            '{',
            &format!("{{\"x\":{}{},", "{\"a\":".repeat(10_000) + "1", "}".repeat(10_000)),
            1,
        );
        for (what, text) in [
            ("10 MB", big.to_string()),
            ("many keys", wide.to_string()),
            ("doubled keys", doubled),
            ("half a surrogate", utf16),
            ("deep", deep),
        ] {
            for verb in ["ADD", "CHECK", "DEL"] {
                let answer = bench.call(plugin, verb).text(text.clone()).run();
                amiss.extend(
                    answer.code().err().map(|why| format!("{plugin} {verb} {what}: {why}")),
                );
            }
        }
    }
    settle(&amiss);
}

#[test]
fn environments() {
    let bench = Bench::warm();
    let long = "x".repeat(100_000);
    let mut amiss = Vec::new();
    let mut before = bench.dump();
    for plugin in TYPES {
        for (key, value) in [
            ("CNI_CONTAINERID", long.as_str()),
            ("CNI_CONTAINERID", "a..b"),
            ("CNI_IFNAME", "%d"),
            ("CNI_IFNAME", "all"),
            ("CNI_IFNAME", "default"),
            ("CNI_IFNAME", "lo"),
            ("CNI_IFNAME", "-h"),
            ("CNI_IFNAME", "\"';$(x)`"),
            ("CNI_NETNS", "fd:0"),
            ("CNI_NETNS", "1"),
            ("CNI_NETNS", "."),
            ("CNI_NETNS", "../../../../../../../../etc/passwd"),
            ("CNI_NETNS", &long),
            ("CNI_NETNS", "/dev/zero"),
            ("CNI_NETNS", "/proc/self/fd/0"),
            ("CNI_ARGS", "none"),
            ("CNI_ARGS", "MAC=x;;"),
            ("CNI_ARGS", "IP=10.9.0.300;IgnoreUnknown=1"),
            ("CNI_ARGS", "MAC=ff:ff:ff:ff:ff:ff;IgnoreUnknown=1"),
            ("CNI_ARGS", &long),
            ("CNI_PATH", ":::"),
            ("CNI_PATH", &long),
            ("CNI_PATH", "relative/../.."),
            ("CNI_NETNS_OVERRIDE", "nonsense"),
        ] {
            for verb in ["ADD", "CHECK", "GC", "STATUS", "DEL"] {
                let answer = bench.call(plugin, verb).env(key, value).run();
                let told = |why| format!("{plugin} {verb} {key}={value:.30}: {why}");
                amiss.extend(answer.code().err().map(told));
            }
            // If only the DEL was wrong: a runtime would ask again.
            bench.call(plugin, "DEL").run().is_silent(plugin);
        }
        bench.container.ip(&["link", "set", "lo", "up"]).unwrap();
        let after = bench.dump();
        let changes = changed(&before, &after);
        if !changes.is_empty() {
            amiss.push(format!("{plugin} leaves\n{changes}"));
            before = after;
        }
    }
    settle(&amiss);
}
