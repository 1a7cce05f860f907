//! CVE-2024-21626, CVE-2016-9962: a descriptor of the host that is open where the container gets it.

use std::fs::{self, File};

use netns_fixtures::program;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::close;
use std::os::fd::IntoRawFd;

use crate::running::{PATIENCE, Staying, ground};
use crate::text;

/// Numbers under which the host's root is open while this lives, inherited by whatever is started.
struct Leak(Vec<i32>);

impl Leak {
    fn new() -> Self {
        let root = File::open("/").unwrap();
        let copies = (3..40).map(|at| fcntl(&root, FcntlArg::F_DUPFD(at)).unwrap());
        let mut numbers: Vec<_> = copies.collect();
        numbers.push(root.into_raw_fd());
        Self(numbers)
    }
}

impl Drop for Leak {
    fn drop(&mut self) {
        self.0.iter().for_each(|number| close(*number).unwrap());
    }
}

#[test]
fn a_working_directory_by_descriptor_leads_nowhere() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let leak = Leak::new();
    let most = leak.0.iter().max().copied().unwrap();
    for number in 3..=most + 2 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/..")] {
            for options in [&["-w", &path][..], &["--no-init", "-w", &path]] {
                let ended = ground.runner().run_probe(options, &root, &["ls", "."]).unwrap();
                assert_eq!(ended.code, Some(125), "{path}: {ended}");
                assert_eq!(ended.stdout, "", "{path}");
            }
        }
    }
}

#[test]
fn nobody_in_the_container_holds_anything_of_the_hosts() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let _leak = Leak::new();
    let seen = ground.runner().probe(&[], &root, &["fds", "+", "ls", "/proc/1/fd"]).unwrap();
    let names: Vec<_> = seen.lines().iter().map(|line| line.split(' ').next().unwrap()).collect();
    let of_first = ["/proc/1/fd/0", "/proc/1/fd/1", "/proc/1/fd/2"];
    assert_eq!(names, [&["0", "1", "2"], &of_first[..]].concat(), "{}", seen.text());
    // That they are there may be known, not what they are.
    assert!(seen.lines().iter().all(|line| !line.contains("->")), "{}", seen.text());
    let staying = Staying::start(&ground.runner(), &[], &root);
    for pid in staying.pids() {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let path = entry.unwrap().path();
            let number: i32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            let target = fs::read_link(&path).unwrap();
            assert!(number < 3, "{pid} holds {number}: {target:?}");
        }
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().as_os_str(), "/");
    }
    staying.end();
}

#[test]
fn closed_standard_descriptors_are_no_way_in() {
    let ground = ground();
    let path = ground.busybox().unwrap();
    let runner = ground.runner();
    let called = runner.command(&["run", "-q", text(path.path()), "/probe", "fds"]).unwrap();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "<&- 2>&-"] {
        let mut command = ground.host().command("/bin/sh");
        let out = ground.folder().join("out");
        let script = format!("\"$@\" {closed}");
        command.args(["-c", &script, "sh"]).arg(called.get_program()).args(called.get_args());
        command.env_clear().envs(runner.variables()).env("OUT", &out);
        let ended = program::run(command, b"", PATIENCE).unwrap();
        assert!(ended.code.is_some_and(|code| code == 0 || code == 125), "{closed}: {ended}");
        let many = ended.stdout.lines().filter(|line| !line.starts_with(['0', '1', '2'])).count();
        assert_eq!(many, 0, "{closed}: {ended}");
    }
}

/// The same by whoever comes later; it also has a handle of the container's first process open.
#[test]
fn exec_brings_no_working_directory_of_the_hosts() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let staying = Staying::start(&ground.runner(), &["--name", "entered"], &root);
    let _leak = Leak::new();
    for number in 0..30 {
        let path = format!("/proc/self/fd/{number}");
        let words = ["exec", "-w", &path, "entered", "/probe", "ls", "."];
        let ended = ground.runner().run(&words).unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{path}: {ended}");
    }
    let words = ["exec", "entered", "/probe", "fds", "+", "cwd"];
    let seen = ground.runner().run(&words).unwrap().success().unwrap();
    let numbers: Vec<_> = seen.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "2", "/"], "{seen}");
    staying.end();
}

/// Standard input that is a folder of the host's is the caller's own doing, but no way to start.
#[test]
fn a_folder_as_standard_input_is_no_working_directory() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let words =
        ["run", "-q", "-i", "-w", "/proc/self/fd/0", text(root.path()), "/probe", "ls", "."];
    let called = ground.runner().command(&words).unwrap();
    let mut command = ground.host().command("/bin/sh");
    command.args(["-c", "exec \"$@\" </", "sh"]).arg(called.get_program()).args(called.get_args());
    command.env_clear().envs(ground.runner().variables());
    let ended = program::run(command, b"", PATIENCE).unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{ended}");
}

/// CVE-2016-9962: whoever enters is looked at, from its first moment to its last.
#[test]
fn those_who_enter_show_nothing() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    // Whatever another process than its own has open, runs or was given, as fast as a shell can.
    let script = "echo ready; while [ ! -e /tmp/stop ]; do for p in /proc/[0-9]*; do \
                  for f in $p/fd/* $p/exe $p/cwd $p/root; do readlink $f; done; \
                  cat $p/environ; done; done 2>/dev/null | grep -aE 'ground|netup|NETUP' >&2; \
                  echo over";
    let words = ["run", "-q", "--name", "looking", text(root.path()), "/bin/sh", "-c", script];
    let mut looking = ground.runner().start(&words).unwrap();
    looking.await_line("ready", PATIENCE).unwrap();
    for _ in 0..60 {
        let ended = ground.runner().run(&["exec", "looking", "/probe", "exit", "0"]).unwrap();
        assert!(ended.is_success(), "{ended}");
    }
    let stop = ["exec", "looking", "/probe", "write", "/tmp/stop", ""];
    assert!(ground.runner().run(&stop).unwrap().is_success());
    let said = looking.finish(PATIENCE).unwrap();
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(0), "ready\nover\n", "")
    );
}
