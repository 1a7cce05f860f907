//! `exec`: one more command, on the terms of the container.

mod pty;
mod running;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netns_fixtures::isolate;
use netns_fixtures::program::Ended;
use netns_fixtures::runner::{Ground, Runner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty::OnTerminal;
use running::{Staying, ground, is_running, soon};

isolate!();

#[track_caller]
fn exec(runner: &Runner, options: &[&str], name: &str, words: &[&str]) -> Ended {
    runner.run(&[&["exec"], options, &[name], words].concat()).expect("an exec that ends")
}

#[track_caller]
fn stay(ground: &Ground, runner: &Runner, name: &str, options: &[&str]) -> Staying {
    let root = ground.busybox().unwrap();
    Staying::start(runner, &[&["-q", "--name", name], options].concat(), &root)
}

/// What `ids` tells that must be equal for both.
fn rights(told: &str) -> Vec<&str> {
    let keys =
        ["Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups", "Umask", "SigB", "SigI", "SigC"];
    told.lines().filter(|line| keys.iter().any(|key| line.starts_with(key))).collect()
}

#[test]
fn its_exit_status_is_the_commands() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "codes", &[]);
    let expect = |name: &str, words: &[&str], code: i32| {
        let ended = exec(&runner, &[], name, words);
        assert_eq!(ended.code, Some(code), "{words:?}: {ended}");
    };
    expect("codes", &["/probe", "exit", "7"], 7);
    expect("codes", &["/probe", "signal", "9"], 137);
    expect("codes", &["/no/such"], 127);
    expect("codes", &["/etc"], 126);
    expect("nobody", &["/probe", "exit", "0"], 125);
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn it_has_the_same_rights_as_the_containers_own_command() {
    let ground = ground();
    let runner = ground.runner();
    let cases: [&[&str]; 5] = [
        &[],
        &["-u", "worker"],
        &["--cap-drop", "all", "--cap-add", "chown"],
        &["--new-privileges", "-u", "77"],
        &["--no-seccomp", "--users", "single"],
    ];
    for (number, options) in cases.iter().enumerate() {
        let name = format!("rights-{number}");
        let root = ground.busybox().unwrap();
        let own = runner.probe(options, &root, &["ids"]).unwrap();
        let staying = stay(&ground, &runner, &name, options);
        let told = exec(&runner, &[], &name, &["/probe", "ids"]).success().unwrap();
        assert_eq!(rights(&told), rights(own.text()), "{options:?}");
        assert_eq!(staying.end().code, Some(0));
    }
}

#[test]
fn it_brings_nothing_along_and_sees_only_the_container() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "alone", &["-e", "KEY=value"]);
    let leaked = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let told = exec(&runner, &[], "alone", &["/probe", "fds"]).success().unwrap();
    let numbers: Vec<_> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{told}");
    let told = exec(&runner, &[], "alone", &["/probe", "ps", "+", "env"]).success().unwrap();
    // PID 1, its command, and this; the process that waits outside has no number here.
    let processes = told.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(processes.count(), 3, "{told}");
    assert!(told.contains("KEY=value"), "{told}");
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn the_container_cannot_end_without_it() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "ends", &[]);
    let words = ["exec", "ends", "/probe", "signals", "15"];
    let mut inside = runner.start(&words).unwrap();
    inside.await_line("ready", running::PATIENCE).unwrap();
    assert_eq!(staying.end().code, Some(0));
    assert_eq!(inside.finish(running::PATIENCE).unwrap().code, Some(137));
}

#[test]
fn it_dies_with_its_caller() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "dies", &[]);
    let mut inside = runner.start(&["exec", "dies", "/probe", "signals", "15"]).unwrap();
    inside.await_line("ready", running::PATIENCE).unwrap();
    let outside = running::children(inside.pid())[0];
    let command = running::children(outside)[0];
    inside.kill().unwrap();
    soon("the command's end", || !is_running(command) && !is_running(outside));
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn one_that_fails_leaves_the_callers_own_processes_alone() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "wrapped", &[]);
    // As of a shell that becomes the runner.
    let script = "sleep 77 </dev/null >/dev/null 2>&1 & echo $!; exec \"$@\"";
    let words = ["exec", "wrapped", "/no/such"];
    let ended = running::through_a_shell(&ground, &runner, script, &words);
    assert_eq!(ended.code, Some(127), "{ended}");
    let own: u32 = ended.stdout.trim().parse().unwrap();
    assert!(is_running(own));
    kill(Pid::from_raw(own.cast_signed()), Signal::SIGKILL).unwrap();
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn it_can_have_a_terminal() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "shell", &[]);
    let command = runner.command(&["exec", "-t", "-i", "shell", "/bin/sh"]).unwrap();
    let mut shell = OnTerminal::start(&command, 20, 70);
    shell.await_text("#");
    shell.press("stty size; tty; exit 3\r");
    let (code, shown) = shell.finish();
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("20 70") && shown.contains("/dev/pts/0"), "{shown}");
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn an_ordinary_user_enters_containers_of_his_own() {
    let ground = ground();
    let user = ground.user().unwrap();
    let runner = ground.runner_of(&user);
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    let staying = Staying::start(&runner, &["-q", "--name", "mine"], &root);
    let told = exec(&runner, &[], "mine", &["/probe", "ids"]).success().unwrap();
    assert!(told.contains("\nUid 0 0 0 0\n"), "{told}");
    assert_eq!(staying.end().code, Some(0));
    let staying = Staying::start(&runner, &["-q", "--name", "deep", "--nested-users"], &root);
    let refused = exec(&runner, &[], "deep", &["/probe", "ids"]);
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains("--nested-users"), "{refused}");
    assert_eq!(staying.end().code, Some(0));
}

/// Whoever enters still has all rights for a moment, which a command that traces processes could take.
#[test]
fn a_container_that_can_look_into_everybody_is_not_entered() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "tracing", &["--cap-add", "sys_ptrace"]);
    let refused = exec(&runner, &[], "tracing", &["/probe", "exit", "0"]);
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains("sys_ptrace"), "{refused}");
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn a_paused_container_is_not_entered() {
    let ground = ground();
    let runner = ground.runner();
    let staying = stay(&ground, &runner, "paused", &[]);
    runner.run(&["pause", "paused"]).unwrap().success().unwrap();
    let refused = exec(&runner, &[], "paused", &["/probe", "exit", "0"]);
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains("netup-run resume paused"), "{refused}");
    runner.run(&["resume", "paused"]).unwrap().success().unwrap();
    exec(&runner, &[], "paused", &["/probe", "exit", "0"]).success().unwrap();
    assert_eq!(staying.end().code, Some(0));
}

/// What enters a mount namespace lands on what is uppermost at its root, which is the host's until the
/// old root is gone.
#[test]
fn nobody_is_in_the_hosts_root_while_a_container_is_being_made() {
    let ground = ground();
    let runner = ground.runner();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let words = ["run", "-q", "--name", "slow", path, "/probe", "signals", "15"];
    let mut slowly = std::process::Command::new("strace");
    slowly.args(["-f", "-o", "/dev/null", "-e", "trace=pivot_root"]);
    slowly.args(["-e", "inject=pivot_root:delay_enter=1000000"]);
    slowly.arg(runner.program()).args(words).env_clear().envs(runner.variables());
    let mut slowly = slowly.stdout(std::process::Stdio::null()).spawn().unwrap();
    soon("its record", || runner.state().join("slow").exists());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let seen = exec(&runner, &[], "slow", &["/bin/ls", "/"]).success().unwrap();
    assert!(seen.contains("probe") && !seen.contains("boot"), "{seen}");
    exec(&runner, &[], "slow", &["/bin/kill", "-TERM", "-1"]);
    slowly.kill().unwrap();
    slowly.wait().unwrap();
}

/// As a process of another exec would that hangs before it is in the container.
#[test]
fn whoever_stays_in_the_cgroup_does_not_keep_the_container() {
    let ground = ground();
    let staying = stay(&ground, &ground.runner(), "kept", &[]);
    let pid = staying.pids()[0];
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let cgroup =
        Path::new(if pure { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" }).join(&own[1..]);
    let mut stuck = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), stuck.id().to_string()).unwrap();
    let started = Instant::now();
    let ended = staying.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(stuck.wait().unwrap().signal(), Some(9));
    assert!(!cgroup.exists());
}
