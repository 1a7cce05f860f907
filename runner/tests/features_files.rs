//! What a container sees of files: its root, what the kernel shows, what the caller puts there.

mod running;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Root, Seen};
use nix::errno::Errno;
use running::{ground, shell};

isolate!();

fn errno(error: Errno) -> String {
    format!("errno {}", error as i32)
}

#[track_caller]
fn seen(ground: &Ground, options: &[&str], words: &[&str]) -> Seen {
    ground.runner().probe(options, &ground.minimal().unwrap(), words).expect("a run")
}

#[test]
fn a_directory_is_written_to_only_when_that_is_asked_for() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    for (how, stays) in [("discard", false), ("memory", false), ("disk", false), ("direct", true)] {
        let words = ["write", "/written", how, "+", "cat", "/written"];
        let seen = ground.runner().probe(&["--writes", how], &root, &words).unwrap();
        assert_eq!(seen.lines(), ["/written ok", how], "{how}");
        assert_eq!(root.at("/written").exists(), stays, "{how}");
    }
    assert_eq!(fs::read_to_string(root.at("/written")).unwrap(), "direct");
}

#[test]
fn two_containers_of_one_base_do_not_see_each_others_writes() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let script = "echo $$ >/mine; sleep 0.3; test $(cat /mine) = $$ && ls / | grep -c mine";
    let path = root.path().to_str().unwrap();
    let start = || ground.runner().start(&["run", path, "/bin/sh", "-c", script]).unwrap();
    for run in [start(), start(), start()] {
        assert_eq!(run.finish(running::PATIENCE).unwrap().success().unwrap(), "1\n");
    }
    assert!(!root.at("/mine").exists());
}

/// Then the runner's own mounts lie over the old root itself.
#[test]
fn the_hosts_root_can_be_the_base() {
    let ground = ground();
    for options in [&[][..], &["--no-init"], &["--writes", "direct"]] {
        let words = [&["run", "-q"], options, &["/", "echo", "ran"]].concat();
        let told = ground.runner().run(&words).unwrap().success().unwrap();
        assert_eq!(told, "ran\n", "{options:?}");
    }
}

#[test]
fn the_root_is_read_only_on_request_and_the_rest_is_not() {
    let ground = ground();
    let words =
        ["write", "/x", "x", "+", "write", "/dev/shm/x", "x", "+", "write", "/scratch/x", "x"];
    let seen = seen(&ground, &["--read-only", "--tmpfs", "/scratch"], &words);
    assert_eq!(seen.value("/x"), errno(Errno::EROFS));
    assert_eq!((seen.value("/dev/shm/x"), seen.value("/scratch/x")), ("ok", "ok"));
}

#[test]
fn proc_is_the_containers_own_and_nothing_in_it_runs_or_counts_as_a_device() {
    let ground = ground();
    let seen = seen(&ground, &[], &["cat", "/proc/self/mountinfo"]);
    for flag in ["nosuid", "nodev", "noexec"] {
        assert!(seen.mount_flags("/proc").contains(&flag), "{flag}: {}", seen.text());
    }
}

#[test]
fn what_tells_about_the_host_is_masked() {
    let ground = ground();
    // Those that are not in every kernel are masked where they are.
    let all = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"];
    let there: Vec<&str> = all.into_iter().filter(|path| fs::exists(path).unwrap()).collect();
    let folders = ["/proc/acpi", "/proc/scsi", "/sys/firmware"];
    let words = [&["cat"], &there[..], &["+", "ls"], &folders].concat();
    let told = seen(&ground, &[], &words);
    let content = |line: &&str| !line.contains("errno");
    assert_eq!(told.lines().iter().filter(|line| content(line)).count(), 0, "{}", told.text());
    let open = seen(&ground, &["--unmasked"], &["cat", "/proc/timer_list", "/proc/interrupts"]);
    assert!(open.lines().len() > 3, "{}", open.text());
}

#[test]
fn what_would_change_the_host_can_only_be_read() {
    let ground = ground();
    // Not every kernel has all of them.
    let all = ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/profiling"];
    let paths: Vec<&str> = all.into_iter().filter(|path| fs::exists(path).unwrap()).collect();
    let words = [&["open", "w"], &paths[..], &["+", "cat", "/proc/self/mountinfo"]].concat();
    let seen = seen(&ground, &[], &words);
    for path in &paths {
        assert_eq!(seen.value(path), errno(Errno::EROFS), "{path}");
    }
    for place in ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/sys"] {
        let flags = seen.mount_flags(place);
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(flags.contains(&flag), "{place} {flag}: {flags:?}");
        }
    }
}

#[test]
fn dev_has_its_links_terminals_and_shared_memory() {
    let ground = ground();
    let words = [
        "stat",
        "/dev/fd",
        "/dev/stdin",
        "/dev/ptmx",
        "/dev/shm",
        "/dev/pts/ptmx",
        "+",
        "cat",
        "/proc/self/mountinfo",
    ];
    let seen = seen(&ground, &[], &words);
    assert!(seen.value("/dev/fd").ends_with("-> /proc/self/fd"), "{}", seen.text());
    assert!(seen.value("/dev/ptmx").ends_with("-> pts/ptmx"), "{}", seen.text());
    assert!(seen.value("/dev/shm").starts_with("folder 1777 0:0"), "{}", seen.text());
    assert!(seen.value("/dev/pts/ptmx").starts_with("char 666"), "{}", seen.text());
    assert!(seen.mounts().contains(&("/dev/pts", "devpts")), "{}", seen.text());
    for (place, wanted) in
        [("/dev", "nosuid"), ("/dev/shm", "nodev"), ("/dev/shm", "noexec"), ("/dev/pts", "noexec")]
    {
        assert!(seen.mount_flags(place).contains(&wanted), "{place} {wanted}: {}", seen.text());
    }
}

#[test]
fn the_files_of_the_network_are_there() {
    let ground = ground();
    let options = ["--hostname", "web", "--net", "10.0.0.2/24", "--dns", "198.51.100.53"];
    let seen = seen(&ground, &options, &["cat", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
    assert!(seen.has_line("web") && seen.has_line("nameserver 198.51.100.53"), "{}", seen.text());
    let names = |address: &str, name: &str| {
        let line =
            seen.lines().into_iter().find(|line| line.split_whitespace().next() == Some(address));
        line.is_some_and(|line| line.split_whitespace().any(|word| word == name))
    };
    assert!(names("127.0.0.1", "localhost") && names("::1", "localhost"), "{}", seen.text());
    assert!(names("10.0.0.2", "web"), "{}", seen.text());
}

#[test]
fn parts_of_the_host_are_shared_for_writing_or_reading() {
    let ground = ground();
    let folder = ground.folder().join("part");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "from outside\n").unwrap();
    let bind = |at: &str| format!("{}{at}", folder.display());
    let options = ["-v", &bind(":/w/here"), "-v", &bind(":/r:ro"), "-v", &bind("/file:/a/file")];
    let words = [
        "cat",
        "/w/here/file",
        "/a/file",
        "+",
        "write",
        "/w/here/new",
        "from inside",
        "+",
        "write",
        "/r/new",
        "no",
        "+",
        "cat",
        "/proc/self/mountinfo",
    ];
    let seen = seen(&ground, &options, &words);
    assert_eq!(seen.lines()[..2], ["from outside"; 2]);
    assert_eq!(seen.value("/w/here/new"), "ok");
    assert_eq!(seen.value("/r/new"), errno(Errno::EROFS));
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "from inside");
    for flag in ["nosuid", "nodev"] {
        assert!(seen.mount_flags("/w/here").contains(&flag), "{}", seen.text());
    }
}

#[test]
fn what_is_mounted_below_a_read_only_part_is_read_only_too() {
    let ground = running::alone();
    let folder = ground.folder().join("outer");
    fs::create_dir_all(folder.join("inner")).unwrap();
    let (inner, nothing) = (folder.join("inner"), None::<&str>);
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &inner, Some("tmpfs"), flags, nothing).unwrap();
    let bind = format!("{}:/part:ro", folder.display());
    let root = ground.minimal().unwrap();
    let seen = ground.runner().probe(&["-v", &bind], &root, &["write", "/part/inner/x", "x"]);
    nix::mount::umount2(&inner, nix::mount::MntFlags::MNT_DETACH).unwrap();
    assert_eq!(seen.unwrap().value("/part/inner/x"), errno(Errno::EROFS));
}

#[test]
fn memory_is_mounted_with_its_size_and_permissions() {
    let ground = ground();
    let options = ["--tmpfs", "/scratch:size=1m,mode=1750"];
    let root = ground.busybox().unwrap();
    let script = "stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1M count=2 2>/dev/null; stat -c %s /scratch/x";
    let told = shell(&ground.runner(), &options, &root, script).success().unwrap();
    assert_eq!(told, "1750\n1048576\n");
}

#[test]
fn a_link_in_the_image_does_not_lead_a_mount_out_of_it() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let outside = ground.folder().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, root.at("/out")).unwrap();
    symlink("../../../../../../../../run", root.at("/up")).unwrap();
    let bind = format!("{}:/out/x", ground.folder().display());
    let options = ["--tmpfs", "/up/y", "-v", &bind, "--writes", "direct"];
    let ended =
        ground.runner().run_probe(&options, &root, &["cat", "/proc/self/mountinfo"]).unwrap();
    // Either way is right, as long as nothing is made outside.
    if ended.is_success() {
        assert!(ended.stdout.contains(" /run/y "), "{ended}");
    } else {
        assert_eq!(ended.code, Some(125), "{ended}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!fs::exists("/run/y").unwrap());
}

#[test]
fn a_base_whose_proc_is_a_link_is_refused() {
    let ground = ground();
    for (name, target) in [("proc", "tmp"), ("sys", "tmp"), ("dev", "tmp")] {
        let root = netns_fixtures::runner::Root::minimal(ground.folder().join(name)).unwrap();
        root.folder("tmp", 0o755).unwrap();
        symlink(target, root.at(name)).unwrap();
        let ended = ground.runner().run_probe(&[], &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "/{name}: {ended}");
        assert!(ended.stderr.contains(&format!("/{name}")), "/{name}: {ended}");
    }
}

#[test]
fn nothing_may_be_put_below_proc_and_sys() {
    let ground = ground();
    let folder = ground.folder().display().to_string();
    for at in ["/proc", "/proc/self/attr", "/sys/kernel", "/", "/dev", "relative", "/a/../proc"] {
        let bind = format!("{folder}:{at}");
        let root = ground.minimal().unwrap();
        let ended = ground.runner().run_probe(&["-v", &bind], &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "{at}: {ended}");
        assert!(ended.stderr.contains(at), "{at}: {ended}");
    }
}

#[test]
fn the_base_keeps_its_times() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let times = |path: &str| {
        let meta = fs::symlink_metadata(root.at(path)).unwrap();
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let look = || ["/", "/etc", "/dev", "/proc", "/bin/sh", "/etc/passwd"].map(times);
    let before = look();
    shell(&ground.runner(), &[], &root, "echo >>/etc/passwd; rm /bin/ls; mkdir /new")
        .success()
        .unwrap();
    assert_eq!(look(), before);
}

#[test]
fn what_cannot_be_covered_is_told_with_a_remedy() {
    let ground = ground();
    let root = Root::minimal(ground.folder().join("uncovered")).unwrap();
    root.folder("etc/hosts", 0o755).unwrap();
    let refused = |options: &[&str], says: &str| {
        let ended = ground.runner().run_probe(options, &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "{ended}");
        assert!(ended.stderr.contains(says), "{says}: {ended}");
    };
    let kinds = "one of them is a directory and the other is not";
    refused(&[], kinds);
    fs::remove_dir(root.at("/etc/hosts")).unwrap();
    refused(&["-v", "/etc/passwd:/etc"], kinds);
    refused(&["-v", "/etc:/probe"], "it has to be a directory, and all on the way as well");
    root.file("proc", "").unwrap();
    refused(&[], "it has to be a directory");
}
