use serde_json::json;

use super::*;
use crate::cni::failure::Failure;
use crate::cni::version::Version;

/// A result that uses everything.
fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1400,
             "sandbox": "/run/netns/a", "socketPath": "/x", "pciID": "0000:00:1f.6"},
        ],
        "ips": [
            {"interface": 1, "address": "10.0.0.2/24", "gateway": "10.0.0.1"},
            {"interface": 1, "address": "fd00::2/64"},
            {"interface": 1, "address": "10.9.0.2/24"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.0.0.1"},
            {"dst": "fd01::/64", "mtu": 1300, "advmss": 1200, "priority": 5, "table": 9, "scope": 253},
        ],
        "dns": {"nameservers": ["10.0.0.1"], "domain": "d", "search": ["s"], "options": ["o"]},
    })
}

#[track_caller]
fn read(value: &Value, version: Version) -> Made {
    Made::from_prev_result(value, version).unwrap()
}

#[track_caller]
fn converted(made: &Made, version: Version) -> Value {
    made.to_document(version).unwrap()
}

#[test]
fn the_newest_version_loses_nothing() {
    let made = read(&full(), Version::V1_1_0);
    assert_eq!(converted(&made, Version::V1_1_0), full());
    let mut expected = full();
    expected["cniVersion"] = "1.0.0".into();
    assert_eq!(converted(&made, Version::V1_0_0), expected);
}

#[test]
fn versions_0_3_and_0_4_tell_each_address_s_family() {
    let made = read(&full(), Version::V1_1_0);
    for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
        let mut expected = full();
        expected["cniVersion"] = version.as_str().into();
        for (ip, family) in expected["ips"].as_array_mut().unwrap().iter_mut().zip(["4", "6", "4"])
        {
            ip["version"] = family.into();
        }
        let eth0 = expected["interfaces"][1].as_object_mut().unwrap();
        eth0.retain(|key, _| ["name", "mac", "sandbox"].contains(&key.as_str()));
        let document = converted(&made, version);
        assert_eq!(document, expected);
        let again = read(&document, version);
        assert_eq!(
            (again.ips, again.routes, again.dns),
            (made.ips.clone(), made.routes.clone(), made.dns.clone())
        );
    }
}

#[test]
fn the_first_versions_tell_one_address_of_each_family() {
    let made = read(&full(), Version::V1_1_0);
    for version in [Version::V0_1_0, Version::V0_2_0] {
        let document = converted(&made, version);
        assert_eq!(
            document,
            json!({
                "cniVersion": version.as_str(),
                "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1",
                        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]},
                "ip6": {"ip": "fd00::2/64", "routes": [{"dst": "fd01::/64"}]},
                "dns": {"nameservers": ["10.0.0.1"], "domain": "d", "search": ["s"], "options": ["o"]},
            })
        );
        let again = read(&document, version);
        assert_eq!(converted(&again, version), document);
        assert_eq!((again.interfaces.len(), again.ips.len(), again.routes.len()), (0, 2, 2));
        assert!(again.ips.iter().all(|ip| ip.interface.is_none()));
    }
}

#[test]
fn the_first_versions_need_an_address() {
    for version in [Version::V0_1_0, Version::V0_2_0] {
        let failure = Made::default().to_document(version).unwrap_err();
        assert_eq!(failure.code, Failure::INCOMPATIBLE_VERSION);
    }
}

#[test]
fn empty_results_and_empty_dns() {
    let of = |version| converted(&Made::default(), version);
    assert_eq!(of(Version::V0_3_0), json!({"cniVersion": "0.3.0", "dns": {}}));
    assert_eq!(of(Version::V0_4_0), json!({"cniVersion": "0.4.0", "dns": {}}));
    assert_eq!(of(Version::V1_0_0), json!({"cniVersion": "1.0.0"}));
    assert_eq!(of(Version::V1_1_0), json!({"cniVersion": "1.1.0"}));
}

#[test]
fn an_index_that_points_nowhere_is_none() {
    let index = |value: Value| {
        let ip = json!({"ips": [{"interface": value, "address": "10.0.0.2/24"}]});
        Made::from_prev_result(&ip, Version::V1_0_0).map(|made| made.ips[0].interface)
    };
    assert_eq!(index(json!(-1)), Ok(None));
    assert_eq!(index(Value::Null), Ok(None));
    assert_eq!(index(json!(0)), Ok(Some(0)));
    for bad in [json!("0"), json!(0.5), json!(u64::MAX)] {
        assert_eq!(index(bad).unwrap_err().code, Failure::DECODE);
    }
}

#[test]
fn keys_in_any_case_and_texts_as_go_reads_them() {
    let value = json!({
        "CNIVersion": "", "Interfaces": [{"Name": "a", "MAC": "m", "Other": {"X": null}}],
        "IPS": [{"Address": "::ffff:10.0.0.2/120", "Gateway": ""}], "Routes": null,
    });
    let made = read(&value, Version::V1_0_0);
    assert_eq!((made.interfaces[0].name.as_str(), made.interfaces[0].mac.as_str()), ("a", "m"));
    assert_eq!(Value::Object(made.interfaces[0].rest.clone()), json!({"Other": {"X": null}}));
    assert_eq!(
        (made.ips[0].address.to_string().as_str(), made.ips[0].gateway),
        ("10.0.0.2/24", None)
    );
}

#[test]
fn an_error_names_the_place() {
    for (value, says) in [
        (
            json!({"ips": [{"address": "10.0.0.02/24"}]}),
            "prevResult: ips[0].address: \"10.0.0.02/24\"",
        ),
        (json!({"ips": [{}]}), "prevResult: ips[0]: missing field"),
        (json!({"routes": [{"dst": "x"}]}), "prevResult: routes[0].dst: "),
        (json!({"routes": [{"dst": "10.0.0.0/8", "scope": 256}]}), "prevResult: routes[0].scope: "),
        (json!({"interfaces": [{"name": 1}]}), "prevResult: interfaces[0]: name: "),
        (json!({"dns": {"search": "x"}}), "prevResult: dns.search: "),
    ] {
        let failure = Made::from_prev_result(&value, Version::V1_0_0).unwrap_err();
        assert_eq!(failure.code, Failure::DECODE, "{value}");
        assert!(failure.msg.starts_with(says), "{value}: {}", failure.msg);
    }
}

#[test]
fn what_delegates_answer() {
    for nothing in ["", "\n", "null", "{}"] {
        assert_eq!(Made::from_delegate(nothing.as_bytes(), Version::V1_0_0), Ok(Made::default()));
    }
    let current = r#"{"ips": [{"version": "4", "address": "10.0.0.2/24"}]}"#;
    let early = r#"{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}"#;
    for answer in [current, early] {
        let made = Made::from_delegate(answer.as_bytes(), Version::V0_4_0).unwrap();
        assert_eq!(made.ips[0].address.to_string(), "10.0.0.2/24", "{answer}");
    }
    for (bad, code) in [
        ("{", Failure::DECODE),
        ("[]", Failure::DECODE),
        (r#"{"cniVersion": "7"}"#, Failure::CONFIG),
    ] {
        assert_eq!(Made::from_delegate(bad.as_bytes(), Version::V0_4_0).unwrap_err().code, code);
    }
}
