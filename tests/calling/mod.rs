//! What the tests share: a host between the outside world and its containers, calls of the real
//! binary in it, and what must be left when all is down.

#![allow(dead_code, reason = "each test file needs its part of this")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use netns_fixtures::{Container, Dump, Lab, Node};
use netup::{Network, Outcome, Progress, Request, Target};
use serde_json::Value;

/// The program under test.
pub const NETUP: &str = env!("CARGO_BIN_EXE_netup");

/// How long something that takes milliseconds may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// How a call ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("what netup prints is UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}{}", self.code, self.stdout, self.stderr)
    }
}

/// Starts the call, whose output is read once it has ended.
pub fn started(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a call came to. One that hangs is ended and a failure.
#[track_caller]
pub fn ended(mut child: Child) -> Said {
    // Nothing that netup prints fills a pipe.
    if !holds_soon(|| child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
        panic!("a call hangs: {}", Said::from(child.wait_with_output().unwrap()));
    }
    child.wait_with_output().unwrap().into()
}

/// netup with these words, in the node, free of the caller's environment.
pub fn command(node: &Node, words: &[&str]) -> Command {
    let mut command = node.command(NETUP);
    clean(&mut command).args(words);
    command
}

/// Takes out of the environment what would change how netup behaves.
pub fn clean(command: &mut Command) -> &mut Command {
    let variables = ["NETUP_STATE_DIR", "NO_COLOR", "XDG_RUNTIME_DIR"];
    for variable in variables {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null())
}

/// Calls netup, whatever comes of it.
pub fn netup(node: &Node, words: &[&str]) -> Said {
    ended(started(&mut command(node, words)))
}

/// As [`netup`], with the words in one line: what it printed, or how it failed.
pub fn attempt(node: &Node, line: &str) -> Result<String, Said> {
    let said = netup(node, &line.split_whitespace().collect::<Vec<_>>());
    if said.code == Some(0) { Ok(said.stdout) } else { Err(said) }
}

/// Calls netup, which must succeed without a complaint, and returns what it printed.
#[track_caller]
pub fn done(node: &Node, words: &[&str]) -> String {
    let said = netup(node, words);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{words:?}: {said:?}");
    said.stdout
}

/// As [`done`], with `--json`: the one document.
#[track_caller]
pub fn document(node: &Node, words: &[&str]) -> Value {
    let text = done(node, &[words, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Calls netup, which must fail with this status, nothing on standard output and one line on
/// standard error. Returns the line without `netup: `.
#[track_caller]
pub fn refused(node: &Node, words: &[&str], code: i32) -> String {
    let said = netup(node, words);
    assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{words:?}: {said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    let line = said.stderr.strip_prefix("netup: ").unwrap_or_else(|| panic!("{said:?}"));
    line.trim_end().to_owned()
}

/// Says something that is to be seen when the test succeeds, too.
pub fn tell(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Where netup remembers what it did in this node.
pub fn state_folder(node: &Node) -> PathBuf {
    Path::new("/run/netup").join(cookie(node).to_string())
}

/// The number of the node's namespace.
pub fn cookie(node: &Node) -> u64 {
    netup::Target::open(&node.path().to_string_lossy()).unwrap().cookie()
}

/// The state of a host, with what netup remembers of it: all files, but neither the lock nor
/// folders, which mean nothing by themselves, nor whose turn it is in a pool.
pub fn remembered(node: &Node) -> Dump {
    let dump = Dump::of(node).unwrap().with_files(state_folder(node)).unwrap();
    dump.without("/lock 10").without("/pools/").without(" folder")
}

/// Forwarding brings each interface's switch with it, redirects, and the routers' anycast address.
pub fn without_forwarding(dump: Dump) -> Dump {
    dump.without("forwarding = ")
        .without("ip_forward = ")
        .without("accept_redirects = ")
        .without("type=anycast")
}

/// A host whose attachments are all gone, but for what may outlive them: forwarding, and the rules
/// without elements.
#[track_caller]
pub fn without_what_stays(node: &Node) -> Dump {
    let nft = node.nft_list().unwrap();
    assert!(!nft.contains("elements"), "the sets hold something: {nft}");
    without_forwarding(Dump::of(node).unwrap()).without_section("nft")
}

/// Pools remember which address is next; nothing else may be remembered.
#[track_caller]
pub fn assert_no_records(node: &Node) {
    for kind in ["attachments", "extensions", "claims", "bridges", "unfinished"] {
        let entries = fs::read_dir(state_folder(node).join(kind)).into_iter().flatten();
        let left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{kind} still holds {left:?}");
    }
}

/// Waits for what the kernel does behind one's back; false if it does not come about.
pub fn holds_soon(mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Waits until a node has no link of that name any more.
#[track_caller]
pub fn wait_until_gone(node: &Node, link: &str) {
    assert!(
        holds_soon(|| node.ip(&["link", "show", link]).is_err()),
        "{link} outlives its container"
    );
}

/// A host between the outside world and its containers.
pub struct World {
    pub lab: Lab,
    pub host: Node,
    pub outside: Node,
}

impl World {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (outside, host) = (lab.host("outside").unwrap(), lab.host("host").unwrap());
        lab.internet(&outside, &host).unwrap();
        Self { lab, host, outside }
    }

    pub fn container(&self, name: &str) -> Container {
        self.lab.container(name).unwrap()
    }

    /// One whose loopback is up: once it was, the kernel keeps 127.0.0.1.
    pub fn container_with_loopback(&self, name: &str) -> Container {
        let container = self.container(name);
        container.ip(&["link", "set", "lo", "up"]).unwrap();
        container
    }

    /// Calls netup on the host.
    pub fn netup(&self, line: &str) -> Result<String, Said> {
        attempt(&self.host, line)
    }

    #[track_caller]
    pub fn must(&self, line: &str) -> String {
        self.netup(line).unwrap_or_else(|said| panic!("netup {line}: {said}"))
    }

    #[track_caller]
    pub fn up(&self, container: &Container, arguments: &str) {
        self.must(&format!("up {} {arguments}", container.pid()));
    }

    #[track_caller]
    pub fn down(&self, container: &Container) {
        self.must(&format!("down {}", container.pid()));
    }
}

/// Attaches by the library. `watch` sees each step, and may interrupt.
pub fn attach(
    host: &Node,
    target: &str,
    network: &Network,
    replace: bool,
    watch: &mut (dyn FnMut() -> netup::Result<()> + Send),
) -> netup::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut watch = |_: &Progress<'_>| watch();
    let attach = || {
        let request = Request::new(Target::open(target)?, network.clone())?.replacing(replace);
        runtime.block_on(netup::attach_watched(&request, &mut watch))
    };
    host.run(attach).unwrap()
}

/// The string under a key of a JSON reply; of a list, the first.
pub fn value(json: &str, key: &str) -> String {
    let document: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    let value = if document.is_array() { &document[0][key] } else { &document[key] };
    let value = if value.is_array() { &value[0] } else { value };
    value.as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned()
}

/// Runs a script in the node, which must succeed.
#[track_caller]
pub fn shell(node: &Node, script: &str) -> String {
    let mut shell = node.command("/bin/sh");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = clean(&mut shell).env("PATH", path).args(["-ec", script]).output().unwrap();
    let said = Said::from(output);
    assert_eq!(said.code, Some(0), "{script}\n{said:?}");
    said.stdout
}

/// The one file below the folder whose name fits, such as a record.
pub fn file_below(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.file_name().is_some_and(|found| found == name) {
                return entry;
            }
        }
    }
    panic!("no {name} below {}", folder.display());
}
