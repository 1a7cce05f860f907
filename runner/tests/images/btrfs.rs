//! A store on Btrfs: subvolumes and snapshots.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netns_fixtures::program;
use netns_fixtures::runner::{Root, Runner};

use crate::place::{Place, expect_empty, names, only_layer};

const SOON: Duration = Duration::from_secs(60);
/// The smallest file system that mkfs makes.
const SIZE: u64 = 128 << 20;

/// A Btrfs of its own, in a file; the loop device goes with the mount, and that with the test.
pub struct Volume(pub PathBuf);

impl Volume {
    pub fn new(place: &Place) -> Self {
        let (file, folder) =
            (place.ground.folder().join("disk"), place.ground.folder().join("btrfs"));
        File::create(&file).unwrap().set_len(SIZE).unwrap();
        fs::create_dir(&folder).unwrap();
        run(Command::new("mkfs.btrfs").arg("-q").arg(&file));
        run(Command::new("mount").args(["-o", "loop"]).args([&file, &folder]));
        // As systemd has all mounts of a host.
        run(Command::new("mount").arg("--make-shared").arg(&folder));
        Self(folder)
    }

    pub fn subvolumes(&self) -> usize {
        run(Command::new("btrfs").args(["subvolume", "list"]).arg(&self.0)).lines().count()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn run(command: &mut Command) -> String {
    let mut owned = Command::new(command.get_program());
    owned.args(command.get_args());
    program::run(owned, b"", SOON).unwrap().success().unwrap()
}

fn is_subvolume(path: &Path) -> bool {
    fs::metadata(path).unwrap().ino() == 256
}

/// A busybox in a store on Btrfs, as the image `base`.
fn stored(place: &Place, volume: &Volume) -> Runner {
    let runner = place.runner.storing_in(volume.0.join("store"));
    let root = Root::busybox(place.ground.folder().join("root")).unwrap();
    let archive = place.ground.folder().join("root.tar");
    root.pack(&archive).unwrap();
    let words = ["image", "import", "base", archive.to_str().unwrap()];
    runner.run(&words).unwrap().success().unwrap();
    runner
}

fn sh(runner: &Runner, options: &[&str], image: &str, script: &str) -> String {
    let words = [&["run"], options, &[image, "--", "/bin/sh", "-c", script]].concat();
    runner.run(&words).unwrap().success().unwrap()
}

#[test]
fn a_layer_is_a_subvolume_that_goes_with_its_image() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let runner = stored(&place, &volume);
    assert!(is_subvolume(&only_layer(&runner)));
    assert_eq!(volume.subvolumes(), 1);
    let ended = runner.run_with(&["image", "import", "bad"], b"no archive").unwrap();
    assert!(!ended.is_success());
    assert_eq!(volume.subvolumes(), 1);
    runner.run(&["image", "rm", "base"]).unwrap().success().unwrap();
    expect_empty(&runner, "removal");
    assert_eq!(volume.subvolumes(), 0);
}

#[test]
fn a_container_runs_in_a_snapshot() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let runner = stored(&place, &volume);
    let told = sh(&runner, &[], "base", "echo new > /etc/passwd; stat -f -c %t /; cat /etc/passwd");
    assert_eq!(told, "9123683e\nnew\n");
    assert!(sh(&runner, &[], "base", "cat /etc/passwd").starts_with("root:"));
    assert_eq!((volume.subvolumes(), names(&runner.store().join("runs")).len()), (1, 0));
    // Subvolumes of its own do not keep it from being removed.
    let root = only_layer(&runner);
    run(Command::new("btrfs").args(["subvolume", "create"]).arg(root.join("inner")));
    run(Command::new("btrfs").args(["subvolume", "create"]).arg(root.join("inner/innermost")));
    fs::create_dir_all(root.join("inner/innermost/a/b/c")).unwrap();
    runner.run(&["image", "rm", "base"]).unwrap().success().unwrap();
    assert_eq!(volume.subvolumes(), 0);
}

#[test]
fn a_kept_snapshot_is_an_image_of_one_layer() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let runner = stored(&place, &volume);
    sh(&runner, &["--keep", "kept"], "base", "rm -r /etc; echo kept > /new");
    assert_eq!(volume.subvolumes(), 2);
    runner.run(&["image", "rm", "base"]).unwrap().success().unwrap();
    assert_eq!(
        sh(&runner, &[], "kept", "cat /new; ls /etc 2>/dev/null | grep passwd || echo gone"),
        "kept\ngone\n"
    );
    runner.run(&["image", "rm", "kept"]).unwrap().success().unwrap();
    assert_eq!(volume.subvolumes(), 0);
}

#[test]
fn a_subvolume_by_path_is_snapshot_beside_the_store() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let root = volume.0.join("root");
    run(Command::new("btrfs").args(["subvolume", "create"]).arg(&root));
    Root::busybox(&root).unwrap();
    let runner = place.runner.storing_in(volume.0.join("store"));
    let root = root.to_str().unwrap();
    let told = sh(&runner, &[], root, "stat -f -c %t /; echo x > /new");
    assert_eq!(told, "9123683e\n");
    assert!(!Path::new(root).join("new").exists());
    assert_eq!(volume.subvolumes(), 1);
    // A store elsewhere cannot hold a snapshot of it.
    assert_ne!(sh(&place.runner, &[], root, "stat -f -c %t /"), "9123683e\n");
}

#[test]
fn what_is_read_only_needs_no_snapshot() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let runner = stored(&place, &volume);
    let told = sh(&runner, &["--read-only"], "base", "stat -f -c %t /; echo x > /new || echo no");
    assert!(told.starts_with("794c7630\n") && told.ends_with("no\n"), "{told}");
}
