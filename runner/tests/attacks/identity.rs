//! Users, groups and capabilities that are not what was meant.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use netns_fixtures::program;
use netns_fixtures::runner::Seen;
use nix::libc;

use crate::running::{PATIENCE, Staying, ground};
use crate::{spoiled, text};

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT,
/// written as the kernel shows it.
const OF_ROOT: u64 = 0x405fb;

fn sets(seen: &Seen) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| seen.capabilities(set))
}

/// CVE-2016-8867, CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: ambient or inheritable
/// capabilities left over, by run and by exec.
#[test]
fn capability_sets_are_exact() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let staying = Staying::start(&ground.runner(), &["--name", "exact"], &root);
    for (user, own) in [("0", OF_ROOT), ("77", 0), ("worker", 0)] {
        let run = ground.runner().probe(&["-u", user], &root, &["ids"]).unwrap();
        assert_eq!(sets(&run), [0, own, own, sets(&run)[3], 0], "run -u {user}");
        assert_eq!(sets(&run)[3] & !OF_ROOT, 0, "run -u {user}: {}", run.text());
        let words = ["exec", "-u", user, "exact", "/probe", "ids"];
        let exec = ground.runner().run(&words).unwrap().success().unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"] {
            let line = format!("{set} {}\n", run.value(set));
            assert!(exec.contains(&line), "exec -u {user}: no {line} in {exec}");
        }
    }
    staying.end();
}

/// CVE-2026-30892, CVE-2016-3697: a user's name that is read as another's number.
#[test]
fn a_line_called_by_a_number_is_not_that_number() {
    let ground = ground();
    let root = spoiled(&ground, "names");
    root.file("etc/passwd", "0x0:x:0:0::/:/bin/sh\n 0:x:0:0::/:/bin/sh\n77:x:0:0::/:/bin/sh\n")
        .unwrap();
    let seen = ground.runner().probe(&["-u", "77"], &root, &["ids"]).unwrap();
    assert_eq!(seen.value("Uid"), "77 77 77 77");
    for user in ["0x0", " 0", "4294967296", "18446744073709551616", "0 ", "٠", "1e1", "0\n"] {
        let ended = ground.runner().run_probe(&["-u", user], &root, &["ids"]).unwrap();
        assert_eq!(ended.code, Some(125), "{user:?}: {ended}");
    }
}

/// What only looks like a table of users does not hang the runner or fill its memory.
#[test]
fn tables_of_users_can_be_anything() {
    let ground = ground();
    let root = spoiled(&ground, "tables");
    let passwd = root.at("etc/passwd");
    let spoil: [(&str, &dyn Fn()); 7] = [
        ("enormous", &|| fs::write(&passwd, "x:x:1:1::/:/bin/sh\n".repeat(2_000_000)).unwrap()),
        ("one line", &|| fs::write(&passwd, "x".repeat(40 << 20)).unwrap()),
        ("no text", &|| fs::write(&passwd, [0xff, 0, b':', 0xfe].repeat(1000)).unwrap()),
        ("a fifo", &|| nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("endless", &|| symlink("/dev/zero", &passwd).unwrap()),
        ("a loop", &|| symlink("passwd", &passwd).unwrap()),
        ("a descriptor", &|| symlink("/proc/self/fd/3", &passwd).unwrap()),
    ];
    for (what, spoil) in spoil {
        fs::remove_file(&passwd).ok();
        spoil();
        for user in ["worker", "77"] {
            let ended = ground.runner().run_probe(&["-u", user], &root, &["ids"]).unwrap();
            let is_own = ended.is_success() && ended.stdout.contains("Uid 77 77 77 77");
            assert!(ended.code == Some(125) || is_own, "{what} {user}: {ended}");
        }
    }
}

/// The host's table is none of the container's, by whatever way the image points to it.
#[test]
fn the_hosts_table_of_users_is_not_the_containers() {
    let ground = ground();
    let root = spoiled(&ground, "pointing");
    fs::write(ground.folder().join("passwd"), "host-only:x:4242:4242::/:/bin/sh\n").unwrap();
    let passwd = root.at("etc/passwd");
    let up = "../".repeat(12);
    let table = text(ground.folder()).trim_start_matches('/').to_owned() + "/passwd";
    let mut ways = vec![format!("/{table}"), format!("{up}{table}")];
    for number in 3..16 {
        ways.push(format!("/proc/self/fd/{number}/{up}{table}"));
        ways.push(format!("/proc/self/fd/{number}/passwd"));
    }
    for way in ways {
        fs::remove_file(&passwd).unwrap();
        symlink(&way, &passwd).unwrap();
        for options in [&["-u", "host-only"][..], &["--no-init", "-u", "host-only"]] {
            let ended = ground.runner().run_probe(options, &root, &["ids"]).unwrap();
            assert_eq!(ended.code, Some(125), "{way}: {ended}");
        }
    }
}

/// CVE-2014-8989, CVE-2018-7169: a group that is kept out by `g::---` comes in by leaving the group.
#[test]
fn groups_that_take_rights_away_are_not_left() {
    let ground = ground();
    let user = ground.user_without_ranges().unwrap();
    let root = spoiled(&ground, "groups").owned_by(&user).unwrap();
    let shut = root.at("shut");
    fs::write(&shut, "for others").unwrap();
    let group = 64777;
    chown(&shut, Some(0), Some(group)).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o604)).unwrap();
    let runner = ground.runner_of(&user);
    let read = |groups: &str| {
        let (id, program) = (user.id.to_string(), runner.program());
        let mut command = ground.host().command("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--groups", groups, "--"]).arg(program);
        command.args(["run", "-q", "--users", "single", text(root.path()), "/probe"]);
        command.args(["cat", "/shut", "+", "syscall", &libc::SYS_setgroups.to_string(), "0", "0"]);
        command.env_clear().envs(runner.variables());
        program::run(command, b"", PATIENCE).unwrap().success().unwrap()
    };
    assert!(read("64778").starts_with("for others"));
    let denied = read(&group.to_string());
    assert_eq!(denied, format!("/shut errno {}\nerrno {}\n", libc::EACCES, libc::EPERM));
}
