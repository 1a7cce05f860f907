//! A host, a container on it, and calls of plugins as runtimes make them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use netns_fixtures::{Container, Dump, Lab, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::calling::{NETUP, clean, remembered, tell};

/// Every type, `netup` itself first.
pub use netns_fixtures::cni::NAMES as TYPES;
pub const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Calls of which the answer was judged, over all tests.
static CASES: AtomicUsize = AtomicUsize::new(0);

/// The versions that a type speaks.
pub fn spoken(plugin: &str) -> &'static [&'static str] {
    match plugin {
        "bandwidth" => &VERSIONS[2..],
        "firewall" => &VERSIONS[4..],
        _ => &VERSIONS,
    }
}

pub struct Bench {
    pub host: Node,
    pub container: Container,
    /// The plugins' folder, leases, and whatever else a case needs.
    pub folder: TempDir,
    _lab: Lab,
}

impl Bench {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
        // A loopback that was up once keeps its address.
        container.ip(&["link", "set", "lo", "up"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for plugin in TYPES {
            symlink(NETUP, folder.path().join(plugin)).unwrap();
        }
        // Where relative paths with any number of `..` that a case has still end in this folder.
        fs::create_dir_all(folder.path().join("a/b/c/d/e")).unwrap();
        Self { host, container, folder, _lab: lab }
    }

    /// As [`Bench::new`], with another container connected, so that neither rules nor forwarding can
    /// be what a call leaves.
    pub fn warm() -> Self {
        let bench = Self::new();
        let call = bench.call("netup", "ADD").env("CNI_CONTAINERID", "other");
        let call = call.env("CNI_IFNAME", "other0").with(&["masquerade"], &json!(true));
        let call = call.with(&["subnets"], &json!(["10.77.0.0/24", "fd77::/64"]));
        let call = call.with(&["name"], &json!("another-net"));
        call.run().succeeds("another container");
        // The rules that guard hardware addresses are a table of their own, which stays likewise.
        let guarded = |verb| bench.call("bridge", verb).with(&["macspoofchk"], &json!(true)).run();
        guarded("ADD").succeeds("a guarded port");
        assert_eq!(guarded("DEL").code(), Ok(None));
        bench
    }

    /// A configuration of this type that works, chained ones with a `prevResult`.
    pub fn conf(&self, plugin: &str, version: &str) -> Value {
        let mut conf = json!({"cniVersion": version, "name": "net", "type": plugin});
        let dir = self.folder.path().join("leases");
        let ipam = json!({
            "type": "host-local", "dataDir": dir,
            "ranges": [[{"subnet": "10.9.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
        });
        let further = match plugin {
            "netup" => json!({"subnets": ["10.9.0.0/24"]}),
            "bridge" => json!({"bridge": "br0", "isGateway": true, "ipam": ipam}),
            "ptp" | "host-local" => json!({"ipam": ipam}),
            "static" => {
                json!({"ipam": {"type": "static", "addresses": [{"address": "10.9.0.7/24"}]}})
            }
            "loopback" => json!({}),
            "portmap" => json!({
                "prevResult": self.prev_result(version),
                "runtimeConfig": {"portMappings": [
                    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                ]},
            }),
            _ => json!({"prevResult": self.prev_result(version)}),
        };
        conf.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        conf
    }

    /// What a plugin before could have made.
    pub fn prev_result(&self, version: &str) -> Value {
        let mut ip = json!({"interface": 0, "address": "10.9.0.2/24"});
        if version < "1.0.0" {
            ip["version"] = "4".into();
        }
        match version {
            "0.1.0" | "0.2.0" => json!({"cniVersion": version, "ip4": {"ip": "10.9.0.2/24"}}),
            _ => json!({
                "cniVersion": version,
                "interfaces": [{"name": "eth0", "sandbox": self.container.path()}],
                "ips": [ip],
            }),
        }
    }

    /// A call as it should be. Each case changes something of it.
    pub fn call(&self, plugin: &str, verb: &str) -> Call<'_> {
        let version = spoken(plugin).last().unwrap();
        let text = |text: &str| OsString::from(text);
        let env = BTreeMap::from([
            ("CNI_COMMAND", text(verb)),
            ("CNI_CONTAINERID", text("c1")),
            ("CNI_NETNS", self.container.path().into()),
            ("CNI_IFNAME", text("eth0")),
            ("CNI_PATH", self.folder.path().into()),
        ]);
        let conf = self.conf(plugin, version).to_string().into_bytes();
        Call { bench: self, plugin: plugin.to_owned(), env, stdin: Stdin::Text(conf), stdout: None }
    }

    /// Both sides, and all files: what netup remembers, leases.
    pub fn dump(&self) -> [Dump; 2] {
        let host = remembered(&self.host).with_files(self.folder.path()).unwrap();
        // Whose turn it is among addresses, and the folders and locks that outlive them.
        let host = host.without("last_reserved_ip").without("/lock ").without(" folder");
        [host, Dump::of(&self.container).unwrap()]
    }
}

enum Stdin {
    Text(Vec<u8>),
    File(PathBuf),
}

pub struct Call<'a> {
    bench: &'a Bench,
    plugin: String,
    env: BTreeMap<&'static str, OsString>,
    stdin: Stdin,
    stdout: Option<PathBuf>,
}

impl Call<'_> {
    pub fn env(mut self, key: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key, value.as_ref().to_owned());
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    pub fn conf(self, conf: &Value) -> Self {
        self.text(conf.to_string())
    }

    pub fn text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Text(text.into());
        self
    }

    pub fn stdin(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin = Stdin::File(path.into());
        self
    }

    pub fn stdout(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdout = Some(path.into());
        self
    }

    /// Sets a member of the configuration, by its path.
    pub fn with(mut self, path: &[&str], value: &Value) -> Self {
        let Stdin::Text(text) = &self.stdin else { panic!("no text") };
        let mut conf: Value = serde_json::from_slice(text).unwrap();
        let mut at = &mut conf;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[*key],
            };
        }
        *at = value.clone();
        self.stdin = Stdin::Text(conf.to_string().into_bytes());
        self
    }

    pub fn run(self) -> Answer {
        Answer::of(&self.start().wait_with_output().unwrap())
    }

    pub fn start(self) -> Child {
        CASES.fetch_add(1, Ordering::Relaxed);
        let folder = self.bench.folder.path();
        let mut command = self.bench.host.command(folder.join(&self.plugin));
        clean(&mut command).envs(&self.env).current_dir(folder.join("a/b/c/d/e"));
        command.stderr(Stdio::piped());
        match &self.stdout {
            Some(path) => command.stdout(File::options().write(true).open(path).unwrap()),
            None => command.stdout(Stdio::piped()),
        };
        command.stdin(match &self.stdin {
            Stdin::Text(text) => written(text, folder),
            Stdin::File(path) => File::open(path).unwrap(),
        });
        command.spawn().unwrap()
    }
}

/// A file with this text, and not a pipe, since a plugin may answer before it has read all.
fn written(text: &[u8], folder: &Path) -> File {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let path = folder.join(format!("stdin-{}", SERIAL.fetch_add(1, Ordering::Relaxed)));
    fs::write(&path, text).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file
}

#[derive(Debug)]
pub struct Answer {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { status: output.status.code(), stdout, stderr }
    }

    /// The one document on standard output.
    pub fn document(&self) -> Result<Value, String> {
        serde_json::from_str(&self.stdout).map_err(|e| format!("{e}: {self:?}"))
    }

    /// The code of a failure as the specification wants it told; `None` for success.
    pub fn code(&self) -> Result<Option<u64>, String> {
        if self.stderr.contains("panicked") {
            return Err(format!("panics: {self:?}"));
        }
        match self.status {
            Some(0) => Ok(None),
            Some(1) => self.failure().map(Some),
            _ => Err(format!("ends in another way: {self:?}")),
        }
    }

    fn failure(&self) -> Result<u64, String> {
        let document = self.document()?;
        let version = document["cniVersion"].as_str().unwrap_or_default();
        let has_msg = document["msg"].as_str().is_some_and(|msg| !msg.is_empty());
        let keys = document.as_object().map_or(0, |object| object.keys().count());
        let expected = if document.get("details").is_some() { 4 } else { 3 };
        match document["code"].as_u64() {
            // A mistake of ours, or a cause nobody has given a code.
            Some(0 | 199 | 999) | None => Err(format!("has no code of its own: {self:?}")),
            Some(_) if !has_msg || keys != expected || !VERSIONS.contains(&version) => {
                Err(format!("is no error document: {self:?}"))
            }
            Some(code) => Ok(code),
        }
    }

    #[track_caller]
    pub fn fails(&self, what: &str, code: u64) -> Value {
        match self.code() {
            Ok(Some(found)) if found == code => self.document().unwrap(),
            Ok(_) => panic!("{what}: expected code {code}: {self:?}"),
            Err(why) => panic!("{what}: {why}"),
        }
    }

    /// It succeeds without a word.
    #[track_caller]
    pub fn is_silent(&self, what: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (Some(0), ""), "{what}: {self:?}");
    }

    /// It succeeds with a document.
    #[track_caller]
    pub fn succeeds(&self, what: &str) -> Value {
        assert_eq!(self.status, Some(0), "{what}: {self:?}");
        self.document().unwrap()
    }
}

/// Fails with all that is amiss, and tells how many calls were judged by now.
#[track_caller]
pub fn settle(amiss: &[String]) {
    tell(&format!("{} protocol cases so far", CASES.load(Ordering::Relaxed)));
    assert!(amiss.is_empty(), "{} amiss:\n{}", amiss.len(), amiss.join("\n"));
}
