//! Signals on their way to the command, and what PID 1 does.

mod pty;
mod running;
#[path = "signals/start.rs"]
mod start;

use std::fs;
use std::time::{Duration, Instant};

use netns_fixtures::isolate;
use nix::sys::signal::Signal;
use pty::OnTerminal;
use running::{PATIENCE, Staying, children, ground, shell, soon};

isolate!();

fn state_of(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn each_comes_once() {
    let ground = ground();
    for init in [&[][..], &["--no-init"]] {
        let root = ground.minimal().unwrap();
        let mut staying = Staying::start(&ground.runner(), &[&["-q"], init].concat(), &root);
        let sent = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGALRM,
            Signal::SIGWINCH,
        ];
        let mut expected = "ready\n".to_owned();
        for signal in sent {
            staying.runner.signal(signal).unwrap();
            let line = format!("signal {}", signal as i32);
            staying.runner.await_line(&line, PATIENCE).unwrap();
            expected += &format!("{line}\n");
        }
        let ended = staying.end();
        assert_eq!(ended.stdout, expected + "signal 15\n");
        assert_eq!(ended.code, Some(0), "{ended}");
    }
}

#[test]
fn a_key_of_the_callers_terminal_comes_once() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let path = root.path().to_str().unwrap();
    let words =
        ["run", "-q", path, "/probe", "signals", "2", "+", "sleep", "0.2", "+", "exit", "9"];
    let mut run = OnTerminal::start(&ground.runner().command(&words).unwrap(), 24, 80);
    run.await_text("ready");
    assert!(!run.is_raw());
    run.press("\x03");
    let (code, shown) = run.finish();
    // A second one would have ended it during its sleep, or shown up.
    assert_eq!(code, Some(9), "{shown}");
    assert_eq!(shown.matches("signal 2").count(), 1, "{shown}");
}

/// As one that counts at once sees it, of `run` and of `exec`: signals that wait are one.
#[test]
fn a_key_comes_once_to_a_command_that_counts() {
    let ground = ground();
    let (runner, root) = (ground.runner(), ground.busybox().unwrap());
    let path = root.path().to_str().unwrap();
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n -eq 0 ]; do :; done; \
                  i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo came $n";
    let staying = Staying::start(&runner, &["-q", "--name", "counted"], &root);
    for words in [["run", "-q", path], ["exec", "-e", "A=b"]] {
        let name: &[&str] = if words[0] == "exec" { &["counted"] } else { &[] };
        let words = [&words, name, &["/bin/sh", "-c", script]].concat();
        let mut run = OnTerminal::start(&runner.command(&words).unwrap(), 24, 80);
        run.await_text("ready");
        run.press("\x03");
        let (code, shown) = run.finish();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("came 1"), "{words:?}: {shown}");
    }
    staying.end();
}

#[test]
fn what_a_shell_waits_for_gets_the_key_too() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let words = ["run", "-q", root.path().to_str().unwrap(), "/bin/sh", "-c"];
    let script = "trap 'echo trapped; exit 4' INT; echo ready; sleep 100";
    let command = ground.runner().command(&[&words[..], &[script]].concat()).unwrap();
    let started = Instant::now();
    let mut run = OnTerminal::start(&command, 24, 80);
    run.await_text("ready");
    // The shell may be just about to start its sleep.
    std::thread::sleep(Duration::from_millis(300));
    run.press("\x03");
    let (code, shown) = run.finish();
    assert_eq!(code, Some(4), "{shown}");
    assert!(started.elapsed() < Duration::from_secs(50));
}

#[test]
fn a_signal_that_ends_the_command_is_told() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1] {
        let path = root.path().to_str().unwrap();
        let words = ["run", "-q", path, "/bin/sh", "-c", "echo ready; exec sleep 100"];
        let mut started = ground.runner().start(&words).unwrap();
        started.await_line("ready", PATIENCE).unwrap();
        started.signal(signal).unwrap();
        let ended = started.finish(PATIENCE).unwrap();
        assert_eq!(ended.code, Some(128 + signal as i32), "{ended}");
    }
}

#[test]
fn orphans_are_reaped_and_do_not_keep_the_container() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let started = Instant::now();
    let script = "(sleep 0.1 &); (sleep 100 &); sleep 0.4; ps -o pid,ppid,stat,comm; exit 3";
    let ended = shell(&ground.runner(), &["-q"], &root, script);
    assert_eq!(ended.code, Some(3), "{ended}");
    assert!(started.elapsed() < Duration::from_secs(50));
    assert!(!ended.stdout.contains(" Z "), "{ended}");
    // The one that goes on became a child of PID 1.
    assert!(
        ended.stdout.lines().any(|line| line.contains(" 1 ") && line.contains("sleep")),
        "{ended}"
    );
}

#[test]
fn the_runner_stops_and_goes_on_with_its_container() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let staying = Staying::start(&ground.runner(), &["-q"], &root);
    let command = children(staying.pids()[0])[0];
    staying.runner.signal(Signal::SIGTSTP).unwrap();
    soon("the runner's stop", || state_of(staying.runner.pid()) == 'T');
    soon("the command's stop", || state_of(command) == 'T');
    staying.runner.signal(Signal::SIGCONT).unwrap();
    soon("the command's way on", || state_of(command) == 'S');
    assert_eq!(staying.end().code, Some(0));
}
