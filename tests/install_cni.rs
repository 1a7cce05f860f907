//! `netup install-cni`: whole files in their places or nothing changed, whatever is there before.

mod calling;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use calling::{NETUP, Said, clean, ended, started};
use netns_fixtures::cni::NAMES as ALL;
use serde_json::Value;
use tempfile::TempDir;

/// A folder of plugins.
struct Folder {
    path: PathBuf,
    _around: TempDir,
}

impl Folder {
    /// A path where nothing is yet, two levels deep.
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        Self { path: around.path().join("cni/bin"), _around: around }
    }

    /// A folder with a foreign `bridge` and `dhcp`.
    fn with_others() -> Self {
        let folder = Self::new();
        fs::create_dir_all(&folder.path).unwrap();
        for name in ["bridge", "dhcp"] {
            folder.write(name, name);
        }
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, program: &Path, words: &str) -> Command {
        let mut command = Command::new(program);
        let words = words.split_whitespace();
        clean(&mut command).arg("install-cni").arg("--dir").arg(&self.path).args(words);
        command
    }

    fn call(&self, words: &str) -> Said {
        ended(started(&mut self.command(Path::new(NETUP), words)))
    }

    /// The result of each name.
    #[track_caller]
    fn done(&self, words: &str) -> Vec<(String, String)> {
        let said = self.call(&format!("{words} --json"));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
        let facts: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(facts["dir"], self.path.to_str().unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let plugins = facts["plugins"].as_array().unwrap().iter();
        plugins.map(|one| (text(&one["name"]), text(&one["result"]))).collect()
    }

    /// Fails with this status and leaves everything as it is.
    #[track_caller]
    fn refused(&self, words: &str, code: i32) -> String {
        let before = self.listing();
        let said = self.call(words);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{said}");
        assert_eq!(said.stderr.lines().count(), 1, "{said}");
        assert_eq!(before, self.listing());
        said.stderr
    }

    /// Every path below, with inode, mode and length.
    fn listing(&self) -> Vec<(PathBuf, u64, u32, u64)> {
        let mut all = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let file = fs::symlink_metadata(&path).unwrap();
                if file.is_dir() {
                    folders.push(path.clone());
                }
                let length = if file.is_dir() { 0 } else { file.len() };
                all.push((path, file.ino(), file.mode(), length));
            }
        }
        all.sort();
        all
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Each is the binary, and all are one file.
    #[track_caller]
    fn holds(&self, names: &[&str]) {
        let own = fs::symlink_metadata(self.at("netup")).unwrap();
        assert_eq!(own.mode() & 0o7777, 0o755);
        assert!(fs::read(self.at("netup")).unwrap() == fs::read(NETUP).unwrap());
        for name in names {
            assert_eq!(fs::symlink_metadata(self.at(name)).unwrap().ino(), own.ino(), "{name}");
        }
        assert_eq!(own.nlink(), names.len() as u64, "links that nobody asked for");
    }
}

fn all_of(results: &[(String, String)]) -> Vec<(&str, &str)> {
    results.iter().map(|(name, result)| (name.as_str(), result.as_str())).collect()
}

fn each(names: &[&'static str], result: &'static str) -> Vec<(&'static str, &'static str)> {
    names.iter().map(|name| (*name, result)).collect()
}

/// A program of another release: to the byte it differs, and still it is netup.
fn other_release(dir: &Path) -> PathBuf {
    let path = dir.join("other");
    fs::copy(NETUP, &path).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(b"other release").unwrap();
    path
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_empty_host_gets_all_and_loses_all() {
    let folder = Folder::new();
    assert_eq!(all_of(&folder.done("")), each(&ALL, "installed"));
    folder.holds(&ALL);
    assert_eq!(folder.names(), sorted(&ALL));
    let before = folder.listing();
    assert_eq!(all_of(&folder.done("")), each(&ALL, "unchanged"));
    assert_eq!(folder.listing(), before);
    assert_eq!(all_of(&folder.done("--uninstall")), each(&ALL, "removed"));
    assert!(folder.names().is_empty());
    assert_eq!(all_of(&folder.done("--uninstall")), each(&ALL, "absent"));
}

#[test]
fn what_is_not_there_need_not_be_taken_away() {
    let folder = Folder::new();
    assert_eq!(all_of(&folder.done("--uninstall")), each(&ALL, "absent"));
    assert!(!folder.path.exists());
}

#[test]
fn the_installed_files_are_the_plugins() {
    let folder = Folder::new();
    folder.done("--names bridge,host-local");
    folder.holds(&["netup", "bridge", "host-local"]);
    for name in ["bridge", "host-local"] {
        let said = ended(started(clean(&mut Command::new(folder.at(name)))));
        let line = format!("CNI {name} plugin v1.9.1+netup.");
        assert!(said.stderr.starts_with(&line), "{said}");
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
    }
}

#[test]
fn only_the_named_ones_come_and_go() {
    let folder = Folder::new();
    let results = folder.done("--names portmap,ptp");
    let names = ["netup", "ptp", "portmap"];
    assert_eq!(all_of(&results), each(&names, "installed"));
    assert_eq!(all_of(&folder.done("--uninstall --names ptp")), [("ptp", "removed")]);
    folder.holds(&["netup", "portmap"]);
    assert_eq!(
        all_of(&folder.done("--names ptp")),
        [("netup", "unchanged"), ("ptp", "installed"), ("portmap", "unchanged"),]
    );
}

#[test]
fn files_of_others_stay_unless_they_are_to_make_way() {
    let folder = Folder::with_others();
    let line = folder.refused("", 5);
    assert!(
        line.contains("these are not netup's: bridge;") && line.contains("--replace"),
        "{line}"
    );
    folder.done("--names ptp");
    let results = folder.done("--replace");
    let of = |name: &str| results.iter().find(|(one, _)| one == name).unwrap().1.clone();
    assert_eq!((of("bridge").as_str(), of("ptp").as_str()), ("replaced", "unchanged"));
    assert_eq!(fs::read(folder.at(".netup-replaced/bridge")).unwrap(), b"bridge");
    assert_eq!(fs::read(folder.at("dhcp")).unwrap(), b"dhcp");
    folder.holds(&ALL);
    let results = folder.done("--uninstall");
    assert!(results.contains(&("bridge".to_owned(), "restored".to_owned())), "{results:?}");
    assert_eq!(folder.names(), ["bridge", "dhcp"]);
    assert_eq!(fs::read(folder.at("bridge")).unwrap(), b"bridge");
    assert_eq!(fs::metadata(folder.at("bridge")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn files_of_others_survive_an_uninstall() {
    let folder = Folder::with_others();
    let before = folder.listing();
    let results = folder.done("--uninstall");
    assert!(results.contains(&("bridge".to_owned(), "foreign".to_owned())), "{results:?}");
    assert_eq!(folder.listing(), before);
    // Put there over ours: what ours had replaced waits until that is gone.
    folder.done("--replace");
    fs::remove_file(folder.at("bridge")).unwrap();
    folder.write("bridge", "newer");
    folder.done("--uninstall");
    assert_eq!(fs::read(folder.at("bridge")).unwrap(), b"newer");
    assert_eq!(fs::read(folder.at(".netup-replaced/bridge")).unwrap(), b"bridge");
    fs::remove_file(folder.at("bridge")).unwrap();
    folder.done("--uninstall");
    assert_eq!(fs::read(folder.at("bridge")).unwrap(), b"bridge");
    assert_eq!(folder.names(), ["bridge", "dhcp"]);
}

#[test]
fn links_and_folders_in_the_way() {
    let folder = Folder::with_others();
    symlink("dhcp", folder.at("ptp")).unwrap();
    symlink("nowhere", folder.at("portmap")).unwrap();
    symlink(NETUP, folder.at("static")).unwrap();
    symlink("/dev/zero", folder.at("tuning")).unwrap();
    let line = folder.refused("", 5);
    assert!(line.contains("not netup's: bridge, ptp, portmap, tuning;"), "{line}");
    folder.done("--replace");
    folder.holds(&ALL);
    folder.done("--uninstall");
    assert_eq!(fs::read_link(folder.at("ptp")).unwrap(), Path::new("dhcp"));
    assert_eq!(fs::read_link(folder.at("portmap")).unwrap(), Path::new("nowhere"));
    fs::create_dir(folder.at("firewall")).unwrap();
    let line = folder.refused("--replace", 5);
    assert!(line.contains("folders, not plugins: firewall"), "{line}");
}

#[test]
fn a_newer_release_takes_all_of_the_older_one_with_it() {
    let folder = Folder::new();
    let older = other_release(folder._around.path());
    let said = ended(started(&mut folder.command(&older, "")));
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(all_of(&folder.done("--names ptp")), each(&ALL, "updated"));
    folder.holds(&ALL);
    // As a package manager does it: only the binary itself is another one.
    let kept = folder._around.path().join("kept");
    fs::copy(&older, &kept).unwrap();
    fs::rename(&kept, folder.at("netup")).unwrap();
    assert_eq!(all_of(&folder.done("")), each(&ALL, "updated"));
    folder.holds(&ALL);
}

#[test]
fn the_installed_binary_installs_itself() {
    let folder = Folder::new();
    folder.done("--names ptp");
    let inode = fs::metadata(folder.at("netup")).unwrap().ino();
    let said = ended(started(&mut folder.command(&folder.at("netup"), "")));
    assert_eq!(said.code, Some(0), "{said}");
    folder.holds(&ALL);
    assert_eq!(fs::metadata(folder.at("netup")).unwrap().ino(), inode);
}

#[test]
fn a_copy_of_the_folder_file_by_file_is_ours_too() {
    let (folder, copy) = (Folder::new(), Folder::new());
    folder.done("");
    fs::create_dir_all(&copy.path).unwrap();
    for name in ALL {
        fs::copy(folder.at(name), copy.at(name)).unwrap();
    }
    let said = ended(started(clean(&mut Command::new(copy.at("tuning")))));
    assert!(said.stderr.starts_with("CNI tuning plugin "), "{said}");
    assert_eq!(copy.done("")[0], ("netup".to_owned(), "unchanged".to_owned()));
    copy.holds(&ALL);
    assert_eq!(all_of(&copy.done("--uninstall")), each(&ALL, "removed"));
}

/// The last of the files cannot make way: something is mounted on it.
#[test]
fn a_failure_half_way_leaves_all_as_it_was() {
    let folder = Folder::with_others();
    folder.write("netup", "in the way");
    let script = format!(
        "mount --bind {0}/dhcp {0}/netup && exec {NETUP} install-cni --dir {0} --replace",
        folder.path.display()
    );
    let before = folder.listing();
    let mut command = Command::new("unshare");
    let said = ended(started(clean(&mut command).args(["-Urm", "sh", "-c", &script])));
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.stderr.contains("netup.foreign: Cross-device link (EXDEV)"), "{said}");
    assert_eq!(folder.listing(), before);
}

#[test]
fn a_folder_that_cannot_be() {
    let folder = Folder::with_others();
    let below_a_file = Folder { path: folder.at("bridge"), ..Folder::new() };
    let said = below_a_file.call("");
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.stderr.contains("make the folder"), "{said}");
    let said = below_a_file.call("--uninstall");
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("is no folder"), "{said}");
}

/// What an interrupted call has left is no obstacle.
#[test]
fn leftovers_are_cleared() {
    let folder = Folder::with_others();
    fs::create_dir(folder.at(".netup-staging")).unwrap();
    folder.write(".netup-staging/netup", "half");
    folder.write(".netup-staging/ptp", "half");
    folder.done("--names ptp");
    folder.holds(&["netup", "ptp"]);
    assert_eq!(folder.names(), ["bridge", "dhcp", "netup", "ptp"]);
}

/// At no moment is a plugin missing, half-written or busy, however often it is replaced while it
/// runs; and any number of installations at once leave one in good order.
#[test]
fn plugins_can_be_started_at_any_moment() {
    let folder = Folder::new();
    folder.done("--names ptp");
    let older = other_release(folder._around.path());
    let over = AtomicBool::new(false);
    let starts = thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let mut starts = 0;
            while !over.load(Ordering::Relaxed) {
                let mut plugin = Command::new(folder.at("ptp"));
                let said =
                    clean(&mut plugin).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
                let said = Said::from(said.expect("the plugin starts"));
                assert!(said.stderr.starts_with("CNI ptp plugin "), "{said}");
                starts += 1;
            }
            starts
        });
        for _ in 0..5 {
            let programs = [Path::new(NETUP), &older, Path::new(NETUP), &older];
            let calls =
                programs.map(|program| started(&mut folder.command(program, "--names ptp")));
            for call in calls {
                let said = ended(call);
                assert_eq!(said.code, Some(0), "{said}");
            }
        }
        over.store(true, Ordering::Relaxed);
        starter.join().unwrap()
    });
    assert!(starts > 5, "{starts}");
    folder.done("--names ptp");
    folder.holds(&["netup", "ptp"]);
}
