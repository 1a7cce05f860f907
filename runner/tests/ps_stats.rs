//! What ps, stats, pause and gc find of a container, here one made by hand: a process in namespaces
//! and a cgroup, and a record of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use netup_run::cgroup::{self, Parent};
use netup_run::name::ContainerName;
use netup_run::ps::Standing;
use netup_run::request::Limits;
use netup_run::state::{Claim, Init, Record, RootRecord, State};
use netup_run::{ErrorKind, gc, pause, ps, reply, stats};

struct World {
    state: State,
    /// Of the hierarchy, for this test alone.
    cgroup: PathBuf,
    _folder: tempfile::TempDir,
}

struct Running {
    claim: Claim,
    record: Record,
    child: Child,
}

fn name() -> ContainerName {
    "web".parse().unwrap()
}

impl World {
    fn new(of: &str) -> Self {
        let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let hierarchy = if pure { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
        let cgroup =
            Path::new(hierarchy).join(format!("netup-run-test-{of}-{}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { state: State::at(folder.path()), cgroup, _folder: folder }
    }

    /// A shell as PID 1 of a pid namespace, with a child.
    fn run(&self, with_cgroup: bool) -> Running {
        let mut claim = self.state.claim(Some(&name()), |_| panic!("nothing to clear")).unwrap();
        let cgroup = with_cgroup.then(|| {
            let made = Parent::at(&self.cgroup).create(&name(), &Limits::default());
            made.unwrap().unwrap().path().to_owned()
        });
        let enter = match &cgroup {
            Some(path) => format!("echo 0 > {}/cgroup.procs; ", path.display()),
            None => String::new(),
        };
        let script = format!("{enter}exec unshare --pid --fork --kill-child sh -c 'sleep 100; :'");
        let child = Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
        let init = first_inside(i32::try_from(child.id()).unwrap());
        let mut record = Record::new(name(), &["sh".into(), "-c".into()], "debian".to_owned());
        record.init = Some(Init::now(init));
        record.cgroup = cgroup;
        record.addresses = vec!["10.0.0.2/24".parse().unwrap()];
        claim.write(&record).unwrap();
        Running { claim, record, child }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        cgroup::discard(&self.cgroup).ok();
    }
}

/// The process that `unshare --fork` has started, once it has its own child.
fn first_inside(unshare: i32) -> i32 {
    let started = Instant::now();
    loop {
        let child = |pid: i32| {
            let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().parse::<i32>().ok()
        };
        if let Some(init) = child(unshare)
            && child(init).is_some()
        {
            return init;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn processes_have_both_ids_side_by_side() {
    for with_cgroup in [true, false] {
        let world = World::new(if with_cgroup { "ps" } else { "ps-bare" });
        let mut running = world.run(with_cgroup);
        let init = running.record.init.unwrap().pid;
        let mut found = ps::processes(&world.state, &name()).unwrap();
        // In its cgroup is also the unshare that waits outside the pid namespace.
        found.retain(|process| !process.command.starts_with("unshare"));
        let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [1, 2], "{found:?}");
        assert_eq!(found[0].host_pid, init);
        assert!(found[1].host_pid > init && found[1].command == "sleep 100", "{found:?}");
        let text = reply::processes(&found);
        assert!(text.contains(&format!("{init}")) && text.contains("HOST-PID"), "{text}");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        running.claim.forget().unwrap();
    }
}

#[test]
fn containers_are_listed_with_what_their_records_say() {
    let world = World::new("list");
    assert_eq!(ps::containers(&world.state).unwrap().len(), 0);
    let mut running = world.run(true);
    let all = ps::containers(&world.state).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].pid, Some(running.record.init.unwrap().pid));
    assert_eq!((all[0].status, all[0].runner), (Standing::Running, running.record.runner));
    assert!(all[0].uptime < 60);
    let json: serde_json::Value = serde_json::from_str(&reply::json(&all).unwrap()).unwrap();
    assert_eq!(json[0]["addresses"][0], "10.0.0.2/24");
    assert_eq!(json[0]["status"], "running");
    let text = reply::containers(&all);
    let row = text.lines().nth(1).unwrap();
    assert!(row.starts_with("web") && row.ends_with("10.0.0.2   debian  sh -c"), "{text}");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    running.claim.forget().unwrap();
}

#[test]
fn a_paused_container_stands_still() {
    let world = World::new("pause");
    let mut running = world.run(true);
    let cpu = || stats::stats(&world.state, &name()).unwrap().cpu.unwrap().usage_us;
    let cgroup = running.record.cgroup.clone().unwrap();
    let busy = format!("echo 0 > {}/cgroup.procs; while :; do :; done", cgroup.display());
    let mut loops = Command::new("/bin/sh").args(["-c", &busy]).spawn().unwrap();
    let grows = || {
        let before = cpu();
        thread::sleep(Duration::from_millis(300));
        cpu() > before
    };
    let started = Instant::now();
    while !grows() {
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    pause::pause(&world.state, &name()).unwrap();
    assert!(!grows());
    assert_eq!(ps::containers(&world.state).unwrap()[0].status, Standing::Paused);
    pause::resume(&world.state, &name()).unwrap();
    assert!(grows());
    loops.kill().unwrap();
    loops.wait().unwrap();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    running.claim.forget().unwrap();
}

#[test]
fn each_figure_is_there_or_said_to_be_missing() {
    let world = World::new("stats");
    let mut running = world.run(true);
    let stats = stats::stats(&world.state, &name()).unwrap();
    let controllers = fs::read_to_string(world.cgroup.join("cgroup.subtree_control")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&reply::json(&stats).unwrap()).unwrap();
    let text = reply::stats(&stats);
    assert!(json["cpu"]["usage_us"].as_u64().unwrap() > 0);
    let figures = [("cpu_limit", "cpu"), ("memory", "memory"), ("pids", "pids"), ("io", "io")];
    for (figure, controller) in figures {
        let missing = stats.missing.iter().find(|missing| missing.figure == figure);
        let on = controllers.split_whitespace().any(|name| name == controller);
        assert_eq!((json[figure].is_object(), missing.is_none()), (on, on), "{figure}");
        if let Some(missing) = missing {
            let said = format!("the cgroup v2 controller {controller} is not on");
            assert!(missing.reason.contains(&said) && text.contains(&said), "{text}");
        }
    }
    for figure in ["cpu_pressure", "memory_pressure", "io_pressure"] {
        let missing = stats.missing.iter().any(|missing| missing.figure == figure);
        assert_ne!(json[figure].is_object(), missing, "{figure}");
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    running.claim.forget().unwrap();
}

#[test]
fn without_a_cgroup_there_are_no_figures() {
    let world = World::new("bare");
    let mut running = world.run(false);
    for error in [
        stats::stats(&world.state, &name()).unwrap_err(),
        pause::pause(&world.state, &name()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::MissingFeature);
        assert!(error.to_string().contains("container web has no cgroup"), "{error}");
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    running.claim.forget().unwrap();
    let error = ps::processes(&world.state, &name()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_a_dead_runner_left_is_collected_and_nothing_else() {
    let world = World::new("gc");
    let mut running = world.run(true);
    let alive = gc::collect(&world.state).unwrap();
    assert_eq!((alive.removed.len(), alive.failed.len()), (0, 0));
    assert!(running.child.try_wait().unwrap().is_none());

    let cgroup = running.record.cgroup.clone().unwrap();
    // To drop it leaves the record, as death does.
    drop(running.claim);
    let collected = collect(&world);
    assert_eq!(collected.removed.len(), 1, "{collected:?}");
    assert_eq!(collected.removed[0].undone, ["processes", "cgroup"]);
    assert!(!cgroup.exists());
    // By the signal, or as unshare(1) tells of its own child's end, whichever comes first.
    assert!(!running.child.wait().unwrap().success());
    assert_eq!(gc::collect(&world.state).unwrap().removed.len(), 0);
}

/// Other tests' children hold our locks, too, from their fork to their exec.
fn collect(world: &World) -> gc::Collected {
    let started = Instant::now();
    loop {
        let collected = gc::collect(&world.state).unwrap();
        let nothing = collected.removed.is_empty() && collected.failed.is_empty();
        if !nothing || started.elapsed() > Duration::from_secs(5) {
            return collected;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_failure_keeps_the_record_and_stops_nothing() {
    let world = World::new("gc-fails");
    let mut running = world.run(true);
    let store = tempfile::tempdir().unwrap();
    let path = store.path().join("runs/it");
    let busy = path.join("root");
    fs::create_dir_all(&busy).unwrap();
    let (kind, none) = (Some("tmpfs"), None::<&str>);
    nix::mount::mount(kind, &busy, kind, nix::mount::MsFlags::empty(), none).unwrap();
    running.record.root = Some(RootRecord { path: path.clone() });
    running.claim.write(&running.record).unwrap();
    drop(running.claim);
    let collected = collect(&world);
    assert_eq!(collected.removed.len(), 0);
    let told = collected.failed[0].1.to_string();
    assert!(told.contains("undo its root: ") && told.contains("EBUSY"), "{told}");
    assert!(!running.record.cgroup.clone().unwrap().exists(), "the rest was undone");
    nix::mount::umount(&busy).unwrap();
    let collected = collect(&world);
    assert_eq!(collected.removed[0].undone, ["processes", "cgroup", "root"]);
    assert!(!path.exists());
    running.child.wait().unwrap();
}

/// A process id may have come to mean somebody else's process.
#[test]
fn a_process_that_started_later_is_not_killed() {
    let world = World::new("gc-reuse");
    let mut claim = world.state.claim(Some(&name()), |_| panic!("nothing to clear")).unwrap();
    let mut record = Record::new(name(), &[], String::new());
    let seen = Init::now(1);
    // Further apart than the kernel's ticks, by which it tells the start.
    thread::sleep(Duration::from_millis(50));
    let mut bystander = Command::new("sleep").arg("100").spawn().unwrap();
    record.init = Some(Init { pid: i32::try_from(bystander.id()).unwrap(), ..seen });
    claim.write(&record).unwrap();
    drop(claim);
    assert_eq!(collect(&world).removed.len(), 1);
    thread::sleep(Duration::from_millis(50));
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
