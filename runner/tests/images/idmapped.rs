//! Images of root's in a user namespace (`--users ranges`): on disk the owners are those of the image,
//! and nobody in the container is anybody outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netns_fixtures::runner::{RANGE_OF_ROOT, Root, Runner};
use nix::mount::{MsFlags, mount};

use crate::btrfs::Volume;
use crate::place::{Place, names, only_layer, tree};

const SOON: Duration = Duration::from_secs(30);
const RANGES: [&str; 2] = ["--users", "ranges"];

/// A busybox with files of several owners as the image `base`.
fn stored(place: &Place, runner: &Runner) -> PathBuf {
    let root = Root::busybox(place.ground.folder().join("root")).unwrap();
    root.program(netns_fixtures::runner::probe(), "suid").unwrap();
    fs::set_permissions(root.at("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    for owner in [33, 1000] {
        let path = root.at(format!("of-{owner}"));
        fs::write(&path, "theirs\n").unwrap();
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    nodes(&root);
    let archive = place.ground.folder().join("root.tar");
    root.pack(&archive).unwrap();
    let words = ["image", "import", "--devices", "base", archive.to_str().unwrap()];
    runner.run(&words).unwrap().success().unwrap();
    only_layer(runner)
}

/// One that whoever is root here may open.
fn nodes(root: &Root) {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let mode = Mode::from_bits_truncate(0o600);
    mknod(&root.at("null"), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
}

fn sh(runner: &Runner, options: &[&str], image: &str, script: &str) -> String {
    let words = [&["run"], options, &[image, "--", "/bin/sh", "-c", script]].concat();
    runner.run(&words).unwrap().success().unwrap()
}

/// In the container and on the host the same numbers mean other people.
fn expect_owners(runner: &Runner, options: &[&str]) {
    let options = [&RANGES, options].concat();
    let script = "cat /proc/self/uid_map; stat -c '%n %u:%g %a' / /suid /of-33 /of-1000; \
        echo more >> /of-1000; touch /new /bin/new; chown 33:1000 /new; chown 0:0 /of-33; \
        stat -c '%n %u:%g' /new /bin/new /of-33 /of-1000; cat /of-1000; rm /etc/group";
    let told = sh(runner, &options, "base", script);
    let map: Vec<&str> = told.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(map, ["0", &RANGE_OF_ROOT.0.to_string(), &RANGE_OF_ROOT.1.to_string()]);
    let seen: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(
        seen,
        [
            "/ 0:0 755",
            "/suid 0:0 4755",
            "/of-33 33:33 600",
            "/of-1000 1000:1000 600",
            "/new 33:1000",
            "/bin/new 0:0",
            "/of-33 0:0",
            "/of-1000 1000:1000",
            "theirs",
            "more"
        ],
        "{options:?}"
    );
}

#[test]
fn owners_are_those_of_the_image() {
    let place = Place::new();
    let layer = stored(&place, &place.runner);
    let before = tree(&layer);
    for options in [&[][..], &["--writes", "memory"], &["--writes", "disk"], &["--no-init"]] {
        expect_owners(&place.runner, options);
        assert_eq!(tree(&layer), before, "{options:?}");
        assert!(names(&place.runner.store().join("runs")).is_empty(), "{options:?}");
    }
}

#[test]
fn owners_are_right_in_a_snapshot_and_stay_so() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let runner = place.runner.storing_in(volume.0.join("store"));
    let layer = stored(&place, &runner);
    let before = tree(&layer);
    expect_owners(&runner, &[]);
    assert!(sh(&runner, &RANGES, "base", "stat -f -c %t /").contains("9123683e"));
    let options = [&RANGES[..], &["--keep", "kept"]].concat();
    sh(&runner, &options, "base", "touch /new; chown 33:1000 /new; mkdir /own; rm /of-33");
    assert_eq!((tree(&layer), volume.subvolumes()), (before, 2));
    // One layer that nothing was removed from: with a user namespace and without.
    let seen = "stat -c '%n %u:%g' /new /own /of-1000 /bin/sh; ls / | grep -c of-";
    let expected = "/new 33:1000\n/own 0:0\n/of-1000 1000:1000\n/bin/sh 0:0\n1\n";
    for options in [&RANGES[..], &["-q"]] {
        assert_eq!(sh(&runner, options, "kept", seen), expected, "{options:?}");
    }
}

#[test]
fn an_overlay_that_is_kept_has_the_owners_on_disk() {
    let place = Place::new();
    let runner = &place.runner;
    let base = stored(&place, runner);
    let options = [&RANGES[..], &["--keep", "kept"]].concat();
    sh(runner, &options, "base", "touch /new; chown 33:1000 /new; mkdir /own; echo >> /of-1000");
    let layers = runner.store().join("layers");
    let tops = names(&layers).into_iter().map(|id| layers.join(id).join("root"));
    let top = tops.into_iter().find(|root| *root != base).unwrap();
    let owner = |name: &str| {
        let about = fs::metadata(top.join(name)).unwrap();
        (about.uid(), about.gid())
    };
    assert_eq!((owner("new"), owner("own"), owner("of-1000")), ((33, 1000), (0, 0), (1000, 1000)));
    let again = [&RANGES[..], &["--keep", "again"]].concat();
    sh(runner, &again, "kept", "rm /of-33; chown 5:5 /own");
    let seen = "stat -c '%n %u:%g' /new /own /of-1000; ls / | grep -c of-";
    let expected = "/new 33:1000\n/own 5:5\n/of-1000 1000:1000\n1\n";
    assert_eq!(sh(runner, &RANGES, "again", seen), expected);
}

#[test]
fn its_root_is_root_nowhere_else() {
    let place = Place::new();
    stored(&place, &place.runner);
    let shared = place.ground.folder().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(shared.join("secret"), "").unwrap();
    fs::set_permissions(shared.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let volume = format!("{}:/shared", shared.display());
    let script = "touch /shared/new; cat /shared/secret 2>/dev/null || echo refused; \
        stat -c %u /shared/new /shared/secret";
    let told = sh(&place.runner, &[&RANGES[..], &["-v", &volume]].concat(), "base", script);
    assert_eq!(told, "refused\n0\n65534\n");
    assert_eq!(fs::metadata(shared.join("new")).unwrap().uid(), RANGE_OF_ROOT.0);
}

#[test]
fn a_set_user_id_program_gives_the_containers_root() {
    let place = Place::new();
    stored(&place, &place.runner);
    let run = |options: &[&str]| {
        let words = [&["run"], &RANGES[..], options, &["-u", "1000", "base", "/suid", "ids"]];
        place.runner.run(&words.concat()).unwrap().success().unwrap()
    };
    assert!(run(&[]).contains("\nUid 1000 1000 1000 1000\n"));
    assert!(run(&["--new-privileges"]).contains("\nUid 1000 0 0 0\n"));
}

/// A node of the image's is of the container's root, who with this capability may change mounts.
#[test]
fn device_nodes_of_the_image_stay_closed() {
    let place = Place::new();
    let volume = Volume::new(&place);
    for runner in [place.runner.clone(), place.runner.storing_in(volume.0.join("store"))] {
        stored(&place, &runner);
        let script = "stat -c %u /null; true < /null || echo closed; \
            mount -o remount,bind,dev / 2>/dev/null; true < /null || echo closed";
        for options in [&[][..], &["--cap-add", "sys_admin", "--no-seccomp"]] {
            let told = sh(&runner, &[&RANGES, options].concat(), "base", script);
            assert_eq!(told, "0\nclosed\nclosed\n", "{options:?}");
        }
        fs::remove_dir_all(place.ground.folder().join("root")).unwrap();
    }
}

#[test]
fn a_directory_keeps_its_owners_and_can_be_written_over_on_disk() {
    let place = Place::new();
    let root = Root::busybox(place.ground.folder().join("root")).unwrap();
    for (name, owner) in [("of-33", RANGE_OF_ROOT.0 + 33), ("of-root", 0)] {
        root.file(name, "theirs\n").unwrap();
        std::os::unix::fs::chown(root.at(name), Some(owner), Some(owner)).unwrap();
    }
    std::os::unix::fs::chown(root.path(), Some(RANGE_OF_ROOT.0), None).unwrap();
    let before = tree(root.path());
    for writes in ["memory", "disk"] {
        let options = [&RANGES[..], &["--writes", writes]].concat();
        let script = "echo more >> /of-33; touch /new; stat -c '%n %u' /of-33 /of-root /new";
        let told = sh(&place.runner, &options, root.path().to_str().unwrap(), script);
        assert_eq!(told, "/of-33 33\n/of-root 65534\n/new 0\n", "{writes}");
    }
    assert_eq!(tree(root.path()), before);
}

#[test]
fn a_file_system_that_maps_no_ids_is_named() {
    let place = Place::new();
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| {
        let path = place.ground.folder().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    let folders = [("lowerdir", lower), ("upperdir", upper), ("workdir", work)];
    let options = folders.map(|(key, path)| format!("{key}={}", path.display())).join(",");
    let overlay = Some("overlay");
    mount(overlay, &merged, overlay, MsFlags::empty(), Some(options.as_str())).unwrap();
    let runner = place.runner.storing_in(merged.join("store"));
    stored(&place, &runner);
    let words = [&["run"], &RANGES[..], &["base", "/bin/echo", "ran"]].concat();
    let refused = runner.run(&words).unwrap();
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(125), ""), "{refused}");
    assert!(refused.stderr.contains("MOUNT_ATTR_IDMAP"), "{refused}");
    assert!(refused.stderr.contains("NETUP_RUN_STORE"), "{refused}");
    assert!(names(&runner.store().join("runs")).is_empty());
    let unmounted = Command::new("umount").arg(&merged).status().unwrap();
    assert!(unmounted.success());
}

#[test]
fn what_fails_before_the_mounts_are_taken_is_told() {
    let place = Place::new();
    stored(&place, &place.runner);
    let words = [&["run"], &RANGES[..], &["-v", "/no/such:/x", "base", "true"]].concat();
    for _ in 0..20 {
        let refused = place.runner.run(&words).unwrap();
        assert_eq!(refused.code, Some(125), "{refused}");
        assert!(refused.stderr.contains("a volume's source has to exist"), "{refused}");
        assert!(names(&place.runner.store().join("runs")).is_empty());
    }
}

#[test]
fn a_second_command_has_the_same_owners() {
    let place = Place::new();
    stored(&place, &place.runner);
    let words = [&["run", "--name", "it"], &RANGES[..], &["base", "/probe", "signals", "15"]];
    let mut run = place.runner.start(&words.concat()).unwrap();
    run.await_line("ready", SOON).unwrap();
    let script = "touch /new; chown 33 /new; stat -c %u / /new /of-1000";
    let words = ["exec", "it", "/bin/sh", "-c", script];
    assert_eq!(place.runner.run(&words).unwrap().success().unwrap(), "0\n33\n1000\n");
    run.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    run.finish(SOON).unwrap();
}

#[test]
fn the_plan_names_the_mounts_in_their_order() {
    let place = Place::new();
    let layer = stored(&place, &place.runner);
    let words = ["run", "--dry-run", "--users", "ranges", "--writes", "disk", "base", "true"];
    let told = place.runner.run(&words).unwrap().success().unwrap();
    let layer = layer.display();
    let calls = [
        "> /proc/PID/uid_map".to_owned(),
        format!(
            "mount_setattr(open_tree(AT_FDCWD, \"{layer}\", OPEN_TREE_CLONE), \"\", AT_EMPTY_PATH"
        ),
        "sendmsg(container, SCM_RIGHTS)".to_owned(),
        "recvmsg(runner, SCM_RIGHTS)".to_owned(),
        "mount(\"tmpfs\", \"/\"".to_owned(),
        format!("move_mount(IDMAPPED \"{layer}\", \"\", \"SCRATCH/0\")"),
        "lowerdir=SCRATCH/0,upperdir=SCRATCH/1/root,workdir=SCRATCH/1/work".to_owned(),
    ];
    let at: Vec<_> = calls.iter().map(|call| told.find(call.as_str())).collect();
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?}\n{told}");
}

/// The store of a usual host is on a shared mount.
#[test]
fn its_mounts_are_seen_nowhere_else() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let on_btrfs = place.runner.storing_in(volume.0.join("store"));
    let shared = place.ground.folder().join("shared");
    fs::create_dir(&shared).unwrap();
    mount(Some("tmpfs"), &shared, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    for runner in [on_btrfs, place.runner.storing_in(shared.join("store"))] {
        stored(&place, &runner);
        fs::remove_dir_all(place.ground.folder().join("root")).unwrap();
        for writes in ["discard", "disk"] {
            let options = ["run", "--writes", writes, "--tmpfs", "/mine"];
            let command = ["base", "/probe", "signals", "15"];
            let mut run = runner.start(&[&options, &RANGES[..], &command].concat()).unwrap();
            run.await_line("ready", SOON).unwrap();
            let seen = fs::read_to_string("/proc/self/mountinfo").unwrap();
            run.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
            run.finish(SOON).unwrap();
            let store = runner.store().to_str().unwrap();
            assert!(!seen.contains(store), "{writes}: {seen}");
        }
    }
    let unmounted = Command::new("umount").arg("-l").arg(&shared).status().unwrap();
    assert!(unmounted.success());
}

#[test]
fn nothing_is_left_of_one_that_was_killed() {
    let place = Place::new();
    let volume = Volume::new(&place);
    let on_btrfs = place.runner.storing_in(volume.0.join("store"));
    for runner in [&place.runner, &on_btrfs] {
        stored(&place, runner);
        fs::remove_dir_all(place.ground.folder().join("root")).unwrap();
        let script = "echo up; exec sleep 1000";
        let words = [&["run", "--writes", "disk"], &RANGES[..], &["base", "/bin/sh", "-c", script]];
        let mut run = runner.start(&words.concat()).unwrap();
        run.await_line("up", SOON).unwrap();
        run.kill().unwrap();
        run.finish(SOON).unwrap();
        assert_eq!(names(&runner.store().join("runs")).len(), 1);
        runner.run(&["gc"]).unwrap().success().unwrap();
        assert!(names(&runner.store().join("runs")).is_empty());
    }
    assert_eq!(volume.subvolumes(), 1);
}
