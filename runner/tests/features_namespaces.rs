//! Namespaces: which there are, that they are the container's own, and that nothing gets out of them.

mod running;

use std::collections::BTreeMap;
use std::fs;

use netns_fixtures::isolate;
use netns_fixtures::runner::{Root, Runner};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use running::{Staying, alone, ground, is_running, soon};

isolate!();

const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The namespaces of a process, by kind.
fn of_process(process: &str) -> BTreeMap<&'static str, String> {
    let link = |kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    KINDS.map(|kind| (kind, link(kind).display().to_string())).into()
}

/// Those that a container shares with its runner.
#[track_caller]
fn shared(runner: &Runner, options: &[&str], root: &Root) -> Vec<&'static str> {
    let staying = Staying::start(runner, options, root);
    let outside = of_process(&staying.runner.pid().to_string());
    let inside = of_process(&staying.pids()[0].to_string());
    staying.end();
    KINDS.into_iter().filter(|kind| outside[kind] == inside[kind]).collect()
}

#[test]
fn a_container_of_root_has_all_namespaces_but_that_of_users() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    assert_eq!(shared(&ground.runner(), &[], &root), ["user"]);
    assert_eq!(shared(&ground.runner(), &["--net", "host"], &root), ["net", "user"]);
}

#[test]
fn a_container_of_an_ordinary_user_has_all() {
    let ground = ground();
    let user = ground.user().unwrap();
    let root = ground.minimal().unwrap().owned_by(&user).unwrap();
    let runner = ground.runner_of(&user);
    assert_eq!(shared(&runner, &["--users", "ranges"], &root), [""; 0]);
    assert_eq!(shared(&runner, &["--users", "single"], &root), [""; 0]);
}

#[test]
fn an_existing_network_namespace_is_joined() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let path = format!("netns:{}", ground.outside().path().display());
    let seen = ground.runner().probe(&["--net", &path], &root, &["links"]).unwrap();
    assert!(seen.value("eth0").contains("198.51.100.1"), "{}", seen.text());
}

/// Also where the machine has version 2 of control groups at its usual place.
#[test]
fn the_hosts_network_is_kept_on_request_whatever_the_hierarchy_of_control_groups() {
    let ground = alone();
    let root = ground.minimal().unwrap();
    let look = || {
        ground.runner().probe(&["--net", "host"], &root, &["links", "+", "ls", "/sys/class/net"])
    };
    let seen = look().unwrap();
    assert!(seen.value("eth0").contains("198.51.100.2"), "{}", seen.text());
    let nothing = None::<&str>;
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), nothing).unwrap();
    let again = look();
    umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).unwrap();
    assert_eq!(again.unwrap().text(), seen.text());
}

#[test]
fn the_control_group_is_the_root_of_what_is_seen_and_cannot_be_written() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let words = [
        "cat",
        "/proc/self/cgroup",
        "/proc/self/mountinfo",
        "+",
        "open",
        "w",
        "/sys/fs/cgroup/cgroup.procs",
    ];
    let seen = ground.runner().probe(&[], &root, &words).unwrap();
    assert!(seen.has_line("0::/"), "{}", seen.text());
    assert!(seen.mount_flags("/sys/fs/cgroup").contains(&"ro"), "{}", seen.text());
    assert!(seen.value("/sys/fs/cgroup/cgroup.procs").starts_with("errno"), "{}", seen.text());
}

#[test]
fn mounts_of_the_host_do_not_come_in_later() {
    let ground = alone();
    let root = ground.minimal().unwrap();
    let place = ground.folder().join("shared");
    fs::create_dir_all(place.join("late")).unwrap();
    let bind = format!("{}:/shared", place.display());
    let nothing = None::<&str>;
    // As on most machines: shared, so that a bind would receive what is mounted there.
    mount(Some(&place), &place, nothing, MsFlags::MS_BIND, nothing).unwrap();
    mount(nothing, &place, nothing, MsFlags::MS_SHARED, nothing).unwrap();
    let staying = Staying::start(&ground.runner(), &["-v", &bind], &root);
    let late = place.join("late");
    mount(Some("tmpfs"), &late, Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", staying.pids()[0])).unwrap();
    staying.end();
    umount2(&late, MntFlags::MNT_DETACH).unwrap();
    umount2(&place, MntFlags::MNT_DETACH).unwrap();
    assert!(table.contains(" /shared "), "{table}");
    assert!(!table.contains("/shared/late"), "{table}");
    let optional =
        table.lines().filter(|line| line.contains("shared:") || line.contains("master:"));
    assert_eq!(optional.count(), 0, "{table}");
}

#[test]
fn orphans_are_reaped_and_end_with_the_command() {
    let ground = alone();
    let root = ground.minimal().unwrap();
    let runner = ground.runner();
    runner.probe(&[], &root, &["exit", "0"]).unwrap();
    let before = ground.dump(&runner).unwrap();
    let words = ["orphan", "0.01", "+", "sleep", "0.1", "+", "ps", "+", "orphan", "100"];
    let seen = runner.probe(&[], &root, &words).unwrap();
    let zombies = seen.lines().into_iter().filter(|line| line.contains(" Z ")).count();
    assert_eq!(zombies, 0, "{}", seen.text());
    ground.expect_unchanged(&runner, &before);
}

#[test]
fn the_container_dies_with_its_runner() {
    let ground = alone();
    let root = ground.minimal().unwrap();
    let runner = ground.runner();
    let mut staying = Staying::start(&runner, &["--name", "doomed"], &root);
    let pids = staying.pids();
    assert_eq!(pids.len(), 2);
    staying.runner.kill().unwrap();
    soon("the end of the container", || !pids.iter().any(|pid| is_running(*pid)));
}

#[test]
fn the_runner_ends_with_its_container() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let staying = Staying::start(&ground.runner(), &[], &root);
    let first = Pid::from_raw(staying.pids()[0].cast_signed());
    kill(first, Signal::SIGKILL).unwrap();
    let ended = staying.runner.finish(running::PATIENCE).unwrap();
    assert_eq!(ended.code, Some(137), "{ended}");
}
