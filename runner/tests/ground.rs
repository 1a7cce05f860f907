//! The ground that the runner is tested on, tried with programs that are not the runner.

use netns_fixtures::{
    isolate,
    program::{Ended, run},
    runner::{Ground, Root, User, probe},
};
use nix::mount::{MsFlags, mount};
use std::{fs, process::Command, time::Duration};

isolate!();

const SOON: Duration = Duration::from_secs(30);

/// What a caller of the runner could do, done by another program.
fn as_user(ground: &Ground, user: &User, words: &[&str]) -> Ended {
    let runner = ground.runner_of(user);
    let mut command = Command::new("setpriv");
    let prepared = runner.command(&[]).unwrap();
    command.envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let id = user.id.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).args(words);
    command.current_dir(&user.home);
    run(command, b"", SOON).unwrap()
}

fn chroot(root: &Root, words: &[&str]) -> String {
    let mut command = Command::new("chroot");
    command.arg(root.path()).arg("/probe").args(words);
    run(command, b"", SOON).unwrap().success().unwrap()
}

#[test]
fn the_probe_needs_nothing_of_its_root() {
    let ground = Ground::new(probe()).unwrap();
    let root = Root::minimal(ground.folder().join("root")).unwrap();
    let told = chroot(&root, &["args", "a b", "+", "cwd", "+", "open", "r", "/nope", "/probe"]);
    assert_eq!(told, "\"a b\"\n/\n/nope errno 2\n/probe ok\n");
}

#[test]
fn busybox_has_its_names_and_users() {
    let ground = Ground::new(probe()).unwrap();
    let root = Root::busybox(ground.folder().join("root")).unwrap();
    let told =
        chroot(&root, &["exec", "/bin/sh", "-c", "grep -c . /etc/passwd; stat -c %U /home/worker"]);
    assert_eq!(told, "4\nworker\n");
}

#[test]
fn a_user_has_ranges_and_no_rights() {
    let ground = Ground::new(probe()).unwrap();
    let user = ground.user().unwrap();
    let seen = as_user(&ground, &user, &[probe_of(&ground), "ids", "+", "env"]).success().unwrap();
    assert!(seen.contains("\nUid 64001 64001 64001 64001\n"), "{seen}");
    assert!(seen.contains("\nCapEff 0000000000000000\n"), "{seen}");
    assert!(seen.contains("XDG_RUNTIME_DIR=/run/ground/"), "{seen}");
    let map = ["unshare", "--user", "--map-root-user", "--map-auto", "cat", "/proc/self/uid_map"];
    let map = as_user(&ground, &user, &map).success().unwrap();
    assert!(map.contains("3000000"), "{map}");
    let poor = ground.user_without_ranges().unwrap();
    let refused = as_user(&ground, &poor, &["unshare", "--user", "--map-auto", "true"]);
    assert!(!refused.is_success(), "{refused}");
}

/// The runner of this file is the probe itself, under a path that all may use.
fn probe_of(ground: &Ground) -> &'static str {
    assert!(ground.folder().starts_with("/run/ground"));
    "/run/ground/probe"
}

#[test]
#[should_panic(expected = "== mounts\n+ ")]
fn a_mount_that_stays_is_seen() {
    let ground = Ground::alone(probe()).unwrap();
    let runner = ground.runner();
    let before = ground.dump(&runner).unwrap();
    ground.expect_unchanged(&runner, &before);
    let folder = ground.folder().join("left");
    fs::create_dir(&folder).unwrap();
    mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    ground.expect_unchanged(&runner, &before);
}

#[test]
#[should_panic(expected = "== processes\n+ ")]
fn a_process_that_stays_is_seen_although_its_parent_is_gone() {
    let ground = Ground::alone(probe()).unwrap();
    let runner = ground.runner();
    let before = ground.dump(&runner).unwrap();
    assert!(runner.run(&["orphan", "30"]).unwrap().is_success());
    ground.expect_unchanged(&runner, &before);
}

#[test]
fn what_ends_by_itself_is_waited_for() {
    let ground = Ground::alone(probe()).unwrap();
    let runner = ground.runner();
    let before = ground.dump(&runner).unwrap();
    assert!(runner.run(&["orphan", "0.5"]).unwrap().is_success());
    ground.expect_unchanged(&runner, &before);
}
