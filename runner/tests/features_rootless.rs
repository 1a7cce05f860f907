//! What an ordinary user gets, who has no right but to make a user namespace.

mod running;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Root, Runner, User};
use nix::errno::Errno;
use nix::libc;
use running::{Staying, alone, ground};

isolate!();

/// The first id that /etc/subuid gives to the laboratory's user.
const FIRST_OF_RANGE: u32 = 3_000_000;

struct Caller {
    user: User,
    runner: Runner,
    root: Root,
}

/// Somebody with a root file system of their own.
#[track_caller]
fn caller(ground: &Ground) -> Caller {
    let user = ground.user().unwrap();
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    Caller { runner: ground.runner_of(&user), user, root }
}

fn errno(error: Errno) -> String {
    format!("errno {}", error as i32)
}

#[test]
fn all_ids_of_the_ranges_are_there_and_the_caller_is_root() {
    let ground = ground();
    let Caller { user, runner, root } = caller(&ground);
    let words =
        ["ids", "+", "cat", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"];
    let seen = runner.probe(&[], &root, &words).unwrap();
    let lines = seen.lines();
    let maps: Vec<Vec<&str>> =
        lines[lines.len() - 5..].iter().map(|line| line.split_whitespace().collect()).collect();
    let (own, first) = (user.id.to_string(), FIRST_OF_RANGE.to_string());
    for map in [&maps[..2], &maps[2..4]] {
        assert_eq!(map, [["0", &own, "1"], ["1", &first, "65536"]], "{}", seen.text());
    }
    assert_eq!(maps[4], ["allow"]);
    // Those of the image's /etc/group, and none of the caller's.
    assert_eq!(seen.value("Groups"), "0 29");
}

#[test]
fn other_users_inside_are_nobody_that_exists_outside() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let staying = Staying::start(&runner, &["-u", "worker"], &root);
    let outside = fs::metadata(format!("/proc/{}", staying.pids()[1])).unwrap();
    staying.end();
    assert_eq!((outside.uid(), outside.gid()), (FIRST_OF_RANGE + 999, FIRST_OF_RANGE + 999));
}

#[test]
fn what_root_inside_writes_belongs_to_the_caller() {
    let ground = ground();
    let Caller { user, runner, root } = caller(&ground);
    let words = [
        "write", "/mine", "x", "+", "write", "/theirs", "x", "+", "chown", "1000", "1000",
        "/theirs",
    ];
    let seen = runner.probe(&["--writes", "direct"], &root, &words).unwrap();
    assert_eq!(seen.lines(), ["/mine ok", "/theirs ok", "/theirs ok"]);
    let owner = |path: &str| fs::metadata(root.at(path)).unwrap().uid();
    assert_eq!((owner("/mine"), owner("/theirs")), (user.id, FIRST_OF_RANGE + 999));
}

#[test]
fn a_directory_is_not_changed_by_default() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    for how in ["discard", "memory", "disk"] {
        let words = ["write", "/written", how, "+", "cat", "/written"];
        let seen = runner.probe(&["--writes", how], &root, &words).unwrap();
        assert_eq!(seen.lines(), ["/written ok", how], "{how}");
    }
    assert!(!root.at("/written").exists());
}

#[test]
fn the_machine_is_as_closed_as_to_root() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let (mount, unshare) = (libc::SYS_mount.to_string(), libc::SYS_unshare.to_string());
    let mknod = libc::SYS_mknodat.to_string();
    let words = [
        "ids",
        "+",
        "syscall",
        &mount,
        "@none",
        "@/tmp",
        "@tmpfs",
        "0",
        "0",
        "+",
        "syscall",
        &unshare,
        "0x10000000",
        "+",
        "syscall",
        &mknod,
        "-100",
        "@/disk",
        "24960",
        "2048",
        "+",
        "open",
        "w",
        "/proc/sys/kernel/hostname",
        "/sys/fs/cgroup/cgroup.procs",
    ];
    let seen = runner.probe(&[], &root, &words).unwrap();
    assert_eq!((seen.value("NoNewPrivs"), seen.value("Seccomp")), ("1", "2"));
    let refusals = seen.lines().into_iter().filter(|line| *line == errno(Errno::EPERM)).count();
    assert_eq!(refusals, 3, "{}", seen.text());
    for path in ["/proc/sys/kernel/hostname", "/sys/fs/cgroup/cgroup.procs"] {
        assert!(seen.value(path).starts_with("errno"), "{}", seen.text());
    }
    assert!(!seen.complaints().contains("warning"), "{}", seen.complaints());
}

#[test]
fn parts_of_the_host_are_shared_as_far_as_the_caller_may() {
    let ground = ground();
    let Caller { user, runner, root } = caller(&ground);
    let own = user.home.join("own");
    fs::create_dir(&own).unwrap();
    user.own(&own).unwrap();
    let secret = ground.folder().join("secret");
    fs::write(&secret, "of root").unwrap();
    std::process::Command::new("chmod").arg("600").arg(&secret).status().unwrap();
    let bind = |path: &Path, at: &str| format!("{}:{at}", path.display());
    let options = ["-v", &bind(&own, "/own"), "-v", &bind(&secret, "/secret")];
    let words = ["write", "/own/new", "x", "+", "cat", "/secret", "+", "stat", "/own/new"];
    let seen = runner.probe(&options, &root, &words).unwrap();
    assert_eq!(seen.value("/own/new"), "ok");
    assert_eq!(seen.value("/secret"), errno(Errno::EACCES));
    assert_eq!(fs::metadata(own.join("new")).unwrap().uid(), user.id);
}

#[test]
fn the_usual_devices_work_and_the_root_can_be_read_only() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let devices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
    let words =
        [&["open", "rw"], &devices[..], &["+", "write", "/x", "x", "+", "ls", "/dev"]].concat();
    let seen = runner.probe(&["--read-only"], &root, &words).unwrap();
    for device in devices {
        assert_eq!(seen.value(device), "ok");
    }
    assert_eq!(seen.value("/x"), errno(Errno::EROFS));
    assert!(!seen.text().contains(" block "), "{}", seen.text());
}

#[test]
fn statuses_are_those_of_root() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let code = |words: &[&str]| runner.run_probe(&[], &root, words).unwrap().code;
    assert_eq!((code(&["exit", "7"]), code(&["signal", "9"])), (Some(7), Some(137)));
    let path = root.path().to_str().unwrap();
    assert_eq!(runner.run(&["run", path, "/no/such"]).unwrap().code, Some(127));
    assert_eq!(runner.run(&["run", path, "/etc"]).unwrap().code, Some(126));
}

#[test]
fn a_network_that_needs_root_is_an_error_with_the_way_out() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let refused = runner.run_probe(&["--net", "10.0.0.2/24"], &root, &["exit", "0"]).unwrap();
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains("pasta"), "{refused}");
}

#[test]
fn nothing_is_left_of_a_run_or_of_a_failed_one() {
    let ground = alone();
    let Caller { runner, root, .. } = caller(&ground);
    let works =
        |code: &str| runner.run_probe(&["--writes", "disk"], &root, &["exit", code]).unwrap();
    works("0");
    let before = ground.dump(&runner).unwrap();
    assert_eq!(works("3").code, Some(3));
    ground.expect_unchanged(&runner, &before);
    for refused in [
        ["-w", "/no/such"],
        ["-u", "nobody-knows"],
        ["-v", "/no/such:/x"],
        ["--net", "10.0.0.2/24"],
    ] {
        let ended = runner.run_probe(&refused, &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "{refused:?}: {ended}");
        ground.expect_unchanged(&runner, &before);
    }
}

#[test]
fn the_environment_of_the_container_does_not_reach_helpers_on_the_host() {
    let ground = ground();
    let Caller { runner, root, .. } = caller(&ground);
    let words =
        ["run", "-e", "LD_PRELOAD=/evil.so", root.path().to_str().unwrap(), "/probe", "env"];
    let prepared = runner.command(&words).unwrap();
    let mut strace = ground.host().command(netns_fixtures::tools::find("strace").unwrap());
    // As the user, a tracer keeps set-user-ID helpers from their rights; as root it sees all.
    strace.args(["-f", "-v", "-s", "4096", "-e", "trace=execve,execveat"]);
    strace.arg(prepared.get_program()).args(prepared.get_args()).env_clear();
    strace.envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let traced = netns_fixtures::program::run(strace, b"", running::PATIENCE).unwrap();
    assert!(traced.is_success(), "{traced}");
    assert!(traced.stdout.contains("LD_PRELOAD=/evil.so"), "{traced}");
    let with: Vec<&str> = traced.stderr.lines().filter(|line| line.contains("evil")).collect();
    let outside =
        with.iter().filter(|line| line.contains("newuidmap") || line.contains("newgidmap"));
    let helped = traced.stderr.lines().filter(|line| line.contains("newuidmap")).count();
    assert!(helped > 0, "{}", traced.stderr);
    assert_eq!(outside.filter(|line| line.contains("\"LD_PRELOAD=")).count(), 0, "{with:#?}");
}

/// As in a sandbox that maps one id: there is no group of terminals, and groups cannot be set.
#[test]
fn the_root_of_a_user_namespace_with_one_id_has_containers_too() {
    let ground = ground();
    let (runner, root) = (ground.runner(), ground.busybox().unwrap());
    let mut command = std::process::Command::new("unshare");
    command.args(["-r", "-m", "-p", "-f", "--mount-proc"]).arg(runner.program());
    command.args(["run", "-q", "-t"]).arg(root.path()).args(["/probe", "exit", "7"]);
    let ended = command.env_clear().envs(runner.variables()).output().unwrap();
    assert_eq!(ended.status.code(), Some(7), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// Nothing can be made in what belongs to nobody inside.
#[test]
fn a_root_of_somebody_elses_is_told_of_with_a_remedy() {
    let ground = ground();
    let user = ground.user().unwrap();
    let (runner, root) = (ground.runner_of(&user), ground.busybox().unwrap());
    // The kernel tells one who may write to the folder something else.
    let cases = [("ranges", 0o755, "EACCES"), ("single", 0o777, "EOVERFLOW")];
    for (users, mode, errno) in cases {
        root.folder("etc", mode).unwrap();
        let options = ["--net", "pasta", "--users", users];
        let ended = runner.run_probe(&options, &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "{users}: {ended}");
        for says in ["/etc/resolv.conf of the container", errno, "give that folder to the caller"] {
            assert!(ended.stderr.contains(says), "{says}: {ended}");
        }
        // What is there needs not be made.
        root.file("etc/resolv.conf", "").unwrap();
        runner.probe(&options, &root, &["exit", "0"]).unwrap();
        fs::remove_file(root.at("/etc/resolv.conf")).unwrap();
    }
    let bare = ground.minimal().unwrap();
    let ended = runner.run_probe(&["--writes", "direct"], &bare, &["exit", "0"]).unwrap();
    assert_eq!(ended.code, Some(125), "{ended}");
    assert!(ended.stderr.contains("/proc of the container"), "{ended}");
    assert!(ended.stderr.contains("make it there"), "{ended}");
}
