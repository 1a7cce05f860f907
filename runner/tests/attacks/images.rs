//! Images in which something else is where the runner puts its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use netns_fixtures::runner::{Ground, Root};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use crate::running::ground;
use crate::{Canary, spoiled, text};

/// By which paths an image can point to a folder of the host: as the host names it, and upwards.
fn ways(canary: &Canary) -> Vec<PathBuf> {
    let below = canary.path().strip_prefix("/").unwrap();
    let mut ways = vec![canary.path().to_owned(), Path::new(&"../".repeat(20)).join(below)];
    for magic in ["self/root", "1/root", "self/cwd", "self/fd/3", "thread-self/root"] {
        ways.push(Path::new("/proc").join(magic).join("../".repeat(20)).join(below));
    }
    ways
}

/// Makes something at a path.
type Make<'a> = &'a dyn Fn(&Path);

fn replace(root: &Root, path: &str, make: impl FnOnce(&Path)) {
    let at = root.at(path);
    match fs::symlink_metadata(&at) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&at).unwrap(),
        Ok(_) => fs::remove_file(&at).unwrap(),
        Err(_) => fs::create_dir_all(at.parent().unwrap()).unwrap(),
    }
    make(&at);
}

/// Runs, or is refused; nothing else, and in time.
#[track_caller]
fn expect_run_or_refusal(ground: &Ground, root: &Root, what: &str) -> bool {
    let options = ["-q", "--dns", "192.0.2.1"];
    let words = ["cat", "/proc/self/mountinfo", "+", "stat", "/dev/null", "/proc/self/exe"];
    let ended = ground.runner().run_probe(&options, root, &words).unwrap();
    assert!(matches!(ended.code, Some(0 | 125)), "{what}: {ended}");
    if ended.is_success() {
        assert!(ended.stdout.contains("/dev/null char 666 0:0 1:3 0"), "{what}: {ended}");
    }
    ended.is_success()
}

/// CVE-2026-41579, CVE-2026-47766, CVE-2019-16884, CVE-2023-27561: folders of the kernel's own that
/// are links, on or next to the way.
#[test]
fn folders_of_the_kernels_own_are_no_links() {
    let ground = ground();
    let canary = Canary::new(&ground);
    for path in ["dev", "proc", "sys"] {
        for (number, way) in ways(&canary).into_iter().enumerate() {
            let root = spoiled(&ground, &format!("{path}-{number}"));
            replace(&root, path, |at| symlink(&way, at).unwrap());
            let what = format!("/{path} -> {}", way.display());
            assert!(!expect_run_or_refusal(&ground, &root, &what), "{what}");
            canary.expect_untouched(&what);
        }
        let root = spoiled(&ground, &format!("{path}-tmp"));
        for inside in ["tmp", "/tmp", ".", "nowhere", path] {
            replace(&root, path, |at| symlink(inside, at).unwrap());
            let what = format!("/{path} -> {inside}");
            assert!(!expect_run_or_refusal(&ground, &root, &what), "{what}");
        }
    }
    let root = spoiled(&ground, "files");
    for path in ["dev", "proc", "sys"] {
        replace(&root, path, |at| fs::write(at, "a file").unwrap());
        assert!(!expect_run_or_refusal(&ground, &root, path), "/{path} is a file");
        replace(&root, path, |at| fs::create_dir(at).unwrap());
    }
    assert!(expect_run_or_refusal(&ground, &root, "folders again"));
}

/// CVE-2025-31133, CVE-2025-52565: what is in the image's `/dev` never counts.
#[test]
fn the_images_own_devices_are_not_used() {
    let ground = ground();
    let canary = Canary::new(&ground);
    let root = spoiled(&ground, "devices");
    let folder = text(canary.path()).to_owned();
    for name in ["null", "zero", "console", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin"] {
        for target in [format!("{folder}/null"), "/proc/sys/kernel/core_pattern".to_owned()] {
            replace(&root, &format!("dev/{name}"), |at| symlink(&target, at).unwrap());
            let what = format!("/dev/{name} -> {target}");
            assert!(expect_run_or_refusal(&ground, &root, &what), "{what}");
            canary.expect_untouched(&what);
        }
    }
    let disk = makedev(254, 0);
    replace(&root, "dev/null", |at| mknod(at, SFlag::S_IFBLK, Mode::S_IRWXU, disk).unwrap());
    assert!(expect_run_or_refusal(&ground, &root, "/dev/null is a disk"));
}

/// The runner's own files below `/etc`, by every kind of what an image can have there.
#[test]
fn files_of_the_runner_are_not_written_through_the_image() {
    let ground = ground();
    let canary = Canary::new(&ground);
    let root = spoiled(&ground, "etc");
    for name in ["etc/resolv.conf", "etc/hosts", "etc/hostname"] {
        let mut links = ways(&canary);
        links.iter_mut().for_each(|way| way.push("file"));
        links.extend(ways(&canary).into_iter().map(|way| way.join("not-there")));
        links.extend(
            [
                "/dev/null",
                "/dev/zero",
                "/proc/sys/kernel/core_pattern",
                "/proc/1/exe",
                "/proc/self/mem",
                "/proc/self/fd/3",
                "/sys/kernel/uevent_helper",
                "/nowhere/at/all",
                "hosts",
                "../etc/hosts",
                "/dev/pts/0",
                "/dev/ptmx",
                "/",
                ".",
                "/proc",
                "/dev",
                "/proc/sysrq-trigger",
                "/proc/self/attr/exec",
                "/proc/kcore",
            ]
            .map(PathBuf::from),
        );
        for way in links {
            replace(&root, name, |at| symlink(&way, at).unwrap());
            let what = format!("/{name} -> {}", way.display());
            expect_run_or_refusal(&ground, &root, &what);
            canary.expect_untouched(&what);
        }
        let kinds: [(&str, Make<'_>); 4] = [
            ("a fifo", &|at| mkfifo(at, Mode::S_IRWXU).unwrap()),
            ("a disk", &|at| mknod(at, SFlag::S_IFBLK, Mode::S_IRWXU, makedev(254, 0)).unwrap()),
            ("a folder", &|at| fs::create_dir(at).unwrap()),
            ("a socket", &|at| drop(std::os::unix::net::UnixListener::bind(at).unwrap())),
        ];
        for (what, make) in kinds {
            replace(&root, name, make);
            expect_run_or_refusal(&ground, &root, &format!("/{name} is {what}"));
        }
        replace(&root, name, |at| fs::write(at, "").unwrap());
    }
}

#[test]
fn a_folder_on_the_way_is_no_way_out() {
    let ground = ground();
    let canary = Canary::new(&ground);
    for (number, way) in ways(&canary).into_iter().enumerate() {
        let root = spoiled(&ground, &format!("on-the-way-{number}"));
        replace(&root, "etc", |at| symlink(&way, at).unwrap());
        let what = format!("/etc -> {}", way.display());
        expect_run_or_refusal(&ground, &root, &what);
        canary.expect_untouched(&what);
    }
    let root = spoiled(&ground, "loops");
    replace(&root, "etc", |at| symlink("etc", at).unwrap());
    expect_run_or_refusal(&ground, &root, "/etc is a loop");
    // More links than the kernel follows: path_resolution(7) names 40.
    replace(&root, "etc", |at| symlink("link-0", at).unwrap());
    for number in 0..60 {
        symlink(format!("link-{}", number + 1), root.at(format!("link-{number}"))).unwrap();
    }
    expect_run_or_refusal(&ground, &root, "/etc is behind 60 links");
    let deep = "d/".repeat(1500);
    replace(&root, "etc", |at| symlink(&deep, at).unwrap());
    expect_run_or_refusal(&ground, &root, "/etc is very deep");
}

/// A root file system that is itself somebody's link or file.
#[test]
fn a_root_that_is_none_is_refused() {
    let ground = ground();
    let root = ground.folder().join("none");
    fs::write(&root, "a file").unwrap();
    let run = |path: &Path| ground.runner().run(&["run", "-q", text(path), "/probe"]).unwrap();
    assert_eq!(run(&root).code, Some(125));
    fs::remove_file(&root).unwrap();
    mkfifo(&root, Mode::S_IRWXU).unwrap();
    assert_eq!(run(&root).code, Some(125));
    fs::remove_file(&root).unwrap();
    symlink("none", &root).unwrap();
    let refused = run(&root);
    assert_eq!(refused.code, Some(125), "{refused}");
    assert!(refused.stderr.contains(Errno::ELOOP.desc()), "{refused}");
}
