//! Starts that do not come to an end by themselves.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netns_fixtures::program::Started;
use netns_fixtures::runner::{Ground, Root, Runner};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use super::running::{PATIENCE, Staying, alone, children, soon};

const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// A mount that keeps whoever looks into it, as one of a server that has gone: nobody answers the
/// kernel's requests for its files.
struct DeadMount {
    path: PathBuf,
    _unanswered: File,
}

impl DeadMount {
    fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
        let (kind, options) = (Some("fuse"), Some(options.as_str()));
        mount(kind, &path, kind, MsFlags::empty(), options).unwrap();
        Self { path, _unanswered: fuse }
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A shell script in place of a program of the host's.
struct Instead(&'static str);

/// Never comes to an end.
const STUCK: &str = "exec sleep 1000";

impl Instead {
    fn of(program: &'static str, ground: &Ground, script: &str) -> Self {
        let path = ground.folder().join("instead");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        mount(Some(&path), program, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        Self(program)
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Starts what hangs with this many processes of the runner's.
#[track_caller]
fn hanging(runner: &Runner, words: &[&str], processes: usize) -> Started {
    let mut started = runner.start(words).unwrap();
    soon("the start", || children(started.pid()).len() == processes);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!started.has_ended().unwrap(), "{:?}", started.said());
    started
}

#[track_caller]
fn expect_interrupted(started: Started, signal: Signal) {
    let sent = Instant::now();
    started.signal(signal).unwrap();
    let ended = started.finish(PATIENCE).unwrap();
    let took = sent.elapsed();
    let said = format!("netup-run: {signal} ended the start: the command was not run\n");
    assert_eq!((ended.code, ended.stderr), (Some(128 + signal as i32), said));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// Each signal ends it, and nothing is left.
#[track_caller]
fn each_ends(ground: &Ground, runner: &Runner, words: &[&str], processes: usize) {
    let before = ground.dump(runner).unwrap();
    for signal in ENDING {
        let started = hanging(runner, words, processes);
        // These do not end it, and are for a command that does not come.
        started.signal(Signal::SIGWINCH).unwrap();
        started.signal(Signal::SIGUSR1).unwrap();
        expect_interrupted(started, signal);
        ground.expect_unchanged(runner, &before);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn one_whose_mounts_hang_is_ended_by_a_signal() {
    let ground = alone();
    let (runner, root) = (ground.runner(), ground.minimal().unwrap());
    let dead = DeadMount::at(ground.folder().join("dead"));
    runner.probe(&["-q"], &root, &["exit", "0"]).unwrap();
    let bind = format!("{}/x:/x", text(&dead.path));
    let words = ["-q", "-v", &bind, text(root.path()), "/probe", "exit", "0"];
    each_ends(&ground, &runner, &[&["run"], &words[..]].concat(), 2);
    each_ends(&ground, &runner, &[&["run", "--no-init"], &words[..]].concat(), 1);
}

#[test]
fn one_whose_command_hangs_is_ended_by_a_signal_in_run_and_in_exec() {
    let ground = alone();
    let user = ground.user().unwrap();
    let root = Root::minimal(user.home.join("root")).unwrap().owned_by(&user).unwrap();
    // Below the base itself, so that nobody looks into it before the command is executed.
    let dead = DeadMount::at(root.at("dead"));
    for runner in [ground.runner(), ground.runner_of(&user)] {
        let direct = ["-q", "--writes", "direct"];
        runner.probe(&direct, &root, &["exit", "0"]).unwrap();
        let words = [&["run"], &direct[..], &[text(root.path()), "/dead/command"]].concat();
        // With the one that has detached the old root, which is reaped later.
        each_ends(&ground, &runner, &words, 2);
        let staying =
            Staying::start(&runner, &[&direct[..], &["--name", "entered"]].concat(), &root);
        each_ends(&ground, &runner, &["exec", "entered", "/dead/command"], 1);
        assert_eq!(staying.end().code, Some(0));
    }
    drop(dead);
}

#[test]
fn one_whose_helper_hangs_is_ended_by_a_signal() {
    let ground = alone();
    let user = ground.user().unwrap();
    let (runner, root) =
        (ground.runner_of(&user), ground.minimal().unwrap().owned_by(&user).unwrap());
    runner.probe(&[], &root, &["exit", "0"]).unwrap();
    let command = [text(root.path()), "/probe", "exit", "0"];
    for program in ["/usr/bin/newgidmap", "/usr/bin/newuidmap"] {
        let _stuck = Instead::of(program, &ground, STUCK);
        each_ends(&ground, &runner, &[&["run"], &command[..]].concat(), 3);
    }
    for (net, program) in [("pasta", "/usr/bin/pasta"), ("slirp4netns", "/usr/bin/slirp4netns")] {
        let _stuck = Instead::of(program, &ground, STUCK);
        each_ends(&ground, &runner, &[&["run", "--net", net], &command[..]].concat(), 3);
    }
}

#[test]
fn a_signal_that_does_not_end_a_start_is_for_the_command() {
    let ground = alone();
    let user = ground.user().unwrap();
    let runner = ground.runner_of(&user);
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    let (own, flag) = (ground.folder().join("pasta"), ground.folder().join("go"));
    fs::copy("/usr/bin/pasta", &own).unwrap();
    let script =
        format!("until [ -e {} ]; do sleep 0.01; done; exec {} \"$@\"", text(&flag), text(&own));
    let _late = Instead::of("/usr/bin/pasta", &ground, &script);
    let words = ["run", "--net", "pasta", text(root.path()), "/bin/sleep", "1000"];
    let started = hanging(&runner, &words, 3);
    started.signal(Signal::SIGUSR1).unwrap();
    fs::write(&flag, "").unwrap();
    let ended = started.finish(PATIENCE).unwrap();
    assert_eq!(ended.code, Some(128 + Signal::SIGUSR1 as i32), "{ended}");
}

/// The kernel keeps the runner itself, so that it can only be ended as a whole.
#[test]
fn a_base_that_hangs_ends_with_the_runner_and_nothing_is_made() {
    let ground = alone();
    let (runner, root) = (ground.runner(), ground.minimal().unwrap());
    let dead = DeadMount::at(ground.folder().join("dead"));
    runner.probe(&["-q"], &root, &["exit", "0"]).unwrap();
    let before = ground.dump(&runner).unwrap();
    // A shell's job in the background, as this may be, ignores the others.
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let started = hanging(&runner, &["run", "-q", text(&dead.path), "/probe"], 0);
        started.signal(signal).unwrap();
        // No status: the signal itself.
        assert_eq!(started.finish(PATIENCE).unwrap().code, None);
        ground.expect_unchanged(&runner, &before);
    }
}
