//! A store, and beside it a tree that nothing may touch.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use netns_fixtures::program::Ended;
use netns_fixtures::runner::{Ground, Runner};

/// What a tree is like: each path with its kind, mode, owner and content.
pub type Tree = BTreeMap<String, String>;

pub struct Place {
    pub ground: Ground,
    pub runner: Runner,
    canary: PathBuf,
    before: BTreeMap<String, String>,
}

impl Place {
    pub fn new() -> Self {
        Self::on(Ground::new(env!("CARGO_BIN_EXE_netup-run")).unwrap())
    }

    /// While no other test runs, so that the whole host can be compared.
    pub fn alone() -> Self {
        Self::on(Ground::alone(env!("CARGO_BIN_EXE_netup-run")).unwrap())
    }

    fn on(ground: Ground) -> Self {
        let runner = ground.runner();
        let canary = ground.folder().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("secret"), "do not touch").unwrap();
        fs::create_dir(canary.join("folder")).unwrap();
        fs::set_permissions(canary.join("folder"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("secret", canary.join("link")).unwrap();
        let before = with_times(&canary);
        Self { ground, runner, canary, before }
    }

    pub fn canary(&self) -> &Path {
        &self.canary
    }

    /// The canary is as it was, to the nanosecond.
    pub fn expect_canary(&self, after: &str) {
        assert_eq!(self.before, with_times(&self.canary), "after {after}");
    }

    pub fn import(&self, name: &str, bytes: &[u8]) -> Ended {
        self.import_with(&[], name, bytes)
    }

    pub fn import_with(&self, options: &[&str], name: &str, bytes: &[u8]) -> Ended {
        let words = [&["image", "import"], options, &[name]].concat();
        self.runner.run_with(&words, bytes).unwrap()
    }

    /// What an archive becomes, which is then removed.
    pub fn imported(&self, bytes: &[u8]) -> Tree {
        self.import("made", bytes).success().unwrap();
        let tree = tree(&self.only_layer());
        self.runner.run(&["image", "rm", "made"]).unwrap().success().unwrap();
        tree
    }

    pub fn only_layer(&self) -> PathBuf {
        only_layer(&self.runner)
    }

    pub fn expect_empty(&self, after: &str) {
        expect_empty(&self.runner, after);
    }
}

pub fn only_layer(runner: &Runner) -> PathBuf {
    let layers = names(&runner.store().join("layers"));
    assert_eq!(layers.len(), 1, "{layers:?}");
    runner.store().join("layers").join(&layers[0]).join("root")
}

/// Nothing is left in the store.
pub fn expect_empty(runner: &Runner, after: &str) {
    for folder in ["layers", "images", "runs"] {
        let left = names(&runner.store().join(folder));
        assert!(left.is_empty(), "{folder} after {after}: {left:?}");
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

pub fn tree(root: &Path) -> Tree {
    walk(root, described)
}

fn with_times(root: &Path) -> Tree {
    walk(root, |path, about| {
        let times = (about.mtime_nsec(), about.ctime(), about.ctime_nsec(), about.nlink());
        format!("{} {times:?}", described(path, about))
    })
}

fn walk(root: &Path, describe: impl Fn(&Path, &Metadata) -> String + Copy) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            let name = String::from_utf8(name.escape_ascii().collect()).unwrap();
            tree.insert(name, describe(&path, &about));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    tree
}

/// `MODE UID:GID MTIME` and what it holds or leads to.
fn described(path: &Path, about: &Metadata) -> String {
    let content = if about.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if about.is_file() && about.len() < 1000 {
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    } else {
        String::new()
    };
    let (mode, uid, gid) = (about.mode(), about.uid(), about.gid());
    format!("{mode:o} {uid}:{gid} {} {content}", about.mtime()).trim_end().to_owned()
}
