//! What two tutorials build by hand, step by step, and that one command does each of it.
//!
//! `a` is "create your own Linux container using namespaces", `b` "container from scratch: unshare".

mod running;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::program;
use netns_fixtures::runner::{Ground, Seen};
use netns_fixtures::{isolate, tools};
use nix::errno::Errno;
use nix::libc;
use running::{PATIENCE, Staying, alone, ground, shell, soon};

isolate!();

/// The first id that /etc/subuid gives to the laboratory's user.
const FIRST_OF_RANGE: u32 = 3_000_000;

#[track_caller]
fn seen(ground: &Ground, options: &[&str], words: &[&str]) -> Seen {
    let root = ground.busybox().expect("a root file system");
    ground.runner().probe(options, &root, words).expect("a run")
}

fn errno(error: Errno) -> String {
    format!("errno {}", error as i32)
}

#[test]
fn a1_mounts_are_private_and_the_hosts_table_stays_as_it_is_byte_by_byte() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let table = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = table();
    let staying = Staying::start(&ground.runner(), &["--tmpfs", "/scratch"], &root);
    assert_eq!(table(), before);
    staying.end();
    assert_eq!(table(), before);
}

#[test]
fn a2_an_archive_becomes_an_image_that_runs() {
    let ground = ground();
    let (root, tar) = (ground.busybox().unwrap(), ground.folder().join("root.tar"));
    root.pack(&tar).unwrap();
    let runner = ground.runner();
    runner.run(&["image", "import", "base", tar.to_str().unwrap()]).unwrap().success().unwrap();
    let told = runner.run(&["run", "base", "cat", "/etc/passwd"]).unwrap().success().unwrap();
    assert_eq!(told, fs::read_to_string(root.at("/etc/passwd")).unwrap());
}

#[test]
fn a3_what_a_container_writes_is_not_in_its_base() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let wrote = shell(&runner, &[], &root, "echo hi >/new && rm /etc/group && cat /new && ls /etc");
    let told = wrote.success().unwrap();
    assert!(told.starts_with("hi\n") && !told.contains("group"), "{told}");
    assert!(!root.at("/new").exists() && root.at("/etc/group").exists());
}

#[test]
fn a4_the_images_own_programs_run() {
    let ground = ground();
    let told = shell(&ground.runner(), &[], &ground.busybox().unwrap(), "ls /; pwd");
    let told = told.success().unwrap();
    assert!(told.lines().any(|line| line == "probe") && told.ends_with("/\n"), "{told}");
}

#[test]
fn a5_all_namespaces_come_from_one_call_and_the_network_from_one_beside() {
    let kinds = ["NEWNS", "NEWUTS", "NEWIPC", "NEWPID", "NEWCGROUP"];
    let making = making_namespaces("host");
    assert_eq!(making.len(), 2, "{making:?}");
    assert!(
        making[0].contains("clone3(") && making[1].contains("unshare(CLONE_NEWNET)"),
        "{making:?}"
    );
    assert!(kinds.iter().all(|kind| making[0].contains(kind)), "{making:?}");
    // One that a user namespace has to own can only be made with it.
    let making = making_namespaces("single");
    assert_eq!(making.len(), 1, "{making:?}");
    assert!(making[0].contains("clone3("), "{making:?}");
    assert!(kinds.iter().chain(&["NEWUSER", "NEWNET"]).all(|kind| making[0].contains(kind)));
}

/// The calls that make namespaces for a container with these users, as strace shows them.
fn making_namespaces(users: &str) -> Vec<String> {
    let ground = ground();
    let root = ground.minimal().unwrap();
    let words = ["run", "--users", users, root.path().to_str().unwrap(), "/probe", "ids"];
    let prepared = ground.runner().command(&words).unwrap();
    let mut strace = ground.host().command(tools::find("strace").unwrap());
    strace.args(["-f", "-e", "trace=clone3,clone,unshare,setns"]).arg(prepared.get_program());
    strace.args(prepared.get_args()).env_clear();
    strace.envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let traced = program::run(strace, b"", PATIENCE).unwrap();
    assert!(traced.is_success(), "{traced}");
    // setns(2) makes none: somebody joins the container to take the old root out of it.
    let makes = |line: &&str| line.contains("CLONE_NEW") && !line.contains("setns");
    traced.stderr.lines().filter(makes).map(str::to_owned).collect()
}

#[test]
fn a5_the_calls_can_be_read_without_being_made() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let before = ground.dump(&runner).unwrap();
    let told = shell(&runner, &["--dry-run"], &root, "echo this is not run").success().unwrap();
    let places =
        ["clone3(", "MS_REC|MS_PRIVATE", "pivot_root(\".\", \".\")", "MNT_DETACH", "execve("]
            .map(|call| told.find(call).unwrap_or_else(|| panic!("no {call} in {told}")));
    assert!(places.is_sorted(), "{told}");
    ground.expect_unchanged(&runner, &before);
}

#[test]
fn a6_and_b5_the_host_name_is_the_containers_own() {
    let ground = ground();
    let name = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = name();
    let seen = seen(
        &ground,
        &["--hostname", "tutorial"],
        &["cat", "/proc/sys/kernel/hostname", "/etc/hostname"],
    );
    assert_eq!(seen.lines(), ["tutorial", "tutorial"]);
    assert_eq!(name(), before);
}

#[test]
fn a7_a_mount_inside_is_not_seen_outside() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let staying = Staying::start(&ground.runner(), &["--tmpfs", "/scratch", "--name", "a7"], &root);
    let pid = staying.pids()[0];
    let inside = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert!(inside.contains(" /scratch "), "{inside}");
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/scratch"));
    staying.end();
}

#[test]
fn a8_the_containers_processes_are_all_that_it_sees_and_can_signal() {
    let ground = ground();
    let outside = std::process::id().to_string();
    let kill = libc::SYS_kill.to_string();
    let seen = seen(&ground, &[], &["ps", "+", "syscall", &kill, &outside, "0"]);
    let lines = seen.lines();
    // PID 1 of the runner's, and the probe.
    assert_eq!(lines.len(), 3, "{}", seen.text());
    assert!(lines[1].ends_with(" probe"), "{}", seen.text());
    assert_eq!(lines[2], errno(Errno::ESRCH));
}

#[test]
fn a9_and_b3_the_command_is_pid_1_on_request_and_else_the_child_of_one_that_reaps() {
    let ground = ground();
    let alone = seen(&ground, &["--no-init"], &["ids"]);
    assert_eq!((alone.value("pid"), alone.value("ppid")), ("1", "0"));
    let looked_after =
        seen(&ground, &[], &["orphan", "0", "+", "sleep", "0.2", "+", "ids", "+", "ps"]);
    assert_eq!(looked_after.value("ppid"), "1");
    let zombies = looked_after.lines().into_iter().filter(|line| line.contains(" Z ")).count();
    assert_eq!(zombies, 0, "{}", looked_after.text());
}

#[test]
fn a10_the_root_is_pivoted_and_no_folder_is_left_for_the_old_one() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let listing = || {
        let entries = fs::read_dir(root.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing();
    let seen =
        ground.runner().probe(&["--writes", "direct"], &root, &["cat", "/proc/self/mountinfo"]);
    // setns(2) to the mount namespace leads to the uppermost one.
    assert_eq!(seen.unwrap().mounts().iter().filter(|(at, _)| *at == "/").count(), 1);
    assert_eq!(listing(), before);
}

#[test]
fn a11_and_a12_nothing_of_the_hosts_mounts_is_left() {
    let ground = ground();
    let seen = seen(&ground, &[], &["cat", "/proc/self/mountinfo"]);
    let known = |at: &str| {
        let below = ["/proc", "/dev", "/sys"];
        let files = ["/", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];
        files.contains(&at)
            || below.iter().any(|top| at == *top || at.starts_with(&format!("{top}/")))
    };
    let strange: Vec<_> = seen.mounts().into_iter().filter(|(at, _)| !known(at)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(seen.mounts().contains(&("/proc", "proc")), "{}", seen.text());
    let entry = ground.runner().probe(&[], &ground.minimal().unwrap(), &["stat", "/run/ground"]);
    assert_eq!(entry.unwrap().value("/run/ground"), errno(Errno::ENOENT));
}

#[test]
fn a13_to_a16_a_pair_of_interfaces_carries_packets_both_ways() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let container = "10.0.0.2".parse().unwrap();
    let staying = Staying::start(&ground.runner(), &["--net", "10.0.0.2/24"], &root);
    ping(ground.host(), container).unwrap();
    staying.end();
    let server = TcpEcho::start(ground.host(), "0.0.0.0:4000".parse().unwrap()).unwrap();
    let words = ["links", "+", "ask", "tcp", "198.51.100.2:4000"];
    let seen = ground.runner().probe(&["--net", "10.0.0.2/24"], &root, &words).unwrap();
    drop(server);
    assert!(seen.value("eth0").starts_with("up 10.0.0.2"), "{}", seen.text());
    assert!(seen.value("answer").contains("10.0.0.2:"), "{}", seen.text());
}

#[test]
fn a17_the_default_route_and_nat_lead_outside() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let server = TcpEcho::start(ground.outside(), "0.0.0.0:4000".parse().unwrap()).unwrap();
    let words = ["cat", "/proc/net/route", "+", "ask", "tcp", "198.51.100.1:4000"];
    let options = ["--net", "10.0.0.2/24", "--nat"];
    let seen = ground.runner().probe(&options, &root, &words).unwrap();
    drop(server);
    assert!(seen.text().contains("eth0\t00000000\t0100000A"), "{}", seen.text());
    // The outside saw the host.
    assert!(seen.value("answer").contains("198.51.100.2:"), "{}", seen.text());
}

#[test]
fn a17_a_published_port_leads_inside() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let options = ["--net", "10.0.0.2/24", "--nat", "-p", "8080:80", "--hostname", "web"];
    let words = ["serve", "tcp", "0.0.0.0:80", "1"];
    let mut serving = ground.runner().start_probe(&options, &root, &words).unwrap();
    serving.await_line("listening", PATIENCE).unwrap();
    let at: SocketAddr = "198.51.100.2:8080".parse().unwrap();
    assert_eq!(tcp_ask(ground.outside(), at).unwrap().server, "web");
    assert!(serving.finish(PATIENCE).unwrap().is_success());
}

#[test]
fn a18_the_program_that_runs_is_the_images() {
    let ground = ground();
    let told = shell(&ground.runner(), &[], &ground.busybox().unwrap(), "readlink /proc/$$/exe");
    assert_eq!(told.success().unwrap(), "/bin/busybox\n");
}

#[test]
fn a19_what_the_tutorial_leaves_out_is_there() {
    let ground = ground();
    let seen = seen(&ground, &[], &["ids", "+", "cat", "/proc/self/cgroup"]);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    let all = u64::from_str_radix(all, 16).unwrap();
    let bounding = seen.capabilities("CapBnd");
    assert_eq!(bounding & !all, 0);
    assert!(bounding.count_ones() < 12, "{bounding:x}");
    assert_eq!((seen.value("NoNewPrivs"), seen.value("Seccomp")), ("1", "2"));
    assert!(seen.has_line("0::/"), "{}", seen.text());
}

#[test]
fn b1_and_b2_the_short_form_runs_and_may_fork_again_and_again() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let script = "/bin/true; /bin/true & wait; /bin/echo forked";
    let told = ground.runner().run(&[path, "/bin/sh", "-c", script]).unwrap();
    assert_eq!(told.success().unwrap(), "forked\n");
}

#[test]
fn b4_both_numbers_of_a_process_are_told() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let staying = Staying::start(&runner, &["--name", "b4", "-u", "1000:1000"], &root);
    let pids = staying.pids();
    let told = runner.run(&["ps", "b4", "--json"]).unwrap().success().unwrap();
    for (inside, outside) in (1..).zip(&pids) {
        let pair =
            |text: &str| text.contains(&inside.to_string()) && text.contains(&outside.to_string());
        assert!(pair(&told), "{inside} is {outside} outside: {told}");
    }
    assert_eq!(pids.len(), 2, "{told}");
    assert_eq!(fs::metadata(format!("/proc/{}", pids[1])).unwrap().uid(), 1000);
    staying.end();
}

#[test]
fn b6_without_a_network_there_is_lo_and_it_is_up() {
    let ground = ground();
    let seen = seen(&ground, &["--net", "none"], &["links"]);
    assert_eq!(seen.lines().len(), 1, "{}", seen.text());
    assert!(seen.value("lo").starts_with("up 127.0.0.1"), "{}", seen.text());
}

#[test]
fn b7_dev_has_the_few_devices_that_programs_need() {
    let ground = ground();
    let seen = seen(&ground, &[], &["ls", "/dev", "+", "cat", "/proc/self/mountinfo"]);
    let devices: Vec<_> = seen.lines().into_iter().filter(|line| line.contains(" char ")).collect();
    let wanted = [
        ("full", "1:7"),
        ("null", "1:3"),
        ("random", "1:8"),
        ("tty", "5:0"),
        ("urandom", "1:9"),
        ("zero", "1:5"),
    ];
    assert_eq!(devices.len(), wanted.len(), "{devices:#?}");
    for (name, number) in wanted {
        let line = seen.value(&format!("/dev/{name}"));
        assert!(line.starts_with("char 666 0:0 ") && line.contains(number), "{name} {line}");
    }
    assert!(!seen.lines().iter().any(|line| line.contains(" block ")), "{}", seen.text());
    let mounts = seen.mounts();
    assert!(mounts.contains(&("/dev", "tmpfs")), "{mounts:?}");
    assert!(!mounts.iter().any(|(_, kind)| *kind == "devtmpfs"), "{mounts:?}");
}

#[test]
fn b8_what_one_container_uses_can_be_told() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let counting = runner.start_probe(&["--name", "b8"], &root, &["count", "3"]).unwrap();
    let used = || {
        let told = runner.run(&["stats", "b8", "--json"]).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told.stdout).ok()?;
        told["cpu"]["usage_us"].as_u64()
    };
    soon("processor time of its own", || used().is_some_and(|used| used > 300_000));
    assert!(counting.finish(PATIENCE).unwrap().is_success());
}

#[test]
fn b9_without_root_owners_are_right() {
    let ground = ground();
    let (user, tar) = (ground.user().unwrap(), ground.folder().join("root.tar"));
    ground.busybox().unwrap().pack(&tar).unwrap();
    let runner = ground.runner_of(&user);
    runner.run(&["image", "import", "base", tar.to_str().unwrap()]).unwrap().success().unwrap();
    let words = [
        "run",
        "base",
        "/probe",
        "stat",
        "/",
        "/home/worker",
        "+",
        "ids",
        "+",
        "cat",
        "/proc/self/uid_map",
    ];
    let told = runner.run(&words).unwrap().success().unwrap();
    assert!(told.contains("/home/worker folder 755 1000:1000"), "{told}");
    assert!(told.contains("/ folder 755 0:0"), "{told}");
    assert!(told.contains("\nUid 0 0 0 0\n"), "{told}");
    assert!(told.contains(&FIRST_OF_RANGE.to_string()), "{told}");
}

#[test]
fn b9_a_single_id_is_mapped_only_when_it_is_asked_for() {
    let ground = ground();
    let user = ground.user_without_ranges().unwrap();
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    let runner = ground.runner_of(&user);
    let refused = runner.run_probe(&[], &root, &["ids"]).unwrap();
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains("/etc/subuid"), "{refused}");
    let seen =
        runner.probe(&["--users", "single"], &root, &["ids", "+", "cat", "/proc/self/uid_map"]);
    let seen = seen.unwrap();
    let map = seen.lines().pop().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(map, ["0", &user.id.to_string(), "1"]);
}

#[test]
fn b10_the_command_runs_as_somebody_else_from_its_first_instruction() {
    let ground = ground();
    let seen = seen(&ground, &["-u", "worker"], &["ids"]);
    assert_eq!(seen.value("Uid"), "1000 1000 1000 1000");
    assert_eq!(seen.value("Gid"), "1000 1000 1000 1000");
    // With its own group among them: a program that leaves that one must not lose the restrictions
    // of files that give it less than others (CVE-2022-36109).
    assert_eq!(seen.value("Groups"), "29 50 1000");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(seen.capabilities(set), 0, "{set}");
    }
}

#[test]
fn b11_root_inside_cannot_get_at_the_hosts_devices_and_is_warned_of() {
    let ground = ground();
    let mknod = libc::SYS_mknodat.to_string();
    // A block device, 8:0, is the first disk on many machines.
    let words = ["syscall", &mknod, "-100", "@/disk", "24960", "2048"];
    let seen = seen(&ground, &[], &words);
    assert_eq!(seen.lines(), [errno(Errno::EPERM)]);
    let warnings = seen.complaints().lines().filter(|line| line.contains("warning")).count();
    assert_eq!(warnings, 1, "{}", seen.complaints());
}

#[test]
fn b11_a_device_in_the_image_does_not_open() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let made = Command::new("mknod").arg(root.at("/zero")).args(["c", "1", "5"]).status().unwrap();
    assert!(made.success());
    let seen = ground.runner().probe(&[], &root, &["open", "r", "/zero"]).unwrap();
    assert_eq!(seen.value("/zero"), errno(Errno::EACCES));
}

#[test]
fn b12_user_namespaces_inside_are_refused_unless_they_are_asked_for() {
    let ground = ground();
    let (unshare, clone3) = (libc::SYS_unshare.to_string(), libc::SYS_clone3.to_string());
    let flag = libc::CLONE_NEWUSER.to_string();
    let words = ["syscall", &unshare, &flag, "+", "syscall", &clone3, "%88", "88"];
    let refused = seen(&ground, &[], &words);
    // A C library falls back to clone, whose flags a filter can see.
    assert_eq!(refused.lines(), [errno(Errno::EPERM), errno(Errno::ENOSYS)]);
    let root = ground.minimal().unwrap();
    let words = ["syscall", &unshare, &flag];
    let allowed = ground.runner().probe(&["--nested-users"], &root, &words).unwrap();
    assert_eq!(allowed.lines(), ["= 0"]);
}
