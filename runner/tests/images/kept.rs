//! Containers that run from images of the store: what they write, and what is kept of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netns_fixtures::runner::{Root, Runner};

use crate::place::{Place, expect_empty, names};

const SOON: Duration = Duration::from_secs(30);

fn packed(place: &Place) -> PathBuf {
    let root = Root::busybox(place.ground.folder().join("root")).unwrap();
    let archive = place.ground.folder().join("root.tar");
    root.pack(&archive).unwrap();
    archive
}

fn stored(runner: &Runner, archive: &Path) {
    let words = ["image", "import", "base", archive.to_str().unwrap()];
    runner.run(&words).unwrap().success().unwrap();
}

fn sh(runner: &Runner, options: &[&str], image: &str, script: &str) -> String {
    let words = [&["run"], options, &[image, "--", "/bin/sh", "-c", script]].concat();
    runner.run(&words).unwrap().success().unwrap()
}

/// Root, and somebody who is not.
fn both(place: &Place) -> [Runner; 2] {
    let user = place.ground.user().unwrap();
    [place.runner.clone(), place.ground.runner_of(&user)]
}

#[test]
fn what_is_written_is_gone_unless_it_is_kept() {
    let place = Place::new();
    let archive = packed(&place);
    for runner in both(&place) {
        stored(&runner, &archive);
        let change = "echo new > /new; rm /etc/group; rm -r /var; mkdir /var; chown 33 /new";
        for writes in ["discard", "memory", "disk"] {
            sh(&runner, &["--writes", writes], "base", change);
            let left = sh(&runner, &[], "base", "ls -d /new /etc/group 2>/dev/null; true");
            assert_eq!(left, "/etc/group\n", "{writes}");
            assert!(names(&runner.store().join("runs")).is_empty(), "{writes}");
        }
        sh(&runner, &["--keep", "kept"], "base", change);
        let seen = "cat /new; stat -c %u /new; ls -A /var; test -e /etc/group || echo gone";
        assert_eq!(sh(&runner, &[], "kept", seen), "new\n33\ngone\n");
        sh(&runner, &["--keep", "again"], "kept", "echo again > /new");
        // The layers below are those of all three.
        runner.run(&["image", "rm", "base", "kept"]).unwrap().success().unwrap();
        assert_eq!(
            sh(&runner, &[], "again", "cat /new; test -e /etc/group || echo gone"),
            "again\ngone\n"
        );
        runner.run(&["image", "rm", "again"]).unwrap().success().unwrap();
        expect_empty(&runner, "removal");
    }
}

#[test]
fn a_name_that_is_taken_is_known_before_the_run() {
    let place = Place::new();
    stored(&place.runner, &packed(&place));
    let words = ["run", "--keep", "base", "base", "--", "/bin/echo", "ran"];
    let ended = place.runner.run(&words).unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{ended}");
    assert!(ended.stderr.contains("there is an image base already"), "{ended}");
}

#[test]
fn an_image_in_use_stays() {
    let place = Place::new();
    stored(&place.runner, &packed(&place));
    let words = ["run", "--name", "busy", "base", "--", "/bin/sleep", "1000"];
    let mut run = place.runner.start(&words).unwrap();
    let started = Instant::now();
    while names(&place.runner.store().join("runs")).is_empty() {
        assert!(started.elapsed() < SOON, "{:?}", run.said());
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = place.runner.run(&["image", "rm", "base"]).unwrap();
    assert_eq!(ended.code, Some(5), "{ended}");
    assert!(ended.stderr.contains("in use by busy"), "{ended}");
    run.kill().unwrap();
    run.finish(SOON).unwrap();
    // The container dies with its runner; the folder of its run waits to be cleared.
    let started = Instant::now();
    while !place.runner.run(&["image", "rm", "base"]).unwrap().is_success() {
        assert!(started.elapsed() < SOON);
    }
    place.runner.run(&["gc"]).unwrap().success().unwrap();
    place.expect_empty("gc");
}

#[test]
fn what_cannot_be_kept_is_refused_before_the_run() {
    let place = Place::new();
    let archive = packed(&place);
    stored(&place.runner, &archive);
    let refused = |words: &[&str], why: &str| {
        let ended = place.runner.run(words).unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{ended}");
        assert!(ended.stderr.contains(why), "{ended}");
    };
    let root = archive.with_extension("");
    let root = root.to_str().unwrap();
    refused(&["run", "--keep", "it", root, "--", "/bin/echo", "ran"], "cannot be kept");
    refused(&["run", "--writes", "direct", "base", "--", "/bin/echo", "ran"], "cannot be written");
    refused(&["run", "nope", "--", "/bin/echo", "ran"], "there is no image nope");
    let archive = archive.to_str().unwrap();
    refused(&["run", archive, "--", "/bin/echo", "ran"], "has to be imported");
}

/// Of an option of an overlay the kernel reads 255 bytes.
#[test]
fn many_layers_can_be_kept_above_each_other() {
    const LAYERS: usize = 30;
    let place = Place::new();
    let runner = &place.runner;
    stored(runner, &packed(&place));
    let name = |number: usize| if number == 0 { "base".to_owned() } else { format!("k{number}") };
    for number in 1..=LAYERS {
        let options = ["--keep", &name(number)];
        sh(runner, &options, &name(number - 1), &format!("echo {number} > /layer-{number}"));
    }
    let seen = sh(runner, &[], &name(LAYERS), "ls -d /layer-* | wc -l");
    assert_eq!(seen.trim(), LAYERS.to_string());
}
