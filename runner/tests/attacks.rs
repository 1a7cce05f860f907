//! What hostile images, commands and neighbours try. Each test names the weakness of other runners
//! that it is about; most of those were found in the field.

#[path = "attacks/descriptors.rs"]
mod descriptors;
#[path = "attacks/devices.rs"]
mod devices;
#[path = "attacks/host_programs.rs"]
mod host_programs;
#[path = "attacks/identity.rs"]
mod identity;
#[path = "attacks/images.rs"]
mod images;
#[path = "attacks/init.rs"]
mod init;
#[path = "attacks/kernel.rs"]
mod kernel;
#[path = "attacks/mounts.rs"]
mod mounts;
#[path = "attacks/outside.rs"]
mod outside;
#[path = "attacks/own_program.rs"]
mod own_program;
mod running;
#[path = "attacks/terminal.rs"]
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Root};

isolate!();

/// What nobody may touch: a folder of the host, which is told from itself by its listing.
struct Canary(PathBuf);

impl Canary {
    fn new(ground: &Ground) -> Self {
        let folder = ground.folder().join("canary");
        fs::create_dir_all(folder.join("folder")).unwrap();
        for file in ["file", "null", "passwd", "folder/inner"] {
            fs::write(folder.join(file), "untouched").unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    #[track_caller]
    fn expect_untouched(&self, what: &str) {
        let mut found = Vec::new();
        list(&self.0, &mut found);
        found.sort();
        let wanted = ["file", "folder", "folder/inner", "null", "passwd"];
        let wanted: Vec<_> = wanted.iter().map(|name| self.0.join(name)).collect();
        assert_eq!(found, wanted, "{what}");
        for file in found.iter().filter(|path| !path.ends_with("folder")) {
            assert_eq!(fs::read_to_string(file).unwrap(), "untouched", "{what}: {file:?}");
        }
    }
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        }
        found.push(path);
    }
}

/// A root file system of its own for a test that spoils it.
fn spoiled(ground: &Ground, name: &str) -> Root {
    Root::busybox(ground.folder().join(name)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in plain letters")
}
