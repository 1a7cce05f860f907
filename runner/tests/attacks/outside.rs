//! What the runner is and has on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use netns_fixtures::program;
use nix::errno::Errno;

use crate::running::{PATIENCE, Staying, ground};
use crate::spoiled;

/// CVE-2025-52565: the console of the image is a link to somewhere else.
#[test]
fn a_console_of_the_images_leads_nowhere() {
    let ground = ground();
    let root = spoiled(&ground, "console");
    symlink("/proc/sys/kernel/core_pattern", root.at("/dev/console")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", root.at("/dev/ptmx")).unwrap();
    let words =
        ["stat", "/dev/console", "/dev/ptmx", "+", "open", "w", "/proc/sys/kernel/core_pattern"];
    let seen = ground.runner().probe(&["-q", "-t"], &root, &words).unwrap();
    assert!(seen.value("/dev/console").starts_with("char "), "{}", seen.text());
    assert_eq!(
        seen.value("/proc/sys/kernel/core_pattern"),
        format!("errno {}", Errno::EROFS as i32)
    );
}

/// CVE-2020-5291 and others: rights that the program has by its file, folders that others can guess.
#[test]
fn the_program_has_no_rights_of_its_own_and_no_fixed_place_in_tmp() {
    let program = Path::new(env!("CARGO_BIN_EXE_netup-run"));
    assert_eq!(fs::metadata(program).unwrap().mode() & 0o6000, 0);
    let ground = ground();
    let root = spoiled(&ground, "traced");
    let prepared = ground.runner().command(&[
        "run",
        "-q",
        root.path().to_str().unwrap(),
        "/probe",
        "exit",
        "0",
    ]);
    let prepared = prepared.unwrap();
    let mut strace = ground.host().command(netns_fixtures::tools::find("strace").unwrap());
    strace.args(["-f", "-e", "trace=%file"]).arg(prepared.get_program()).args(prepared.get_args());
    strace.env_clear().envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let traced = program::run(strace, b"", PATIENCE).unwrap();
    assert!(traced.is_success(), "{traced}");
    let shared =
        traced.stderr.lines().filter(|line| line.contains("\"/tmp") || line.contains("\"/var/tmp"));
    assert_eq!(shared.count(), 0, "{}", traced.stderr);
}

/// What a container leaves in its state must not be readable or writable by others.
#[test]
fn the_state_is_for_its_owner() {
    let ground = ground();
    let root = spoiled(&ground, "private");
    let runner = ground.runner();
    let staying = Staying::start(&runner, &["-q", "--name", "private"], &root);
    let modes: Vec<(String, u32)> = all_below(runner.state());
    staying.end();
    assert!(!modes.is_empty());
    for (path, mode) in modes {
        assert_eq!(mode & 0o022, 0, "{path} {mode:o}");
    }
}

fn all_below(folder: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        let meta = fs::symlink_metadata(&path).unwrap();
        found.push((path.display().to_string(), meta.mode()));
        if meta.is_dir() {
            found.extend(all_below(&path));
        }
    }
    found
}

/// Names of containers are names of files and of groups.
#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let ground = ground();
    let root = spoiled(&ground, "names");
    for name in ["../x", "a/b", ".", "..", "", "-x", "a\nb", &"x".repeat(64)] {
        let ended = ground.runner().run_probe(&["--name", name], &root, &["exit", "0"]).unwrap();
        assert_eq!(ended.code, Some(125), "{name:?}: {ended}");
    }
}
