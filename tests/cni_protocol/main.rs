//! The plugin protocol through the real binary: each mistake has its code and changes nothing, and
//! whatever is sent, one document comes back.

#[path = "../calling/mod.rs"]
mod calling;

mod bench;
mod hostile;
mod results;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;

use bench::{Answer, Bench, TYPES, VERSIONS, settle, spoken};
use calling::NETUP;
use netns_fixtures::{assert_same, isolate};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

isolate!();

const ATTACHMENT_VERBS: [&str; 3] = ["ADD", "CHECK", "DEL"];

#[test]
fn every_wrong_environment_has_code_4() {
    let bench = Bench::new();
    let before = bench.dump();
    let missing = |names: &str| format!("required env variables [{names}] missing");
    let (id, netns, ifname, path) = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH");
    type Row<'a> = (&'a str, Vec<(&'static str, &'a str)>, String);
    let rows: Vec<Row<'_>> = vec![
        ("ADD", vec![(id, "")], missing(id)),
        ("ADD", vec![(netns, "")], missing(netns)),
        ("ADD", vec![(ifname, "")], missing(ifname)),
        ("ADD", vec![(path, "")], missing(path)),
        (
            "ADD",
            vec![(id, ""), (netns, ""), (ifname, ""), (path, "")],
            missing("CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ),
        ("CHECK", vec![(netns, ""), (path, "")], missing("CNI_NETNS,CNI_PATH")),
        ("CHECK", vec![(id, "")], missing(id)),
        ("DEL", vec![(id, ""), (netns, "")], missing(id)),
        ("DEL", vec![(ifname, ""), (path, "")], missing("CNI_IFNAME,CNI_PATH")),
        ("GC", vec![(path, "")], missing(path)),
        ("STATUS", vec![(path, "")], missing(path)),
    ];
    for plugin in TYPES {
        for (verb, changes, says) in &rows {
            let mut call = bench.call(plugin, verb);
            for (key, value) in changes {
                // Empty and absent are the same.
                call = if *key == path { call.without(key) } else { call.env(key, value) };
            }
            let document = call.run().fails(&format!("{plugin} {verb} {changes:?}"), 4);
            assert_eq!(document["msg"], **says, "{plugin} {verb}");
        }
    }
    let [host, container] = bench.dump();
    assert_same(&before[0], &host);
    assert_same(&before[1], &container);
    settle(&[]);
}

#[test]
fn names_that_cannot_be_have_code_4() {
    let bench = Bench::new();
    let ids = ["-a", ".", "..", "a/b", "../x", "a b", "a@b", "a:b", "é", "a\n", "_a", "a\u{1}"];
    let ifnames = [
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "a\tb",
        "a\n",
        "sixteen-bytes-xy",
        "a\u{a0}b",
        "ééééééééé",
    ];
    for plugin in TYPES {
        for verb in ATTACHMENT_VERBS {
            for id in ids {
                let answer = bench.call(plugin, verb).env("CNI_CONTAINERID", id).run();
                let document = answer.fails(&format!("{plugin} {verb} {id:?}"), 4);
                assert_eq!(document["details"], id);
            }
            for ifname in ifnames {
                let answer = bench.call(plugin, verb).env("CNI_IFNAME", ifname).run();
                answer.fails(&format!("{plugin} {verb} {ifname:?}"), 4);
            }
        }
        // The first mistake in the order of the variables is told, and before what is missing.
        let call = bench.call(plugin, "ADD").env("CNI_CONTAINERID", "a/b").env("CNI_IFNAME", "a:b");
        let document = call.without("CNI_NETNS").run().fails(plugin, 4);
        assert_eq!(document["msg"], "invalid characters in CNI_CONTAINERID");
    }
    settle(&[]);
}

#[test]
fn bytes_that_are_no_text_have_code_4() {
    let bench = Bench::new();
    let broken = OsString::from_vec(vec![b'a', 0xff]);
    for plugin in TYPES {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] {
            let keys = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_COMMAND"];
            for key in keys.into_iter().filter(|key| verb != "VERSION" || *key == "CNI_COMMAND") {
                let answer = bench.call(plugin, verb).env(key, &broken).run();
                answer.fails(&format!("{plugin} {verb} {key}"), 4);
            }
        }
    }
    settle(&[]);
}

#[test]
fn what_is_no_configuration_has_code_6() {
    let bench = Bench::new();
    let nested = format!("{{\"name\":\"n\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let texts: [&[u8]; 14] = [
        b"",
        b" \n",
        b"{",
        b"[]",
        b"1",
        b"\"x\"",
        b"{\"name\":\"n\"} x",
        b"{\"name\":\"n\"}{}",
        b"{\"name\":\"n\",}",
        b"{\"name\":1}",
        b"{\"name\":[\"n\"]}",
        b"{\"name\":\"\xff\"}",
        b"{\"name\":\"n\",\"x\":1e999}",
        nested.as_bytes(),
    ];
    for plugin in TYPES {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "NONSENSE"] {
            for text in texts {
                let answer = bench.call(plugin, verb).text(text).run();
                let what = format!("{plugin} {verb} {:.40}", String::from_utf8_lossy(text));
                answer.fails(&what, 6);
            }
        }
    }
    settle(&[]);
}

#[test]
fn a_network_without_a_proper_name_has_code_7() {
    let bench = Bench::new();
    let names = [
        Value::Null,
        json!(""),
        json!("-n"),
        json!("a/b"),
        json!(".."),
        json!("a b"),
        json!("a\u{0}"),
        json!("é"),
        json!("a:b"),
    ];
    for plugin in TYPES {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS", "NONSENSE"] {
            for name in &names {
                let answer = bench.call(plugin, verb).with(&["name"], name).run();
                answer.fails(&format!("{plugin} {verb} {name}"), 7);
            }
        }
        bench.call(plugin, "ADD").text("null").run().fails(plugin, 7);
        bench.call(plugin, "ADD").text("{}").run().fails(plugin, 7);
    }
    settle(&[]);
}

#[test]
fn versions_that_do_not_fit_have_code_1() {
    let bench = Bench::new();
    for plugin in TYPES {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            for version in ["0.0.1", "0.3.2", "1.2.0", "2.0.0", "1.1", "v1.1.0", "nonsense", " "] {
                let answer = bench.call(plugin, verb).with(&["cniVersion"], &json!(version)).run();
                let document = answer.fails(&format!("{plugin} {verb} {version}"), 1);
                assert_eq!(document["msg"], "incompatible CNI versions");
                let list = spoken(plugin).join(", ");
                let says = format!("config is \"{version}\", plugin supports [{list}]");
                assert_eq!(document["details"], *says);
            }
            let least = match verb {
                "CHECK" => "0.4.0",
                "GC" | "STATUS" => "1.1.0",
                _ => "0.0.0",
            };
            for version in VERSIONS {
                if spoken(plugin).contains(&version) && version >= least {
                    continue;
                }
                let answer = bench.call(plugin, verb).with(&["cniVersion"], &json!(version)).run();
                let document = answer.fails(&format!("{plugin} {verb} {version}"), 1);
                assert_eq!(document["cniVersion"], version);
            }
            let wrong = bench.call(plugin, verb).with(&["cniVersion"], &json!(1)).run();
            wrong.fails(&format!("{plugin} {verb} 1"), 6);
        }
    }
    // The first version is what a configuration without one has.
    for version in [json!(""), Value::Null] {
        let answer = bench.call("firewall", "ADD").with(&["cniVersion"], &version).run();
        assert_eq!(answer.fails("firewall", 1)["cniVersion"], "0.1.0");
        let answer = bench.call("bridge", "CHECK").with(&["cniVersion"], &version).run();
        assert_eq!(answer.fails("bridge", 1)["msg"], "config version does not allow CHECK");
    }
    settle(&[]);
}

#[test]
fn every_type_tells_its_versions() {
    let bench = Bench::new();
    for plugin in TYPES {
        for text in ["", "{", "{\"cniVersion\":\"0.3.1\"}"] {
            let call = bench.call(plugin, "VERSION").text(text).without("CNI_PATH");
            let call = call.without("CNI_CONTAINERID").without("CNI_NETNS").without("CNI_IFNAME");
            let answer = call.run();
            assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
            assert!(answer.stdout.ends_with('\n') && answer.stderr.is_empty(), "{answer:?}");
            let expected = json!({"cniVersion": "1.1.0", "supportedVersions": spoken(plugin)});
            assert_eq!(answer.succeeds(plugin), expected);
        }
    }
    settle(&[]);
}

#[test]
fn every_standard_name_introduces_itself() {
    let bench = Bench::new();
    for plugin in &TYPES[1..] {
        for call in [bench.call(plugin, ""), bench.call(plugin, "").without("CNI_COMMAND")] {
            let answer = call.run();
            answer.is_silent(plugin);
            let version = env!("CARGO_PKG_VERSION");
            let list = spoken(plugin).join(", ");
            let expected = format!(
                "CNI {plugin} plugin v1.9.1+netup.{version}\nCNI protocol versions supported: {list}\n"
            );
            assert_eq!(answer.stderr, expected);
        }
    }
    let answer = bench.call("netup", "").run();
    assert_eq!((answer.status, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
    assert!(answer.stderr.starts_with("netup: nothing is asked for"), "{answer:?}");
    settle(&[]);
}

/// A person has the variable exported, and gives arguments.
#[test]
fn a_person_is_no_runtime() {
    let bench = Bench::new();
    let mut command = bench.host.command(NETUP);
    let output = calling::clean(&mut command).env("CNI_COMMAND", "ADD").arg("ls").output().unwrap();
    let said = calling::Said::from(output);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
}

#[test]
fn unknown_verbs_have_code_4_once_the_configuration_is_read() {
    let bench = Bench::new();
    for plugin in TYPES {
        for verb in ["NONSENSE", "add", "Add", " ADD", "ADD ", "UPDATE", "é"] {
            // Nothing but the verb is needed to refuse it.
            let call = bench.call(plugin, verb).without("CNI_PATH").without("CNI_NETNS");
            let document = call.without("CNI_IFNAME").run().fails(&format!("{plugin} {verb}"), 4);
            assert_eq!(document["msg"], *format!("unknown CNI_COMMAND: {verb}"));
        }
    }
    settle(&[]);
}

#[test]
fn streams_that_fail() {
    let bench = Bench::new();
    for plugin in TYPES {
        for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
            let folder = bench.folder.path().to_owned();
            bench.call(plugin, verb).stdin(folder).run().fails(plugin, 5);
        }
        let long = format!("{{\"name\":\"n\",\"x\":\"{}\"}}", "x".repeat(17 << 20));
        bench.call(plugin, "ADD").text(long).run().fails(plugin, 6);
    }
    // What cannot be told is taken back.
    bench.container.ip(&["link", "set", "lo", "down"]).unwrap();
    let answer = bench.call("loopback", "ADD").stdout("/dev/full").run();
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert!(!bench.container.ip(&["link", "show", "lo"]).unwrap().contains(",UP"));
    let answer = bench.call("host-local", "ADD").stdout("/dev/full").run();
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert!(!bench.folder.path().join("leases/net/10.9.0.2").exists());
    let answer = bench.call("bridge", "VERSION").stdout("/dev/full").run();
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let answer = bench.call("bridge", "NONSENSE").stdout("/dev/full").run();
    assert_eq!(answer.status, Some(1), "{answer:?}");
    settle(&[]);
}

/// The host would lose its own interfaces: it gets code 8, at ADD before and at DEL after the work,
/// and nothing in the namespace is touched.
#[test]
fn the_own_namespace_has_code_8() {
    let bench = Bench::new();
    bench.host.ip(&["link", "add", "eth0", "type", "bridge"]).unwrap();
    bench.host.ip(&["link", "set", "eth0", "up"]).unwrap();
    let before = bench.dump();
    let own = bench.host.path().to_owned();
    for plugin in TYPES {
        for verb in ["ADD", "DEL"] {
            for path in [own.as_os_str(), "/proc/self/ns/net".as_ref()] {
                bench.call(plugin, verb).env("CNI_NETNS", path).run().fails(plugin, 8);
            }
        }
    }
    let [host, container] = bench.dump();
    assert_same(&before[0], &host);
    assert_same(&before[1], &container);
    for value in ["1", "true", "TRUE", "True"] {
        let call = bench.call("loopback", "ADD").env("CNI_NETNS", &own);
        call.env("CNI_NETNS_OVERRIDE", value).run().succeeds(value);
    }
    for value in ["0", "yes", ""] {
        let call = bench.call("loopback", "ADD").env("CNI_NETNS", &own);
        call.env("CNI_NETNS_OVERRIDE", value).run().fails(value, 8);
    }
    settle(&[]);
}

/// A container that is gone, or never was, is no reason to fail.
#[test]
fn del_succeeds_whatever_is_gone() {
    let bench = Bench::new();
    let before = bench.dump();
    let plain = bench.folder.path().join("a/plain");
    fs::write(&plain, "").unwrap();
    let netns = ["", "/run/netns/gone", plain.to_str().unwrap(), "/proc/77777777/ns/net"];
    for plugin in TYPES {
        for version in spoken(plugin) {
            let mut conf = bench.conf(plugin, version);
            let call = || bench.call(plugin, "DEL");
            call().conf(&conf).run().is_silent(&format!("{plugin} {version}"));
            for path in netns {
                let call = call().conf(&conf).env("CNI_NETNS", path);
                call.run().is_silent(&format!("{plugin} {version} {path}"));
            }
            for broken in [json!("x"), json!({"cniVersion": "9"}), json!({"ips": 1}), json!({})] {
                conf["prevResult"] = broken;
                call().conf(&conf).run().is_silent(&format!("{plugin} {version} {conf}"));
            }
            conf.as_object_mut().unwrap().remove("prevResult");
            call().conf(&conf).run().is_silent(&format!("{plugin} {version} without"));
        }
    }
    fs::remove_file(&plain).unwrap();
    // `loopback` sets lo down, as it should.
    bench.container.ip(&["link", "set", "lo", "up"]).unwrap();
    let [host, container] = bench.dump();
    assert_same(&before[0], &host);
    assert_same(&before[1], &container);
    settle(&[]);
}

/// An ADD whose container cannot be opened takes nothing, and says so with the specification's code.
#[test]
fn a_container_that_is_not_there() {
    let bench = Bench::new();
    let before = bench.dump();
    for plugin in TYPES {
        // Address managers have no business in the namespace, and these two work on the host.
        if ["host-local", "static", "portmap", "firewall"].contains(&plugin) {
            continue;
        }
        for (path, code) in [("/run/netns/gone", 3), ("/dev/null", 4), ("/proc/self/ns/mnt", 4)] {
            let conf = match plugin {
                // Without a limit or a value there is nothing to do.
                "bandwidth" => bench
                    .call(plugin, "ADD")
                    .with(&["ingressRate"], &json!(8_000_000))
                    .with(&["ingressBurst"], &json!(8_000_000)),
                "tuning" => bench.call(plugin, "ADD").with(&["mtu"], &json!(1400)),
                _ => bench.call(plugin, "ADD"),
            };
            conf.env("CNI_NETNS", path).run().fails(&format!("{plugin} {path}"), code);
        }
    }
    let [host, container] = bench.dump();
    assert_same(&before[0], &host);
    assert_same(&before[1], &container);
    settle(&[]);
}

/// An end half-way would leave work for somebody else: what has begun is finished and told.
#[test]
fn a_signal_waits_until_the_work_is_done() {
    let bench = Bench::new();
    let leases = bench.folder.path().join("leases/net");
    fs::create_dir_all(&leases).unwrap();
    let lock = File::create(leases.join("lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let child = bench.call("bridge", "ADD").start();
    let waits =
        || fs::read_to_string("/proc/locks").unwrap().contains(&format!(" {} ", child.id()));
    assert!(calling::holds_soon(waits), "the plugin does not wait for the lock");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }
    drop(lock);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.signal().is_some(), "{output:?}");
    let made = Answer::of(&output).document().unwrap();
    let address = made["ips"][0]["address"].as_str().unwrap();
    assert!(bench.container.ip(&["address", "show", "eth0"]).unwrap().contains(address));
    bench.call("bridge", "DEL").run().is_silent("DEL");
    assert!(bench.container.ip(&["link", "show", "eth0"]).is_err());
}

#[test]
fn prev_results_that_do_not_fit() {
    let bench = Bench::new();
    for plugin in TYPES {
        for verb in ["ADD", "CHECK"] {
            for (prev, code) in [
                (json!("x"), 6),
                (json!([]), 6),
                (json!(1), 6),
                (json!({"ips": {}}), 6),
                (json!({"ips": [{"address": "10.0.0.1"}]}), 6),
                (json!({"ips": [{"address": "10.0.0.01/24"}]}), 6),
                (json!({"interfaces": [1]}), 6),
                (json!({"routes": [{"dst": "x"}]}), 6),
                (json!({"cniVersion": 1}), 6),
                (json!({"cniVersion": "0.4.0"}), 7),
                (json!({"cniVersion": "9.9.9"}), 7),
            ] {
                let answer = bench.call(plugin, verb).with(&["prevResult"], &prev).run();
                answer.fails(&format!("{plugin} {verb} {prev}"), code);
            }
        }
    }
    settle(&[]);
}
