//! Results in the version of the configuration.

use serde_json::{Value, json};

use crate::bench::{Bench, VERSIONS, settle};

fn is_early(version: &str) -> bool {
    version < "0.3.0"
}

#[test]
fn loopback_in_every_version() {
    let bench = Bench::new();
    for version in VERSIONS {
        let conf = bench.conf("loopback", version);
        let made = bench.call("loopback", "ADD").conf(&conf).run().succeeds(version);
        assert_eq!(made["cniVersion"], version);
        assert_eq!(made.get("dns").is_some(), version < "1.0.0", "{made}");
        if is_early(version) {
            assert_eq!(
                (&made["ip4"]["ip"], &made["ip6"]["ip"]),
                (&json!("127.0.0.1/8"), &json!("::1/128"))
            );
            assert!(made.get("ips").is_none() && made.get("interfaces").is_none(), "{made}");
            continue;
        }
        let sandbox = bench.container.path();
        let interface = json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": sandbox});
        assert_eq!(made["interfaces"], json!([interface]));
        let addresses: Vec<&Value> = (0..2).map(|at| &made["ips"][at]["address"]).collect();
        assert_eq!(addresses, ["127.0.0.1/8", "::1/128"]);
        let families =
            if version < "1.0.0" { [json!("4"), json!("6")] } else { [Value::Null, Value::Null] };
        assert_eq!(
            [&made["ips"][0]["version"], &made["ips"][1]["version"]],
            [&families[0], &families[1]]
        );
        assert!(made["ips"].as_array().unwrap().iter().all(|ip| ip["interface"] == 0), "{made}");
    }
    settle(&[]);
}

#[test]
fn loopback_tells_what_the_kernel_has() {
    let bench = Bench::new();
    bench.container.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
    bench.container.ip(&["link", "set", "lo", "down"]).unwrap();
    let made = bench.call("loopback", "ADD").run().succeeds("without IPv6");
    assert_eq!(made["ips"], json!([{"interface": 0, "address": "127.0.0.1/8"}]));
    bench.call("loopback", "CHECK").run().is_silent("up");
    bench.call("loopback", "DEL").run().is_silent("DEL");
    bench.call("loopback", "CHECK").run().fails("down", 112);
    bench.container.ip(&["address", "add", "192.0.2.1/32", "dev", "lo"]).unwrap();
    bench.call("loopback", "ADD").run().fails("another address", 103);
    assert!(!bench.container.ip(&["link", "show", "lo"]).unwrap().contains(",UP"));
    settle(&[]);
}

#[test]
fn loopback_passes_on_what_the_chain_has_made() {
    let bench = Bench::new();
    let prev = json!({
        "CNIVERSION": "1.1.0",
        "interfaces": [{"Name": "eth0", "socketPath": "/x", "pciID": "y", "sandbox": "/s"}],
        "ips": [{"interface": 0, "address": "10.0.0.2/24", "gateway": "10.0.0.1"}],
        "routes": [{"dst": "10.0.0.0/8", "mtu": 1400, "advmss": 1300, "priority": 3, "table": 5, "scope": 253}],
        "dns": {"search": ["s"]},
    });
    let made = bench.call("loopback", "ADD").with(&["prevResult"], &prev).run().succeeds("chained");
    let mut expected = prev;
    let object = expected.as_object_mut().unwrap();
    object.remove("CNIVERSION");
    object.insert("cniVersion".into(), "1.1.0".into());
    expected["interfaces"] =
        json!([{"name": "eth0", "sandbox": "/s", "socketPath": "/x", "pciID": "y"}]);
    assert_eq!(made, expected);
    settle(&[]);
}

#[test]
fn address_managers_in_every_version() {
    let bench = Bench::new();
    for (plugin, address) in [("host-local", "10.9.0.2/24"), ("static", "10.9.0.7/24")] {
        for version in VERSIONS {
            let conf = bench.conf(plugin, version);
            let made = bench.call(plugin, "ADD").conf(&conf).run().succeeds(version);
            assert_eq!(made["cniVersion"], version);
            let found = match is_early(version) {
                true => &made["ip4"]["ip"],
                false => &made["ips"][0]["address"],
            };
            // Each DEL frees it, and the next one is the next in turn.
            let network = found.as_str().unwrap_or_default().split_once('.').map(|(net, _)| net);
            assert_eq!(network, Some("10"), "{plugin} {version}: {made}, such as {address}");
            assert!(made.get("interfaces").is_none(), "{made}");
            let routes = if is_early(version) { &made["ip4"]["routes"] } else { &made["routes"] };
            if plugin == "host-local" {
                assert_eq!(routes[0]["dst"], "0.0.0.0/0", "{made}");
            }
            bench.call(plugin, "DEL").conf(&conf).run().is_silent(version);
        }
    }
    settle(&[]);
}

/// A result without addresses cannot be told in the first versions: nothing is left of it.
#[test]
fn a_bridge_without_addresses_in_the_first_versions() {
    let bench = Bench::new();
    let before = bench.dump();
    for version in ["", "0.1.0", "0.2.0"] {
        let conf = json!({"cniVersion": version, "name": "net", "type": "bridge", "bridge": "br0"});
        let document = bench.call("bridge", "ADD").conf(&conf).run().fails(version, 1);
        assert_eq!(document["cniVersion"], if version.is_empty() { "0.1.0" } else { version });
        let links = bench.container.ip(&["link"]).unwrap();
        assert!(!links.contains("eth0"), "{links}");
    }
    let [_, container] = bench.dump();
    netns_fixtures::assert_same(&before[1], &container);
    settle(&[]);
}

#[test]
fn keys_in_any_case() {
    let bench = Bench::new();
    let dir = bench.folder.path().join("other");
    let conf = json!({
        "CNIVersion": "0.4.0", "NAME": "net",
        "Ipam": {"TYPE": "host-local", "dataDIR": dir, "Ranges": [[{"SUBNET": "10.8.0.0/24", "rangestart": "10.8.0.9"}]]},
    });
    let made = bench.call("host-local", "ADD").conf(&conf).run().succeeds("any case");
    assert_eq!(made["ips"][0]["address"], "10.8.0.9/24");
    assert!(dir.join("net/10.8.0.9").exists());
    settle(&[]);
}
