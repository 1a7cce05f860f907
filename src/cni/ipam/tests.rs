//! Who is asked for addresses, and what becomes of the answers of a foreign plugin. The plugins
//! here are shell scripts in a folder of their own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::*;
use crate::cni::conf::Conf;
use crate::cni::env::Env;
use crate::cni::version::Version;

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A world whose plugin `foreign` is this script. It notes its verbs and its input.
    fn with_script(script: &str) -> Self {
        let world = Self::new();
        let log = world.path("verbs").display().to_string();
        let input = world.path("input").display().to_string();
        let text = format!("#!/bin/sh\necho $CNI_COMMAND >>{log}\ncat >{input}\n{script}\n");
        world.install("foreign", &text);
        world
    }

    fn install(&self, name: &str, text: &str) {
        // Written under another name, so that no other test's child has it open for writing.
        let (unfinished, path) = (self.path("unfinished"), self.path(name));
        fs::write(&unfinished, text).unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&unfinished, &path).unwrap();
    }

    fn call(&self, ipam: Value) -> Call {
        self.call_in(Version::V1_0_0, ipam)
    }

    fn call_in(&self, version: Version, ipam: Value) -> Call {
        let document = json!({"cniVersion": version.as_str(), "name": "net", "ipam": ipam});
        let env = Env {
            container_id: "c1".into(),
            ifname: "eth0".into(),
            path: vec![self.path("nowhere"), self.folder.path().to_owned()],
            ..Env::default()
        };
        let text = document.to_string().into_bytes();
        let document: Map<String, Value> = document.as_object().unwrap().clone();
        let conf = Conf { version, name: "net".into(), document, text, prev_result: None };
        Call { plugin: "bridge", env, conf }
    }

    fn foreign(&self) -> Call {
        self.call(json!({"type": "foreign", "key": "value"}))
    }

    fn verbs(&self) -> String {
        let text = fs::read_to_string(self.path("verbs")).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Answers an ADD with this, and all else with nothing.
fn answering(text: &str) -> String {
    format!("if [ $CNI_COMMAND = ADD ]; then cat <<'END'\n{text}\nEND\nfi")
}

#[test]
fn without_a_name_nobody_is_asked() {
    let world = World::new();
    for ipam in [json!({}), json!({"type": ""}), json!({"type": null}), Value::Null] {
        let call = world.call(ipam.clone());
        assert!(!configured(&call), "{ipam}");
        let failure = add(&call).unwrap_err();
        assert_eq!((failure.code, failure.msg.as_str()), (7, "no plugin name provided"), "{ipam}");
    }
    for (ipam, code) in [
        (json!({"type": "../foreign"}), 7),
        (json!({"type": "/bin/sh"}), 7),
        (json!({"type": 5}), 6),
        (json!("host-local"), 6),
    ] {
        let call = world.call(ipam.clone());
        assert!(configured(&call));
        assert_eq!(add(&call).unwrap_err().code, code, "{ipam}");
    }
}

#[test]
fn what_is_not_found_is_told_with_where_it_was_looked_for() {
    let world = World::new();
    let failure = add(&world.foreign()).unwrap_err();
    let folder = world.folder.path().display();
    let message = format!("failed to find plugin \"foreign\" in path [{folder}/nowhere {folder}]");
    assert_eq!((failure.code, failure.msg), (108, message));
}

#[test]
fn our_own_types_run_in_this_process_whether_they_are_found_or_not() {
    let world = World::new();
    let provider = |name: &str| Provider::of(&world.call(json!({"type": name}))).unwrap();
    assert_eq!(provider("host-local"), Provider::HostLocal);
    assert_eq!(provider("static"), Provider::Static);
    symlink("/proc/self/exe", world.path("host-local")).unwrap();
    fs::copy("/proc/self/exe", world.path("static")).unwrap();
    assert_eq!(provider("host-local"), Provider::HostLocal);
    assert_eq!(provider("static"), Provider::Static);
    // Another program of the name is what the administrator has put there.
    world.install("static", "#!/bin/sh\n");
    assert_eq!(provider("static"), Provider::Foreign(world.path("static")));
    // What is this program but gives out no addresses would ask itself, and so on for ever.
    symlink("/proc/self/exe", world.path("bridge")).unwrap();
    let failure = add(&world.call(json!({"type": "bridge"}))).unwrap_err();
    assert_eq!((failure.code, failure.msg.contains("\"bridge\"")), (7, true), "{failure:?}");
}

#[test]
fn a_foreign_plugin_gets_the_whole_configuration_and_its_answer_is_taken() {
    let answer = r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24",
        "gateway": "10.0.0.1"}], "routes": [{"dst": "0.0.0.0/0"}], "dns": {"domain": "x"}}"#;
    let world = World::with_script(&answering(answer));
    let call = world.foreign();
    let made = add(&call).unwrap();
    assert_eq!(made.ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(made.ips[0].gateway.unwrap().to_string(), "10.0.0.1");
    assert_eq!((made.routes.len(), made.dns.domain.as_str()), (1, "x"));
    assert_eq!(fs::read(world.path("input")).unwrap(), call.conf.text);
    check(&call).unwrap();
    status(&call).unwrap();
    gc(&call).unwrap();
    del(&call).unwrap();
    assert_eq!(world.verbs(), "ADD CHECK STATUS GC DEL");
}

#[test]
fn an_answer_without_a_version_is_of_the_configuration_s() {
    let early = answering(r#"{"ip4": {"ip": "10.0.0.2/24"}, "dns": {}}"#);
    let world = World::with_script(&early);
    let made = add(&world.call_in(Version::V0_2_0, json!({"type": "foreign"}))).unwrap();
    assert_eq!(made.ips[0].address.to_string(), "10.0.0.2/24");
}

#[test]
fn a_failure_keeps_the_plugin_s_words_and_is_followed_by_del() {
    let told = r#"{"code": 123, "msg": "no server", "details": "port 67"}"#;
    for (script, code, message) in [
        (format!("echo '{told}'; exit 1"), 123, "no server"),
        ("echo cannot >&2; exit 2".to_owned(), 115, "netplugin failed: cannot"),
        ("exit 3".to_owned(), 115, "no error message: exit status: 3"),
        ("kill -9 $$".to_owned(), 115, "signal: 9"),
        ("echo nonsense; exit 1".to_owned(), 115, "failed: nonsense"),
    ] {
        let world = World::with_script(&format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}"));
        let failure = add(&world.foreign()).unwrap_err();
        assert_eq!(failure.code, code, "{script}: {failure:?}");
        assert!(failure.msg.contains(message), "{script}: {failure:?}");
        assert_eq!(world.verbs(), "ADD DEL", "{script}");
        assert_eq!(check(&world.foreign()).unwrap_err().code, code);
        del(&world.foreign()).unwrap();
    }
    let world = World::with_script(&format!("echo '{told}'; exit 1"));
    let failure = add(&world.foreign()).unwrap_err();
    assert_eq!(failure.details, "port 67");
    assert_eq!(del(&world.foreign()).unwrap_err().code, 123);
}

#[test]
fn an_answer_without_an_address_is_none() {
    for answer in ["null", "", "{}", r#"{"cniVersion": "1.0.0", "ips": []}"#] {
        let world = World::with_script(&answering(answer));
        let failure = add(&world.foreign()).unwrap_err();
        assert_eq!(
            (failure.code, failure.msg.as_str()),
            (7, "IPAM plugin returned missing IP config"),
            "{answer:?}"
        );
        assert_eq!(world.verbs(), "ADD DEL");
    }
    for answer in ["[", "[]", "5", r#"{"ips": 5}"#, r#"{"ips": [{"address": "x"}]}"#] {
        let world = World::with_script(&answering(answer));
        assert_eq!(add(&world.foreign()).unwrap_err().code, 6, "{answer:?}");
        assert_eq!(world.verbs(), "ADD DEL");
    }
}

#[test]
fn neither_side_waits_for_the_other_s_full_pipe() {
    let world = World::new();
    let long = "x".repeat(1 << 20);
    // Talks much before it listens.
    let script = "head -c 1000000 /dev/zero | tr '\\0' ' '; cat >/dev/null; \
                  echo '{\"ips\": [{\"address\": \"10.0.0.2/24\"}]}'";
    world.install("foreign", &format!("#!/bin/sh\n{script}\n"));
    assert_eq!(add(&world.call(json!({"type": "foreign", "long": long}))).unwrap().ips.len(), 1);
    // Never listens.
    world.install(
        "foreign",
        "#!/bin/sh\nexec 0<&-\necho '{\"ips\": [{\"address\": \"10.0.0.2/24\"}]}'\n",
    );
    assert_eq!(add(&world.call(json!({"type": "foreign", "long": long}))).unwrap().ips.len(), 1);
}

#[test]
fn one_that_is_being_installed_is_waited_for() {
    let world = World::new();
    fs::copy("/bin/true", world.path("foreign")).unwrap();
    let busy = fs::File::options().append(true).open(world.path("foreign")).unwrap();
    let call = world.foreign();
    thread::scope(|scope| {
        let done = scope.spawn(|| status(&call));
        thread::sleep(Duration::from_millis(300));
        assert!(!done.is_finished());
        drop(busy);
        done.join().unwrap().unwrap();
    });
}

#[test]
fn what_cannot_be_run_is_an_error() {
    let world = World::new();
    fs::File::create(world.path("foreign")).unwrap().write_all(b"nonsense").unwrap();
    let failure = del(&world.foreign()).unwrap_err();
    assert_eq!(failure.code, 5);
    assert!(failure.msg.contains("foreign"), "{failure:?}");
}
