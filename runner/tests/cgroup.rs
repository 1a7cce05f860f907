//! Cgroups of the real kernel. Here the version 2 hierarchy may be without controllers, as beside
//! version 1; what needs controllers is tried on another kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use netup_run::cgroup::{self, Cgroup, Parent};
use netup_run::name::ContainerName;
use netup_run::request::Limits;
use netup_run::{Error, ErrorKind};

/// A directory of the hierarchy for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(of: &str) -> Self {
        let pure = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let hierarchy = if pure { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
        let name = format!("netup-run-test-{of}-{}", std::process::id());
        let folder = Path::new(hierarchy).join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn parent(&self) -> Parent {
        Parent::at(&self.0)
    }

    fn create(&self, name: &str) -> Cgroup {
        self.parent().create(&self::name(name), &Limits::default()).unwrap().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        cgroup::discard(&self.0).ok();
    }
}

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

/// As a run does it.
fn on_this_machine(name: &ContainerName, limits: &Limits) -> Result<Option<Cgroup>, Error> {
    Cgroup::create_in(Parent::find()?.as_ref(), name, limits)
}

fn process_in(cgroup: &Path, script: &str) -> Child {
    let enter = format!("echo 0 > {}/cgroup.procs; {script}", cgroup.display());
    let child = Command::new("/bin/sh").args(["-c", &enter]).spawn().unwrap();
    let started = Instant::now();
    while fs::read_to_string(cgroup.join("cgroup.procs")).unwrap().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_cgroup_is_made_and_removed() {
    let folder = Folder::new("made");
    let cgroup = folder.create("web");
    let path = folder.0.join(format!("netup-run-web.{}", std::process::id()));
    assert_eq!(cgroup.path(), path);
    assert_eq!(folder.parent().path(&name("web")), path);
    assert!(path.is_dir());
    assert_eq!(cgroup.lines(), [format!("mkdir -p {}", path.display())]);
    cgroup.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn what_is_in_it_is_killed_whole() {
    let folder = Folder::new("killed");
    let cgroup = folder.create("web");
    let path = cgroup.path().to_owned();
    let below = cgroup.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let mut here = process_in(cgroup.path(), "sleep 100 & wait");
    let mut there = process_in(&below, "trap '' TERM; sleep 100");
    let started = Instant::now();
    cgroup.remove().unwrap();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(!path.exists());
    for child in [&mut here, &mut there] {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}

#[test]
fn what_is_about_to_end_ends_by_itself() {
    let folder = Folder::new("ending");
    let cgroup = folder.create("web");
    let mut child = process_in(cgroup.path(), "sleep 0.01; exit 3");
    cgroup.remove().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_record_of_it_is_enough_to_remove_it() {
    let folder = Folder::new("discarded");
    let path = folder.create("web").path().to_owned();
    let mut child = process_in(&path, "sleep 100");
    cgroup::discard(&path).unwrap();
    assert!(!path.exists());
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    cgroup::discard(&path).unwrap();
}

#[test]
fn an_empty_one_of_that_name_is_replaced_and_a_used_one_is_not() {
    let folder = Folder::new("replaced");
    drop(folder.create("web"));
    let path = folder.create("web").path().to_owned();
    let mut child = process_in(&path, "sleep 100");
    let error = folder.parent().create(&name("web"), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("choose another --name"), "{error}");
    cgroup::discard(&path).unwrap();
    child.wait().unwrap();
}

#[test]
fn frozen_processes_do_nothing() {
    let folder = Folder::new("frozen");
    let cgroup = folder.create("web");
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("while :; do echo x >> {}; done", file.path().display());
    let mut child = process_in(cgroup.path(), &script);
    let length = || fs::metadata(file.path()).unwrap().len();
    let grows = || {
        let before = length();
        thread::sleep(Duration::from_millis(300));
        length() > before
    };
    assert!(grows());
    cgroup::freeze(cgroup.path()).unwrap();
    assert!(!grows());
    cgroup::thaw(cgroup.path()).unwrap();
    assert!(grows());
    cgroup::freeze(cgroup.path()).unwrap();
    // A frozen one can be killed.
    cgroup.remove().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_limit_without_its_controller_is_refused_before_anything_is_made() {
    let folder = Folder::new("limits");
    let offered = fs::read_to_string(folder.0.join("cgroup.controllers")).unwrap();
    let said = if offered.trim().is_empty() { "none" } else { offered.trim() };
    let limits = [
        ("memory", Limits { memory: Some(64 << 20), ..Limits::default() }),
        ("cpu", Limits { millicpus: Some(500), ..Limits::default() }),
        ("pids", Limits { pids: Some(10), ..Limits::default() }),
    ];
    for (controller, limits) in limits {
        if offered.contains(controller) {
            // This machine can do it, so it does.
            folder.parent().create(&name("web"), &limits).unwrap().unwrap().remove().unwrap();
            continue;
        }
        let error = folder.parent().create(&name("web"), &limits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MissingFeature);
        let text = error.to_string();
        assert!(text.contains(&format!("needs the cgroup v2 controller {controller}")), "{text}");
        assert!(text.contains(&format!("offers {said}")), "{text}");
        assert!(text.contains("leave the limit out"), "{text}");
        assert!(!folder.parent().path(&name("web")).exists());
    }
}

#[test]
fn many_at_once_come_and_go() {
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..50 {
                    let name = name(&format!("test-{}-{thread}-{n}", std::process::id()));
                    let cgroup = on_this_machine(&name, &Limits::default()).unwrap().unwrap();
                    assert!(cgroup.path().is_dir());
                    cgroup.remove().unwrap();
                }
            });
        }
    });
}

#[test]
fn an_ordinary_user_without_a_cgroup_goes_without() {
    // The user may not read the folder of builds.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12345", "--clear-groups"]).arg(&program);
    let output =
        command.args(["--ignored", "--exact", "as_an_ordinary_user"]).current_dir("/").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "only another test starts this, as an ordinary user"]
fn as_an_ordinary_user() {
    assert!(on_this_machine(&name("web"), &Limits::default()).unwrap().is_none());
    let limits = Limits { memory: Some(1 << 20), ..Limits::default() };
    let error = on_this_machine(&name("web"), &limits).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::MissingFeature | ErrorKind::NotPermitted), "{error}");
    assert!(error.to_string().contains("leave the limit out"), "{error}");
}
