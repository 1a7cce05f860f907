//! The runner's program as a container could reach it (CVE-2019-5736).

mod running;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use netns_fixtures::{isolate, program};
use nix::libc;
use nix::sys::signal::Signal;
use running::{PATIENCE, Staying, children, ground};

isolate!();

fn program_of(pid: u32) -> String {
    format!("/proc/{pid}/exe")
}

/// A handle on a process's program, as an attacker takes one while it runs.
fn hold(pid: u32) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(program_of(pid)).unwrap()
}

/// Tries to write through it, by the host's root, who is the most that a container's root can be.
/// While the program runs, in whatever container, the kernel refuses that to all (ETXTBSY).
fn write_through(handle: &File) -> std::io::Result<()> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let started = Instant::now();
    loop {
        match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                assert!(started.elapsed() < PATIENCE, "{error}");
                thread::sleep(Duration::from_millis(1));
            }
            opened => return opened?.write_all(b""),
        }
    }
}

#[test]
fn a_containers_root_could_not_write_it() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let run = |options: &[&str]| {
        let staying = Staying::start(&ground.runner(), options, &root);
        let handle = hold(staying.pids()[0]);
        let name = fs::read_to_string(format!("/proc/{}/comm", staying.runner.pid())).unwrap();
        assert_eq!(name, "netup-run\n");
        assert_eq!(staying.end().code, Some(0));
        write_through(&handle)
    };
    for options in [&["-q", "--users", "host"][..], &["-q", "-u", "77"]] {
        let refused = run(options).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{options:?}");
    }
}

#[test]
fn nor_could_one_of_a_user_who_owns_it() {
    let ground = ground();
    let user = ground.user().unwrap();
    let own = user.home.join("netup-run");
    fs::copy(env!("CARGO_BIN_EXE_netup-run"), &own).unwrap();
    user.own(&own).unwrap();
    let runner = ground.runner_of(&user);
    let root = ground.minimal().unwrap().owned_by(&user).unwrap();
    // The ground's program is root's, so nothing has to be done.
    let staying = Staying::start(&runner, &["-q"], &root);
    assert_eq!(fs::read_link(program_of(staying.pids()[0])).unwrap(), runner.program());
    assert_eq!(staying.end().code, Some(0));

    let words = ["run", "-q", root.path().to_str().unwrap(), "/probe", "signals", "15"];
    let theirs = runner.command(&words).unwrap();
    let mut command = Command::new(theirs.get_program());
    command.env_clear().current_dir(&user.home);
    command.envs(theirs.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let replaced = |word| if word == runner.program() { own.as_os_str() } else { word };
    command.args(theirs.get_args().map(replaced));
    let mut started = program::start(command, b"").unwrap();
    started.await_line("ready", PATIENCE).unwrap();
    let handle = hold(children(started.pid())[0]);
    started.signal(Signal::SIGTERM).unwrap();
    assert_eq!(started.finish(PATIENCE).unwrap().code, Some(0));
    let memory = fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd())).unwrap();
    assert!(memory.to_string_lossy().starts_with("/memfd:netup-run"), "{}", memory.display());
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let opened = OpenOptions::new().write(true).open(path);
    let refused = opened.and_then(|mut program| program.write_all(b"x")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
}

#[test]
fn the_first_process_cannot_be_looked_into() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let words = ["open", "r", "/proc/1/exe", "/proc/1/environ", "/proc/1/mem", "/proc/1/root"];
    for options in [&["-q"][..], &["-q", "-u", "77"]] {
        let seen = ground.runner().probe(options, &root, &words).unwrap();
        for line in seen.lines() {
            assert!(line.ends_with("errno 13"), "{options:?} {line}");
        }
    }
}
