//! SIGKILL at every step: of the runner, of the container's first process, of what becomes the
//! command, at each system call of each of them. Nothing hangs, nobody stays, and the host is as
//! before: at once for mounts and processes, for the rest after the next `gc`.

#[path = "crash/traced.rs"]
mod traced;

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use netns_fixtures::runner::{Ground, Root, Runner};
use netns_fixtures::{Dump, isolate};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use running::{PATIENCE, Staying, alone};
use traced::{Blow, Outcome, Role};

isolate!();

/// Of every test in this file: what it leaves in the machine's one control group hierarchy is told
/// from others' by it.
fn name(test: &str) -> String {
    format!("crash-{test}-{}", std::process::id())
}

/// One way to run a container.
struct Variant<'a> {
    ground: &'a Ground,
    runner: Runner,
    name: String,
    words: Vec<String>,
}

/// What shows at once whether something was left.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    files: Vec<PathBuf>,
    cgroups: Vec<PathBuf>,
}

impl<'a> Variant<'a> {
    fn new(ground: &'a Ground, runner: Runner, test: &str, words: &[&str]) -> Self {
        let name = name(test);
        let words = [&["run", "-q", "--name", &name], words].concat();
        let words = words.into_iter().map(str::to_owned).collect();
        Self { ground, runner, name, words }
    }

    fn strike(&self, blow: Blow) -> Outcome {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let command = self.runner.command(&words).unwrap();
        traced::run(self.ground.host(), &command, blow)
    }

    fn left(&self) -> Left {
        let mut files = Vec::new();
        for folder in [self.runner.state(), self.runner.store()] {
            list(folder, &mut files);
        }
        // Of the network's own records the empty folders are no leases.
        let mut records = Vec::new();
        list(&self.runner.state().with_file_name("netup"), &mut records);
        files.extend(records.into_iter().filter(|path| path.is_file() && !path.ends_with("lock")));
        Left { files, cgroups: cgroups_named(&self.name) }
    }

    fn gc(&self) {
        let ended = self.runner.run(&["gc"]).unwrap();
        assert!(ended.is_success(), "{ended}");
    }

    /// Every call of `counted`, and then the host as a whole.
    fn everywhere(&self, counted: Role, victim: Role) {
        self.undisturbed();
        let (dump, before) = (self.dump(), self.left());
        let mounts_before = mounts();
        for at in 1.. {
            let outcome = self.strike_once_more_if_late(Blow { counted, at, victim });
            let Some(call) = &outcome.before else {
                let least = if counted == Role::Helper { 2 } else { 5 };
                assert!(at > least, "only {at} calls of {counted:?}: {outcome:?}");
                break;
            };
            let what = format!("{victim:?} killed before call {at} ({call}) of {counted:?}");
            self.expect_end(&outcome, victim, &what);
            assert!(mounts() == mounts_before, "{what}: {}", mounts());
            self.gc();
            assert_eq!(self.left(), before, "{what}");
        }
        self.undisturbed();
        self.expect_as(&dump, &format!("{victim:?} killed at the calls of {counted:?}"));
    }

    /// The kernel takes back links on its own time.
    fn expect_as(&self, dump: &Dump, what: &str) {
        let started = Instant::now();
        while self.dump() != *dump {
            let changes = dump.changes(&self.dump());
            assert!(started.elapsed() < PATIENCE, "{what}: {changes}");
        }
    }

    /// Without the machine's control groups, where others' come and go.
    fn dump(&self) -> Dump {
        self.ground.dump(&self.runner).unwrap().without_section("cgroups")
    }

    fn undisturbed(&self) {
        let outcome = self.strike(Blow { counted: Role::Runner, at: 0, victim: Role::Runner });
        assert!(matches!(outcome.runner, WaitStatus::Exited(_, 0)), "{outcome:?}");
    }

    /// A machine that is busy with other things can be slow once, not twice at the same place.
    fn strike_once_more_if_late(&self, blow: Blow) -> Outcome {
        let outcome = self.strike(blow);
        if !outcome.is_late() {
            return outcome;
        }
        self.gc();
        let again = self.strike(blow);
        assert!(!again.is_late(), "{blow:?} takes long: {outcome:?} {again:?}");
        again
    }

    fn expect_end(&self, outcome: &Outcome, victim: Role, what: &str) {
        match (outcome.runner, victim) {
            (WaitStatus::Signaled(_, Signal::SIGKILL, _), Role::Runner) => {}
            (WaitStatus::Exited(_, 0), _) if !outcome.struck => {}
            // Before its command runs it has failed; from then on the command's end is its own.
            (WaitStatus::Exited(_, 125 | 137), Role::First | Role::Command) => {}
            // It may have been done.
            (WaitStatus::Exited(_, 0 | 125), Role::Helper) => {}
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn list(folder: &Path, lines: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        lines.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), lines);
        }
    }
    lines.sort();
}

/// A container's is at most two folders below where the hierarchy is mounted, or below our own.
fn cgroups_named(name: &str) -> Vec<PathBuf> {
    let table = mounts();
    let hierarchies = table.lines().filter(|line| line.contains(" - cgroup2 "));
    let places = hierarchies.filter_map(|line| line.split(' ').nth(4));
    let possible =
        |place| [format!("{place}/netup-run/{name}"), format!("{place}/netup-run-{name}")];
    places.flat_map(possible).map(PathBuf::from).filter(|path| path.exists()).collect()
}

const ALL: [(Role, Role); 11] = [
    (Role::Runner, Role::Runner),
    (Role::First, Role::First),
    (Role::Command, Role::Command),
    // The one dies while the other is in the middle of something.
    (Role::First, Role::Runner),
    (Role::Command, Role::Runner),
    (Role::Runner, Role::First),
    (Role::Runner, Role::Command),
    (Role::Helper, Role::Helper),
    (Role::Helper, Role::Runner),
    (Role::Helper, Role::First),
    (Role::Runner, Role::Helper),
];

/// The runner and the first process each by itself, and the one while the other is at work.
const MOST: [(Role, Role); 5] = [
    (Role::Runner, Role::Runner),
    (Role::First, Role::First),
    (Role::First, Role::Runner),
    (Role::Runner, Role::First),
    (Role::Helper, Role::Helper),
];

/// Everything that outlives a process at once.
#[test]
fn the_next_start_of_the_same_name_clears_up_too() {
    let ground = alone();
    let runner = ground.runner();
    import(&ground, &runner);
    let words = ["--writes", "disk", "--net", "10.78.0.2/24", "--nat", "it", "/probe", "exit", "0"];
    let variant = Variant::new(&ground, runner, "again", &words);
    variant.undisturbed();
    let (dump, before) = (variant.dump(), variant.left());
    for at in 1.. {
        let blow = Blow { counted: Role::Runner, at, victim: Role::Runner };
        if variant.strike(blow).before.is_none() {
            break;
        }
    }
    variant.undisturbed();
    assert_eq!(variant.left(), before);
    variant.expect_as(&dump, "all of them");
}

/// One who enters and is killed leaves the container as it was, and nobody in it.
#[test]
fn entering() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let name = name("entered");
    // By another thread: what this one started, its tracer would wait for.
    let start = || Staying::start(&ground.runner(), &["--name", &name], &root);
    let staying = thread::scope(|scope| scope.spawn(start).join().unwrap());
    let before = staying.pids();
    let command = ground.runner().command(&["exec", &name, "/probe", "sleep", "0.01"]).unwrap();
    for at in 1.. {
        let blow = Blow { counted: Role::Runner, at, victim: Role::Runner };
        let outcome = traced::run(ground.host(), &command, blow);
        assert_eq!(staying.pids(), before, "{outcome:?}");
        if outcome.before.is_none() {
            assert!(matches!(outcome.runner, WaitStatus::Exited(_, 0)), "{outcome:?}");
            break;
        }
    }
    assert!(staying.end().is_success());
}

/// An image is there as a whole or not at all.
#[test]
fn importing() {
    let ground = alone();
    let runner = ground.runner();
    let root = Root::existing(ground.folder().join("small"));
    root.folder("folder", 0o755).unwrap();
    root.file("folder/file", "text").unwrap();
    let tar = ground.folder().join("small.tar");
    root.pack(&tar).unwrap();
    import(&ground, &runner);
    let store = || {
        let mut found = Vec::new();
        list(runner.store(), &mut found);
        found
    };
    let before = store();
    let words = ["image", "import", "-q", "small", tar.to_str().unwrap()];
    let command = runner.command(&words).unwrap();
    for at in 1.. {
        let blow = Blow { counted: Role::Runner, at, victim: Role::Runner };
        let outcome = traced::run(ground.host(), &command, blow);
        assert!(runner.run(&["gc"]).unwrap().is_success());
        let listed = runner.run(&["image", "ls"]).unwrap().success().unwrap();
        if listed.contains("small") {
            runner.run(&["image", "rm", "small"]).unwrap().success().unwrap();
        }
        assert_eq!(store(), before, "{outcome:?}: {listed}");
        if outcome.before.is_none() {
            break;
        }
    }
}

fn import(ground: &Ground, runner: &Runner) {
    let tar = ground.folder().join("image.tar");
    ground.minimal().unwrap().pack(&tar).unwrap();
    runner.run(&["image", "import", "-q", "it", tar.to_str().unwrap()]).unwrap().success().unwrap();
}

fn strike_everywhere(variant: &Variant<'_>, blows: &[(Role, Role)]) {
    for (counted, victim) in blows {
        variant.everywhere(*counted, *victim);
    }
}

#[test]
fn without_a_network() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let words = [root.path().to_str().unwrap(), "/probe", "exit", "0"];
    strike_everywhere(&Variant::new(&ground, ground.runner(), "none", &words), &ALL);
}

/// Where the command is the first process itself, and what it has lost of its bond to the runner by
/// becoming somebody else it has to have again before it runs.
#[test]
fn without_an_init() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let words =
        ["--no-init", "-u", "1000", root.path().to_str().unwrap(), "/probe", "sleep", "1.5"];
    let variant = Variant::new(&ground, ground.runner(), "no-init", &words);
    strike_everywhere(&variant, &[(Role::First, Role::Runner), (Role::First, Role::First)]);
}

#[test]
fn with_addresses_nat_and_a_port() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let net = ["--net", "10.77.0.2/24", "--net", "fd77::2/64", "--nat", "-p", "8077:80"];
    let words = [&net[..], &[root.path().to_str().unwrap(), "/probe", "exit", "0"]].concat();
    strike_everywhere(&Variant::new(&ground, ground.runner(), "net", &words), &MOST);
}

#[test]
fn with_ranges_of_an_ordinary_user() {
    let ground = alone();
    let user = ground.user().unwrap();
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    let words = [root.path().to_str().unwrap(), "/probe", "exit", "0"];
    strike_everywhere(&Variant::new(&ground, ground.runner_of(&user), "user", &words), &MOST);
}

#[test]
fn with_an_image_and_writes_on_disk() {
    let ground = alone();
    let runner = ground.runner();
    import(&ground, &runner);
    let words = ["--writes", "disk", "it", "/probe", "write", "/file", "text"];
    strike_everywhere(&Variant::new(&ground, runner, "image", &words), &MOST);
}

/// With idmapped mounts on their way from the runner to the container.
#[test]
fn with_an_image_and_ranges_of_root() {
    let ground = alone();
    let runner = ground.runner();
    import(&ground, &runner);
    let ranges = ["--users", "ranges", "--writes", "disk"];
    let words = [&ranges[..], &["it", "/probe", "write", "/file", "text"]].concat();
    strike_everywhere(&Variant::new(&ground, runner, "idmapped", &words), &MOST);
}
