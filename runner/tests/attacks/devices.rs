//! Devices of the host: made, opened, or found where the image put something else.

use netns_fixtures::runner::Root;
use nix::libc;

use crate::running::{ground, shell};

/// Disks (254:0, 8:0), memory (1:1), the kernel's log (1:11), made wherever one may write.
const MAKE: &str = "for at in /tmp /dev /dev/shm /dev/pts /run /; do for d in 'b 254 0' 'b 8 0' \
                    'c 1 1' 'c 1 11' 'c 10 200' 'c 5 1'; do \
                    if mknod $at/made $d; then (: < $at/made) && echo opened $at $d; \
                    (: > $at/made) && echo written $at $d; rm -f $at/made; fi; done; done \
                    2>/dev/null; echo done";

fn expect_none(options: &[&str], root: &Root, runner: &netns_fixtures::runner::Runner) {
    let options = [&["--tmpfs", "/run"], options].concat();
    let said = shell(runner, &options, root, MAKE);
    assert_eq!(said.stdout, "done\n", "{options:?}: {said}");
}

/// The second tutorial's root without a user namespace; even with the capability to make nodes, no
/// mount of the container honours them.
#[test]
fn devices_cannot_be_made_or_not_be_opened() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let volume = ground.runner().folder("volume").unwrap();
    let bound = format!("{}:/run/volume", crate::text(&volume));
    for options in [
        &[][..],
        &["--cap-add", "mknod"],
        &["--cap-add", "all"],
        &["--cap-add", "mknod", "--writes", "disk"],
        &["--cap-add", "mknod", "--no-seccomp", "--new-privileges"],
        &["--cap-add", "mknod", "--users", "single"],
        &["--cap-add", "mknod", "-v", &bound],
    ] {
        expect_none(options, &root, &ground.runner());
    }
    let user = ground.user().unwrap();
    let own = crate::spoiled(&ground, "own").owned_by(&user).unwrap();
    expect_none(&["--cap-add", "mknod"], &own, &ground.runner_of(&user));
}

/// The six that hold nothing still work there.
#[test]
fn the_usual_devices_work_whatever_the_rights() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 4 /dev/urandom | \
                  wc -c && head -c 4 /dev/random | wc -c; : > /dev/full; echo x > /dev/full || \
                  ls /dev | tr '\\n' ' '";
    let names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    for options in [&[][..], &["--cap-add", "mknod"], &["--users", "single"], &["-u", "1000"]] {
        let said = shell(&ground.runner(), options, &root, script);
        let mut lines = said.stdout.lines();
        let counts: Vec<_> = lines.by_ref().take(3).collect();
        assert_eq!(counts, ["3", "4", "4"], "{options:?}: {said}");
        let all = lines.next().unwrap_or_default().trim();
        let odd: Vec<_> = all.split(' ').filter(|name| !names.contains(name)).collect();
        assert!(odd.is_empty() && all.contains("null"), "{options:?}: {said}");
    }
}

/// Nor by a handle, which needs no path (the "shocker" of 2014).
#[test]
fn files_are_not_opened_by_handle() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let open = libc::SYS_open_by_handle_at.to_string();
    for options in [&[][..], &["--cap-add", "dac_read_search"], &["--cap-add", "all"]] {
        let words = ["syscall", &open, "0", "%128", "0"];
        let seen = ground.runner().probe(options, &root, &words).unwrap();
        assert_eq!(seen.text(), "errno 1\n", "{options:?}");
    }
}
