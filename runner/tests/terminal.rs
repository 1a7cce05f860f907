//! `-t`: the container's own terminal, and the caller's meanwhile.

mod pty;
mod running;

use netns_fixtures::isolate;
use netns_fixtures::runner::Ground;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pty::OnTerminal;
use running::{PATIENCE, children, ground, soon};

isolate!();

fn start(ground: &Ground, options: &[&str], command: &[&str]) -> OnTerminal {
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let words = [&["run", "-q"], options, &[path], command].concat();
    OnTerminal::start(&ground.runner().command(&words).unwrap(), 33, 101)
}

fn runner_of(run: &OnTerminal) -> u32 {
    children(run.pid())[0]
}

#[test]
fn it_is_the_containers_own_with_the_callers_size() {
    let ground = ground();
    let mut run = start(&ground, &["-t", "-i"], &["/probe", "tty", "+", "ids"]);
    let (code, shown) = run.finish();
    assert_eq!(code, Some(0), "{shown}");
    for fd in 0..3 {
        assert!(shown.contains(&format!("{fd} /dev/pts/0 33x101 foreground")), "{shown}");
    }
    assert!(shown.contains("controlling ok"), "{shown}");
}

#[test]
fn the_console_is_the_same_and_belongs_to_the_user() {
    let ground = ground();
    let script = "stat -c '%u %t:%T' /dev/console /dev/pts/0; echo seen > /dev/console; id -u";
    let mut run = start(&ground, &["-t", "-u", "77"], &["/bin/sh", "-c", script]);
    let (code, shown) = run.finish();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(
        shown,
        "77 88:0\r\n77 88:0\r\nseen\r\n77\r\n".replace("\r\n", line_end()),
        "{shown}"
    );
}

/// Without -i the caller's terminal is not raw, and adds a return of its own.
fn line_end() -> &'static str {
    "\r\r\n"
}

#[test]
fn keys_reach_the_shell_and_the_callers_mode_comes_back() {
    let ground = ground();
    let mut run = start(&ground, &["-t", "-i"], &["/bin/sh"]);
    run.await_text("#");
    assert!(run.is_raw());
    run.press("echo $((6*7))\r");
    run.await_text("42");
    run.press("exit 5\r");
    let (code, shown) = run.finish();
    assert_eq!(code, Some(5), "{shown}");
    assert!(!run.is_raw());
}

#[test]
fn the_interrupt_key_is_the_containers_terminals_business() {
    let ground = ground();
    let mut run = start(&ground, &["-t", "-i"], &["/bin/sh", "-c", "echo ready; exec sleep 100"]);
    run.await_text("ready");
    soon("raw mode", || run.is_raw());
    run.press("\x03");
    let (code, shown) = run.finish();
    assert_eq!(code, Some(130), "{shown}");
    assert!(!run.is_raw());
}

#[test]
fn a_new_size_is_seen() {
    let ground = ground();
    let script = "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut run = start(&ground, &["-t", "-i"], &["/bin/sh", "-c", script]);
    run.await_text("ready");
    run.resize(40, 120);
    let (code, shown) = run.finish();
    assert_eq!(code, Some(6), "{shown}");
    assert!(shown.contains("40 120"), "{shown}");
}

#[test]
fn the_mode_comes_back_when_the_runner_is_ended() {
    let ground = ground();
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let command = ["/bin/sh", "-c", "echo ready; exec sleep 100"];
        let mut run = start(&ground, &["-t", "-i"], &command);
        run.await_text("ready");
        soon("raw mode", || run.is_raw());
        kill(Pid::from_raw(runner_of(&run).cast_signed()), signal).unwrap();
        assert_eq!(run.finish().0, Some(128 + signal as i32));
        assert!(!run.is_raw());
    }
}

#[test]
fn nothing_of_the_output_is_lost_at_the_end() {
    let ground = ground();
    for _ in 0..5 {
        let mut run = start(&ground, &["-t", "-i"], &["/bin/sh", "-c", "seq 1 5000; echo the end"]);
        let (code, shown) = run.finish();
        assert_eq!(code, Some(0));
        assert!(
            shown.ends_with("4999\r\n5000\r\nthe end\r\n"),
            "{:?}",
            shown.get(shown.len() - 40..)
        );
        assert_eq!(shown.lines().count(), 5001);
    }
}

#[test]
fn without_one_of_the_callers_it_has_the_usual_size_and_its_input_ends() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let script = "stty -echo; stty size; cat; echo over";
    for input in ["one\ntwo\n", "one\ntwo"] {
        let words = ["run", "-q", "-t", "-i", path, "/bin/sh", "-c", script];
        let ended = ground.runner().run_with(&words, input.as_bytes()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended}");
        assert!(ended.stdout.contains("24 80"), "{ended}");
        assert!(ended.stdout.contains("two") && ended.stdout.ends_with("over\r\n"), "{ended}");
    }
}

#[test]
fn a_reader_that_goes_away_does_not_keep_it() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let words = ["run", "-q", "-t", path, "/bin/sh", "-c", "seq 1 100000; exit 7"];
    let mut command = ground.runner().command(&words).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = command.stdin(std::process::Stdio::null()).stdout(writer).spawn().unwrap();
    drop(command);
    drop(reader);
    let started = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it hangs");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(7));
}
