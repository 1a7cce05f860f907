//! CVE-2017-5226 and TIOCLINUX: keys pressed by the container in the caller's terminal.

use netns_fixtures::{program, tools};

use crate::running::{PATIENCE, ground};
use crate::text;

const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const TIOCSETD: u64 = 0x5423;

/// A real terminal, whose foreground job runs the container and reads afterwards what was typed.
#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let ioctl = nix::libc::SYS_ioctl;
    let mut tries = String::new();
    for fd in 0..3 {
        for request in [TIOCSTI, TIOCLINUX, TIOCSTI | 1 << 32, TIOCSTI | 0xffff_ffff << 32] {
            tries += &format!("+ syscall {ioctl} {fd} {request:#x} @x ");
        }
    }
    let probe = format!("ids {tries}");
    for options in ["-q", "-q -i", "-q --no-init -i", "-q --no-seccomp -i", "-q --cap-add all -i"] {
        let container = format!(
            "{} run {options} {} /probe {probe}",
            text(runner.program()),
            text(root.path())
        );
        // The program itself types ^D when its own input ends.
        let script = format!(
            "{container}; stty -icanon -echo min 0 time 2; \
             typed=$(dd bs=9 count=1 2>/dev/null | tr -d '\\004'); \
             echo \"typed [$typed]\""
        );
        let mut command = ground.host().command(tools::find("script").unwrap());
        command.args(["-qec", &script, "/dev/null"]).env_clear().envs(runner.variables());
        let said = program::run(command, b"", PATIENCE).unwrap();
        assert!(said.stdout.contains("typed []"), "{options}: {said}");
        let refused = said.stdout.lines().filter(|line| line.starts_with("errno ")).count();
        assert_eq!(refused, 12, "{options}: {said}");
    }
}

/// In its own terminal neither: what the container types there, the runner reads as its output.
#[test]
fn nothing_is_typed_into_its_own_terminal_either() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let ioctl = nix::libc::SYS_ioctl.to_string();
    for request in [TIOCSTI, TIOCLINUX, TIOCSETD] {
        let request = format!("{request:#x}");
        let words = ["syscall", &ioctl, "0", &request, "@x"];
        let said = ground.runner().run_probe(&["-q", "-t"], &root, &words).unwrap();
        assert!(said.stdout.contains("errno "), "{request}: {said}");
    }
}
