//! What the kernel refuses, as it is told: with the limit or switch that is behind it.

mod running;

use std::process::Command;

use netns_fixtures::isolate;
use netns_fixtures::program::{self, Ended};
use netns_fixtures::runner::{Ground, Root, Runner, User};
use running::{PATIENCE, ground};

isolate!();

/// Calls the runner by way of other programs.
#[track_caller]
fn run_by(ground: &Ground, way: &[&str], runner: &Runner, words: &[&str]) -> Ended {
    let mut command: Command = ground.host().command(way[0]);
    command.args(&way[1..]).arg(runner.program()).args(words);
    command.env_clear().envs(runner.variables());
    program::run(command, b"", PATIENCE).unwrap()
}

#[track_caller]
fn expect_refusal(ended: &Ended, says: [&str; 2]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{ended}");
    assert!(says.iter().all(|text| ended.stderr.contains(text)), "{says:?}: {ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
}

fn text(root: &Root) -> &str {
    root.path().to_str().unwrap()
}

#[test]
fn too_many_processes_of_the_user() {
    let ground = ground();
    // Processes of other tests would be counted, of those that just end as well.
    let user = User { id: 64_777, ..ground.user_without_ranges().unwrap() };
    user.own(&user.home).unwrap();
    user.own(&user.runtime).unwrap();
    let root = ground.minimal().unwrap();
    let id = user.id.to_string();
    let become_user = ["--reuid", &id, "--regid", &id, "--clear-groups", "--"];
    // With the runner itself, and with the container's first process.
    for (most, missing) in [("1", "clone3"), ("2", "clone(CLONE_VM)")] {
        let limit = format!("--nproc={most}");
        let way = [&["prlimit", &limit, "setpriv"], &become_user[..]].concat();
        let words = ["run", "--users", "single", text(&root), "/probe", "exit", "0"];
        let ended = run_by(&ground, &way, &ground.runner_of(&user), &words);
        expect_refusal(&ended, ["EAGAIN", "ulimit -u"]);
        assert!(ended.stderr.contains(missing), "{ended}");
    }
}

#[test]
fn no_namespaces_of_a_kind() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    for (kind, users) in [("user", "single"), ("pid", "host"), ("net", "host")] {
        let limit = format!("max_{kind}_namespaces");
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
        let way = ["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
        let words = ["run", "-q", "--users", users, text(&root), "/probe", "exit", "0"];
        let ended = run_by(&ground, &way, &ground.runner(), &words);
        expect_refusal(&ended, ["ENOSPC", &format!("sysctl user.{limit}=")]);
    }
}

#[test]
fn no_right_to_make_namespaces() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let way = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"];
    let words = ["run", "-q", "--users", "host", text(&root), "/probe", "exit", "0"];
    let ended = run_by(&ground, &way, &ground.runner(), &words);
    expect_refusal(&ended, ["EPERM", "CAP_SYS_ADMIN"]);
}

/// create_user_ns in kernel/user_namespace.c refuses who could leave a chroot by it.
#[test]
fn user_namespaces_forbidden_without_a_switch() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let script = format!("mount --rbind / {0} && exec chroot {0} \"$@\"", text(&root));
    let way = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let words = ["run", "-q", "--users", "single", text(&root), "/probe", "exit", "0"];
    let ended = run_by(&ground, &way, &ground.runner(), &words);
    expect_refusal(&ended, ["EPERM", "chroot"]);
}
