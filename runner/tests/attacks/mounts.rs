//! Places that are mounted on, while somebody changes them, and what gets through mounts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use netns_fixtures::runner::Root;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::running::{Staying, alone, ground, shell};
use crate::{Canary, spoiled, text};

fn table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// `-v SOURCE:PLACE`.
fn volume(source: &Path, place: &str) -> String {
    format!("{}:{place}", text(source))
}

/// CVE-2019-19921, CVE-2023-28642, CVE-2025-52881: where the kernel's own files have to be, nothing is
/// put, neither by its name nor through a link of the image.
#[test]
fn nothing_is_mounted_over_the_kernels_own_files() {
    let ground = ground();
    let root = spoiled(&ground, "places");
    let source = ground.runner().folder("source").unwrap();
    fs::write(source.join("exec"), "fake").unwrap();
    for place in [
        "/proc",
        "/proc/self/attr",
        "/proc/../proc/1",
        "/sys",
        "/sys/fs",
        "/sys/fs/cgroup",
        "/dev",
        "/",
        "//",
        "/.",
        "/tmp/..",
        "/tmp/../proc",
        "tmp",
        "../tmp",
        "/./proc",
        "//proc",
    ] {
        let bound = volume(&source, place);
        for options in [["-v", &bound], ["--tmpfs", place]] {
            let ended = ground.runner().run_probe(&options, &root, &["exit", "0"]).unwrap();
            assert_eq!(ended.code, Some(125), "{options:?}: {ended}");
        }
    }
    for target in [
        "/proc",
        "/proc/self/attr",
        "/proc/self",
        "/proc/thread-self/attr",
        "/sys",
        "/sys/kernel",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/pts",
        "proc/sys",
        "/proc/1/attr",
        "/proc/sys/net",
        "/",
    ] {
        fs::remove_file(root.at("data")).ok();
        symlink(target, root.at("data")).unwrap();
        let bound = volume(&source, "/data");
        for options in [["-v", &bound], ["--tmpfs", "/data"]] {
            let ended = ground.runner().run_probe(&options, &root, &["exit", "0"]).unwrap();
            assert_eq!(ended.code, Some(125), "/data -> {target} {options:?}: {ended}");
        }
    }
}

/// The same by a single file.
#[test]
fn no_file_is_mounted_over_the_kernels_own_files() {
    let ground = ground();
    let root = spoiled(&ground, "places");
    let source = ground.runner().folder("source").unwrap().join("file");
    fs::write(&source, "fake").unwrap();
    for target in [
        "/proc/self/status",
        "/proc/uptime",
        "/dev/null",
        "/sys/kernel/vmcoreinfo",
        "/proc/self/attr/current",
        "/dev/pts/ptmx",
        "/proc/sys/kernel/ns_last_pid",
    ] {
        fs::remove_file(root.at("data")).ok();
        symlink(target, root.at("data")).unwrap();
        let bound = volume(&source, "/data");
        let ended = ground.runner().run_probe(&["-v", &bound], &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "/data -> {target}: {ended}");
    }
}

/// Swaps two names for as long as it lives, as fast as it can.
struct Racer<'a>(&'a AtomicBool);

impl Drop for Racer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn exchange(one: &Path, other: &Path) {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).unwrap();
}

/// CVE-2021-30465, CVE-2024-45310: a volume that two containers share, in which a place to mount on
/// becomes a link to the host while the other one is started.
#[test]
fn a_place_that_changes_under_our_hands_stays_inside() {
    let ground = alone();
    let canary = Canary::new(&ground);
    let root = ground.busybox().unwrap();
    let (shared, other) =
        (ground.runner().folder("shared").unwrap(), ground.runner().folder("other").unwrap());
    fs::write(other.join("mark"), "").unwrap();
    let below = canary.path().strip_prefix("/").unwrap();
    for (name, target) in [
        ("absolute", canary.path().to_owned()),
        ("upwards", Path::new(&"../".repeat(20)).join(below)),
    ] {
        fs::create_dir_all(shared.join(name).join("place")).unwrap();
        symlink(target, shared.join(format!("{name}-link"))).unwrap();
    }
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = table();
    let options: Vec<String> = ["absolute", "upwards"]
        .into_iter()
        .flat_map(|name| {
            let bound = volume(&other, &format!("/data/{name}/place"));
            let new = format!("/data/{name}/made/by/run");
            ["-v".to_owned(), bound, "--tmpfs".to_owned(), new]
        })
        .collect();
    let shared_at = volume(&shared, "/data");
    let options: Vec<&str> =
        ["-q", "-v", &shared_at].into_iter().chain(options.iter().map(String::as_str)).collect();
    let mut ended_well = 0;
    thread::scope(|scope| {
        let _racer = Racer(&stop);
        for name in ["absolute", "upwards"] {
            let (folder, link) = (shared.join(name), shared.join(format!("{name}-link")));
            let (stop, swaps) = (&stop, &swaps);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    exchange(&folder, &link);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..300 {
            let ended = ground.runner().run_probe(&options, &root, &["exit", "0"]).unwrap();
            assert!(matches!(ended.code, Some(0 | 125)), "{ended}");
            ended_well += usize::from(ended.is_success());
        }
    });
    canary.expect_untouched("after the race");
    assert_eq!(table(), before);
    let swaps = swaps.load(Ordering::Relaxed);
    assert!(swaps > 1000 && ended_well > 0, "{swaps} swaps, {ended_well} runs");
}

/// Mounts of the host do not show in a container that runs, and its own not on the host, even where
/// the host shares them and the container may mount.
#[test]
fn mounts_do_not_spread() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let shared = ground.runner().folder("shared").unwrap();
    let none: Option<&Path> = None;
    mount(Some(&shared), &shared, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &shared, none, MsFlags::MS_SHARED, none).unwrap();
    fs::create_dir(shared.join("ours")).unwrap();
    fs::create_dir(shared.join("theirs")).unwrap();
    let before = table();
    let bound = volume(&shared, "/data");
    let rights = ["--name", "spread", "-v", &bound, "--cap-add", "sys_admin", "--no-seccomp"];
    let staying = Staying::start(&ground.runner(), &rights, &root);
    mount(Some("tmpfs"), &shared.join("ours"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let words = [
        "exec",
        "spread",
        "/bin/sh",
        "-c",
        "mount -t tmpfs none /data/theirs; mount --make-rshared /; mount -t tmpfs none /data; \
         cat /proc/self/mountinfo",
    ];
    let inside = ground.runner().run(&words).unwrap().success().unwrap();
    umount2(&shared.join("ours"), MntFlags::empty()).unwrap();
    let meanwhile = table();
    staying.end();
    umount2(&shared, MntFlags::empty()).unwrap();
    assert!(inside.contains("/data/theirs") && !inside.contains("/data/ours"), "{inside}");
    assert_eq!(meanwhile, before);
}

/// A mount of the host, or a path of it, does not show in the table of the container.
#[test]
fn the_table_of_mounts_names_nothing_of_the_hosts() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let seen = ground.runner().probe(&[], &root, &["cat", "/proc/self/mountinfo"]).unwrap();
    let host: Vec<_> = table().lines().map(str::to_owned).collect();
    for line in seen.lines() {
        let place = line.split(' ').nth(4).unwrap();
        assert!(
            ["/", "/proc", "/sys", "/dev", "/etc"]
                .iter()
                .any(|own| place == *own || place.starts_with(&format!("{own}/"))),
            "{line}"
        );
        assert!(!host.iter().any(|own| own == line), "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    }
}

/// runc 1.1.15: a mount that is left on the host by one of many.
#[test]
fn many_at_once_leave_the_hosts_table_as_it_was() {
    let ground = alone();
    let root = ground.busybox().unwrap();
    let runner = ground.runner();
    let dump = ground.dump(&runner).unwrap().without_section("cgroups");
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let ended = runner.run_probe(&["-q"], &root, &["exit", "0"]).unwrap();
                    assert!(ended.is_success(), "{ended}");
                }
            });
        }
    });
    crate::running::soon("the host as it was", || {
        ground.dump(&runner).unwrap().without_section("cgroups") == dump
    });
}

/// Set-user-ID files and devices of a volume have no effect, and a read-only one is so all the way
/// down, mounts below it included.
#[test]
fn volumes_are_as_they_were_asked_for() {
    let ground = alone();
    let root: Root = ground.busybox().unwrap();
    let source: PathBuf = ground.runner().folder("source").unwrap();
    let below = source.join("below");
    fs::create_dir(&below).unwrap();
    let none: Option<&Path> = None;
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let bound = volume(&source, "/data") + ":ro";
    let script = "for at in /data /data/below; do (: > $at/file) 2>/dev/null && echo $at; \
                  mount -o remount,rw $at 2>/dev/null; (: > $at/file) 2>/dev/null && echo $at; \
                  done; grep /data /proc/self/mountinfo | cut -d' ' -f6";
    for options in [&["-v", &bound][..], &["-v", &bound, "--cap-add", "all"]] {
        let said = shell(&ground.runner(), options, &root, script);
        let lines: Vec<_> = said.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{options:?}: {said}");
        for line in lines {
            assert!(line.starts_with("ro,nosuid,nodev"), "{options:?}: {said}");
        }
    }
    umount2(&below, MntFlags::empty()).unwrap();
}
