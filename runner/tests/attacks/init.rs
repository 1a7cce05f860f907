//! What the container's first process shows and suffers, and what reaches beyond it.

use netns_fixtures::program;
use nix::libc;

use crate::running::{PATIENCE, Staying, ground, is_running, shell};
use crate::text;

/// The first process is a copy of the runner, whose words and environment are the caller's.
#[test]
fn the_callers_words_and_environment_do_not_show() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let script = "for p in /proc/[0-9]*; do cat $p/cmdline $p/environ $p/comm; done 2>/dev/null";
    let words = ["run", "-q", "--name", "of-the-caller", "-e", "PLAIN=1", text(root.path())];
    for options in [&[][..], &["--no-init"]] {
        let words = [&words[..1], options, &words[1..], &["/bin/sh", "-c", script]].concat();
        let mut command = ground.runner().command(&words).unwrap();
        command.env("SECRET_OF_THE_CALLER", "1");
        let said = program::run(command, b"", PATIENCE).unwrap().success().unwrap();
        for secret in ["SECRET", "of-the-caller", text(ground.folder()), "NETUP_RUN"] {
            assert!(!said.contains(secret), "{options:?}: {secret} in {said}");
        }
    }
}

#[test]
fn the_first_process_survives_what_the_container_sends() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let script = "for s in 1 2 3 4 6 8 9 11 13 15 19 31; do kill -$s 1; done; \
                  kill -9 -1; echo alive";
    let said = shell(&ground.runner(), &[], &root, script);
    // Some of them it passes on to the command.
    assert!(said.code.is_some_and(|code| code != 125), "{said}");
    let only_deadly = shell(&ground.runner(), &[], &root, "kill -9 1; kill -19 1; echo alive");
    assert_eq!(only_deadly.stdout, "alive\n", "{only_deadly}");
    let ptrace = libc::SYS_ptrace.to_string();
    // PTRACE_ATTACH, PTRACE_SEIZE.
    for request in ["16", "0x4206"] {
        let words = ["syscall", &ptrace, request, "1", "0", "0"];
        let seen = ground.runner().probe(&[], &root, &words).unwrap();
        assert_eq!(seen.text(), "errno 1\n", "{request}");
    }
}

#[test]
fn no_signal_reaches_the_runner() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let staying = Staying::start(&ground.runner(), &[], &root);
    let host_pid = staying.runner.pid().to_string();
    let kill = libc::SYS_kill.to_string();
    let seen = ground.runner().probe(&[], &root, &["syscall", &kill, &host_pid, "9"]).unwrap();
    assert_eq!(seen.text(), format!("errno {}\n", libc::ESRCH));
    // The group that it was started in has the number 0 inside.
    let said = shell(&ground.runner(), &[], &root, "kill -9 0; echo alive");
    assert_eq!(said.code, Some(137), "{said}");
    assert!(is_running(staying.runner.pid()));
    staying.end();
}

/// Whoever helped to make the container is not in it: he stands in a folder of the host's, and a
/// command that can look into processes could follow him.
#[test]
fn nobody_who_made_the_container_is_in_it() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let options = [&["-q"][..], &["-q", "--cap-add", "all"], &["-q", "--cap-add", "sys_ptrace"]];
    for option in options.iter().cycle().take(60) {
        let seen = ground.runner().probe(option, &root, &["ls", "/proc", "+", "ids"]).unwrap();
        assert_eq!(seen.value("pid"), "2", "{option:?}: another process was there before");
        let is_process = |line: &&str| {
            let name = line.strip_prefix("/proc/").and_then(|rest| rest.split(' ').next());
            name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        };
        assert_eq!(
            seen.lines().into_iter().filter(|line| is_process(line)).count(),
            2,
            "{}",
            seen.text()
        );
    }
}
