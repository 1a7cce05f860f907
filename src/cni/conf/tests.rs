use std::collections::BTreeMap;
use std::io;

use serde_json::json;

use super::*;

fn received(text: &str) -> Result<Received, Failure> {
    Received::read(text.as_bytes())
}

#[track_caller]
fn conf(value: &Value) -> Conf {
    received(&value.to_string()).unwrap().of_version(Version::V1_0_0).unwrap()
}

#[test]
fn what_is_no_configuration() {
    let nested = "[".repeat(10_000);
    let closed = format!("{{\"a\":{nested}{}}}", "]".repeat(10_000));
    for text in [
        "",
        " ",
        "{",
        "[]",
        "1",
        "\"x\"",
        "{\"a\":1}x",
        "{\"a\":1e999}",
        "\u{feff}{}",
        &nested,
        &closed,
    ] {
        assert_eq!(received(text).unwrap_err().code, Failure::DECODE, "{text:.40}");
    }
    assert_eq!(Received::parse(b"{\"name\":\"\xff\"}".to_vec()).unwrap_err().code, Failure::DECODE);
    let long = io::repeat(b' ');
    assert_eq!(Received::read(long).unwrap_err().code, Failure::DECODE);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}

#[test]
fn what_cannot_be_read() {
    let failure = Received::read(Broken).unwrap_err();
    assert_eq!(failure.code, Failure::IO);
    assert!(failure.msg.contains("broken"), "{}", failure.msg);
}

#[test]
fn names() {
    for (text, code) in [
        ("null", Failure::CONFIG),
        ("{}", Failure::CONFIG),
        (r#"{"name": null}"#, Failure::CONFIG),
        (r#"{"name": ""}"#, Failure::CONFIG),
        (r#"{"name": "a/b"}"#, Failure::CONFIG),
        (r#"{"name": ".."}"#, Failure::CONFIG),
        (r#"{"name": "a\u0000"}"#, Failure::CONFIG),
        (r#"{"name": 1}"#, Failure::DECODE),
    ] {
        assert_eq!(received(text).unwrap().name().unwrap_err().code, code, "{text}");
    }
    assert_eq!(received(r#"{"NAME": "a", "Name": "b_.-1"}"#).unwrap().name().unwrap(), "b_.-1");
}

#[test]
fn versions() {
    assert_eq!(received("{}").unwrap().version().unwrap(), "");
    assert_eq!(received(r#"{"CNIVERSION": "0.4.0"}"#).unwrap().version().unwrap(), "0.4.0");
    let failure = received(r#"{"cniVersion": 1}"#).unwrap();
    assert_eq!(failure.version().unwrap_err().code, Failure::DECODE);
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    mac: String,
    bandwidth: BTreeMap<String, u64>,
}

#[test]
fn what_the_runtime_and_the_operator_add() {
    let conf = conf(&json!({
        "name": "n", "RuntimeConfig": {"MAC": "x", "bandWidth": {"ingressRate": 1}},
        "ARGS": {"Cni": {"mac": "y"}},
    }));
    assert_eq!(conf.runtime_config::<Runtime>().unwrap().bandwidth["ingressRate"], 1);
    assert_eq!(conf.cni_args::<Runtime>().unwrap().mac, "y");
}

#[test]
fn absent_parts_are_as_empty_ones() {
    for value in [
        json!({"name": "n"}),
        json!({"name": "n", "runtimeConfig": null, "args": null}),
        json!({"name": "n", "runtimeConfig": {}, "args": {}}),
        json!({"name": "n", "args": {"cni": null, "org": 1}}),
    ] {
        let conf = conf(&value);
        assert_eq!(conf.runtime_config::<Runtime>().unwrap(), Runtime::default());
        assert_eq!(conf.cni_args::<Runtime>().unwrap(), Runtime::default());
    }
}

#[test]
fn an_error_names_the_part() {
    let conf = conf(&json!({
        "name": "n", "runtimeConfig": {"bandwidth": {"a": -1}}, "args": {"cni": [],},
        "cni.dev/valid-attachments": [{"containerID": "a"}],
    }));
    let failure = conf.runtime_config::<Runtime>().unwrap_err();
    assert_eq!(failure.code, Failure::DECODE);
    assert!(failure.msg.starts_with("runtimeConfig: bandwidth.a: "), "{}", failure.msg);
    assert!(conf.cni_args::<Runtime>().unwrap_err().msg.starts_with("args.cni: "));
    let failure = conf.valid_attachments().unwrap_err();
    assert!(failure.msg.starts_with("cni.dev/valid-attachments: [0]"), "{}", failure.msg);
}

#[test]
fn valid_attachments() {
    let one = json!([{"containerID": "a", "ifname": "eth0"}]);
    let expected = Some(vec![("a".to_owned(), "eth0".to_owned())]);
    for (value, expected) in [
        (json!({"name": "n"}), None),
        (json!({"name": "n", "cni.dev/valid-attachments": null}), None),
        (json!({"name": "n", "cni.dev/valid-attachments": []}), Some(vec![])),
        (json!({"name": "n", "cni.dev/valid-attachments": one}), expected.clone()),
        (json!({"name": "n", "CNI.dev/Attachments": one}), expected),
    ] {
        assert_eq!(conf(&value).valid_attachments().unwrap(), expected, "{value}");
    }
}

#[test]
fn prev_results() {
    let of = |prev: Value| {
        let text = json!({"name": "n", "prevResult": prev}).to_string();
        received(&text).unwrap().of_version(Version::V1_0_0).map(|conf| conf.prev_result)
    };
    assert_eq!(of(Value::Null).unwrap(), None);
    assert_eq!(of(json!({})).unwrap(), Some(Made::default()));
    assert!(of(json!({"ips": [{"address": "10.0.0.1/8"}]})).unwrap().is_some());
    for (prev, code) in [
        (json!("x"), Failure::DECODE),
        (json!([]), Failure::DECODE),
        (json!({"ips": {}}), Failure::DECODE),
        (json!({"cniVersion": 1}), Failure::DECODE),
        (json!({"cniVersion": "0.4.0"}), Failure::CONFIG),
        (json!({"cniVersion": "9.9.9"}), Failure::CONFIG),
    ] {
        assert_eq!(of(prev.clone()).unwrap_err().code, code, "{prev}");
    }
}
