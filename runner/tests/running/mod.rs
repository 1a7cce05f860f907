//! What the tests of runs share: the ground for this program, and containers that stay.

#![allow(dead_code, reason = "each test file needs its part of this")]

use std::fs;
use std::time::{Duration, Instant};

use netns_fixtures::program::{self, Ended, Started};
use netns_fixtures::runner::{Ground, Root, Runner};
use nix::sys::signal::Signal;

/// How long something that takes milliseconds may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Ground for tests that run beside others.
#[track_caller]
pub fn ground() -> Ground {
    Ground::new(env!("CARGO_BIN_EXE_netup-run")).expect("the ground")
}

/// Ground for tests that look at what others would change.
#[track_caller]
pub fn alone() -> Ground {
    Ground::alone(env!("CARGO_BIN_EXE_netup-run")).expect("the ground")
}

/// Runs a line of the container's shell.
#[track_caller]
pub fn shell(runner: &Runner, options: &[&str], root: &Root, script: &str) -> Ended {
    let path = root.path().to_str().expect("a path in plain letters");
    let words = [&["run"], options, &[path, "/bin/sh", "-c", script]].concat();
    runner.run(&words).expect("a run that ends")
}

/// The runner with these words, executed by a shell of the host's: it is `"$@"` in the script.
#[track_caller]
pub fn through_a_shell(ground: &Ground, runner: &Runner, script: &str, words: &[&str]) -> Ended {
    let prepared = runner.command(words).expect("a command");
    let mut shell = ground.host().command("/bin/sh");
    shell.args(["-c", script, "sh"]).arg(prepared.get_program()).args(prepared.get_args());
    shell.env_clear().env("PATH", "/usr/bin:/bin");
    shell.envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    program::run(shell, b"", PATIENCE).expect("a run that ends")
}

/// A container that runs until it gets SIGTERM.
#[derive(Debug)]
pub struct Staying {
    /// The runner.
    pub runner: Started,
}

impl Staying {
    /// Starts one and waits until its command runs.
    #[track_caller]
    pub fn start(runner: &Runner, options: &[&str], root: &Root) -> Self {
        let mut started = runner.start_probe(options, root, &["signals", "15"]).expect("a start");
        started.await_line("ready", PATIENCE).expect("a container that runs");
        Self { runner: started }
    }

    /// The processes of the container as the host numbers them, first the container's PID 1.
    pub fn pids(&self) -> Vec<u32> {
        let mut found = children(self.runner.pid());
        // For its first millisecond another process of the runner's is there, outside.
        found.truncate(1);
        let mut next = 0;
        while next < found.len() {
            found.extend(children(found[next]));
            next += 1;
        }
        found
    }

    /// Ends it as its caller would.
    #[track_caller]
    pub fn end(self) -> Ended {
        self.runner.signal(Signal::SIGTERM).expect("a signal to the runner");
        self.runner.finish(PATIENCE).expect("a container that ends")
    }
}

/// The processes that this one has started.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether a process runs; one that only waits for its parent does not.
pub fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, tail)| tail.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Waits until something holds.
#[track_caller]
pub fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
