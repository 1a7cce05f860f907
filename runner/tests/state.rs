//! Names and records against the real kernel's locks, also of processes that die.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use netup_run::ErrorKind;
use netup_run::name::ContainerName;
use netup_run::state::{Init, Record, State};

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

fn record(of: &str) -> Record {
    let words = [OsString::from("sleep"), "9".into()];
    Record::new(name(of), &words, "/images/debian".to_owned())
}

fn state() -> (State, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (State::at(folder.path().join("run")), folder)
}

fn never(_: &Record) -> netup_run::Result<()> {
    panic!("there is nothing to clear");
}

/// Takes a name in another process, which tells that it has, and waits to be killed.
fn other_process(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "a_process_that_holds_a_name"])
        .env("STATE_FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("it is mine")), "it did not get the name");
    child
}

#[test]
#[ignore = "only the other tests start this, as a process of its own"]
fn a_process_that_holds_a_name() {
    let state = State::at(std::env::var("STATE_FOLDER").unwrap());
    let mut claim = state.claim(Some(&name("web")), never).unwrap();
    claim.write(&record("web")).unwrap();
    println!("it is mine");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_name_is_one_runners_at_a_time() {
    let (state, _folder) = state();
    let mut web = state.claim(Some(&name("web")), never).unwrap();
    assert_eq!(state.claim(Some(&name("web")), never).unwrap_err().kind(), ErrorKind::Conflict);
    // Also before anything was written, and while others look.
    assert_eq!(state.running().unwrap(), []);
    assert_eq!(state.record(&name("web")).unwrap_err().kind(), ErrorKind::NotFound);
    web.write(&record("web")).unwrap();
    assert_eq!(state.running().unwrap().len(), 1);
    assert_eq!(state.dead().unwrap(), []);
    assert_eq!(state.claim(Some(&name("web")), never).unwrap_err().kind(), ErrorKind::Conflict);
    assert!(state.take_over(&name("web")).unwrap().is_none());
    web.forget().unwrap();
    assert_eq!(state.record(&name("web")).unwrap_err().kind(), ErrorKind::NotFound);
    state.claim(Some(&name("web")), never).unwrap().forget().unwrap();
}

#[test]
fn made_up_names_differ() {
    let (state, folder) = state();
    let claims: Vec<_> = (0..50).map(|_| state.claim(None, never).unwrap()).collect();
    let mut names: Vec<_> = claims.iter().map(|claim| claim.name().clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
    assert!(names.iter().all(|name| name.as_str().len() == 12));
    drop(claims);
    assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0);
}

#[test]
fn what_is_completed_replaces_the_intent() {
    let (state, _folder) = state();
    let mut claim = state.claim(Some(&name("web")), never).unwrap();
    let mut said = record("web");
    claim.write(&said).unwrap();
    said.init = Some(Init::now(1));
    said.addresses = vec!["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()];
    said.cgroup = Some("/sys/fs/cgroup/netup-run/web".into());
    claim.write(&said).unwrap();
    assert_eq!(state.record(&name("web")).unwrap(), said);
    assert_eq!(claim.record().unwrap(), Some(said));
    claim.forget().unwrap();
}

#[test]
fn what_a_killed_runner_left_is_cleared_by_the_next_of_its_name() {
    let (state, folder) = state();
    let mut child = other_process(&folder.path().join("run"));
    assert_eq!(state.claim(Some(&name("web")), never).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(state.running().unwrap().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(state.running().unwrap(), []);
    assert_eq!(state.dead().unwrap(), [name("web")]);

    let failed = state.claim(Some(&name("web")), |_| Err(netup_run::Error::invalid("not now")));
    assert!(failed.unwrap_err().to_string().contains("not now"));
    assert_eq!(state.dead().unwrap(), [name("web")], "a failure keeps the record");

    let mut cleared = None;
    let claim = state.claim(Some(&name("web")), |record| {
        cleared = Some(record.clone());
        // While it is being cleared it is neither running nor dead.
        assert_eq!(state.running().unwrap(), []);
        assert_eq!(state.dead().unwrap(), []);
        Ok(())
    });
    let mut claim = claim.unwrap();
    assert_eq!(cleared.unwrap().command, ["sleep", "9"]);
    assert_eq!(claim.record().unwrap(), None, "the former record is gone");
    claim.write(&record("web")).unwrap();
    assert_eq!(state.running().unwrap().len(), 1);
    claim.forget().unwrap();
}

#[test]
fn one_who_wants_a_name_waits_for_its_clearing() {
    let (state, folder) = state();
    let mut child = other_process(&folder.path().join("run"));
    child.kill().unwrap();
    child.wait().unwrap();
    let left = state.take_over(&name("web")).unwrap().unwrap();
    assert!(state.take_over(&name("web")).unwrap().is_none());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| state.claim(Some(&name("web")), never).map(drop));
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        left.forget().unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn many_at_once_get_each_name_once() {
    let (state, _folder) = state();
    let winners: usize = thread::scope(|scope| {
        let contenders: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let round = || match state.claim(Some(&name("web")), never) {
                        Ok(claim) => {
                            // Nobody else may have it now.
                            assert!(state.claim(Some(&name("web")), never).is_err());
                            claim.forget().unwrap();
                            1
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict);
                            0
                        }
                    };
                    (0..200).map(|_| round()).sum::<usize>()
                })
            })
            .collect();
        contenders.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!(winners > 0);
    assert_eq!(state.dead().unwrap(), []);
}

#[test]
fn the_folder_is_for_its_owner_alone() {
    let (state, folder) = state();
    let mut claim = state.claim(Some(&name("web")), never).unwrap();
    claim.write(&record("web")).unwrap();
    let mode =
        |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("run"), mode("run/web")), (0o700, 0o600));
    claim.forget().unwrap();
}

#[test]
fn what_is_not_ours_is_refused() {
    let (state, folder) = state();
    state.claim(None, never).unwrap().forget().unwrap();
    let run = folder.path().join("run");
    fs::write(folder.path().join("elsewhere"), "").unwrap();
    symlink(folder.path().join("elsewhere"), run.join("link")).unwrap();
    nix::unistd::mkfifo(&run.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(run.join("folder")).unwrap();
    for bad in ["link", "fifo", "folder"] {
        let error = state.claim(Some(&name(bad)), never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State, "{error}");
    }
    assert!(run.join("fifo").exists() && run.join("link").is_symlink(), "nothing was removed");
    if nix::unistd::geteuid().is_root() {
        fs::write(run.join("other"), "{}\n").unwrap();
        nix::unistd::chown(&run.join("other"), Some(12345.into()), None).unwrap();
        let error = state.claim(Some(&name("other")), never).unwrap_err();
        assert!(error.to_string().contains("no file of user 0"), "{error}");
    }
}

/// As if the second line had been cut off by a full disk, and its runner had died.
#[test]
fn half_a_line_leaves_the_former_record_in_force() {
    let (state, folder) = state();
    let mut claim = state.claim(Some(&name("web")), never).unwrap();
    let said = record("web");
    claim.write(&said).unwrap();
    let path = folder.path().join("run/web");
    let content = fs::read(&path).unwrap();
    fs::write(&path, [&content[..], &content[..20]].concat()).unwrap();
    assert_eq!(claim.record().unwrap(), Some(said));
    claim.forget().unwrap();
}

/// As many system calls however many containers there are, and few.
#[test]
fn a_claim_costs_few_system_calls() {
    let (state, folder) = state();
    let mut others = Vec::new();
    for n in 0..100 {
        let of = format!("other-{n}");
        let mut claim = state.claim(Some(&name(&of)), never).unwrap();
        claim.write(&record(&of)).unwrap();
        others.push(claim);
    }
    let trace = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_claim_from_start_to_end"])
        .env("STATE_FOLDER", folder.path().join("run"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let calls: Vec<&str> = trace
        .lines()
        .skip_while(|line| !line.contains("/the-beginning"))
        .skip(1)
        .take_while(|line| !line.contains("/the-end"))
        // Only a debug build looks whether what it closes is open.
        .filter(|line| !line.contains("F_GETFD"))
        .collect();
    assert!((5..12).contains(&calls.len()), "{calls:#?}");
}

#[test]
#[ignore = "only another test starts this, as a process of its own"]
fn a_claim_from_start_to_end() {
    let state = State::at(std::env::var("STATE_FOLDER").unwrap());
    assert!(!Path::new("/the-beginning").exists());
    let mut claim = state.claim(None, never).unwrap();
    let mut said = Record::new(claim.name().clone(), &[], String::new());
    claim.write(&said).unwrap();
    said.init = Some(Init::now(1));
    claim.write(&said).unwrap();
    claim.forget().unwrap();
    assert!(!Path::new("/the-end").exists());
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let error = State::at(folder.path()).claim(None, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("only you can write"), "{error}");
}
