//! An import that is killed leaves no image, and what it leaves the next call clears.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::archive::{Archive, gzip};
use crate::place::{Place, names};
use crate::saved::{Saved, packed};

const SOON: Duration = Duration::from_secs(20);

/// Large enough that each part of it takes a while.
fn tree() -> Vec<u8> {
    let content = "0123456789".repeat(2000);
    let files = (0..200).map(|n| format!("folder-{}/{n}", n / 10));
    files.fold(Archive::new().folder("bin"), |archive, path| archive.file(&path, &content)).done()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "{what} never happened");
        sleep(Duration::from_millis(1));
    }
}

fn unfinished(store: &Path) -> bool {
    names(&store.join("layers")).iter().any(|name| name.starts_with(".new-"))
}

/// Imports from a pipe into which only this much is written, and kills the import.
fn kill_after(place: &Place, bytes: &[u8], written: usize) {
    let pipe = place.ground.folder().join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    let words = ["image", "import", "it", pipe.to_str().unwrap()];
    let mut import = place.runner.start(&words).unwrap();
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(&bytes[..written]).unwrap();
    let store = place.runner.store();
    wait_until("the import", || unfinished(store));
    import.kill().unwrap();
    import.finish(SOON).unwrap();
    drop(writer);
    fs::remove_file(pipe).unwrap();
    assert!(names(&store.join("images")).is_empty(), "after {written} bytes");
}

#[test]
fn an_import_that_is_killed_leaves_nothing_for_the_next() {
    let place = Place::new();
    let saved = Saved::new(vec![tree(), Archive::new().file("top", "top").done()], gzip);
    for bytes in [tree(), gzip(&tree()), packed(&saved.oci())] {
        for written in [0, 1, bytes.len() / 3, bytes.len() * 2 / 3, bytes.len() - 1] {
            kill_after(&place, &bytes, written);
            // The child dies with its parent, a moment later; until then its folder is locked.
            wait_until("clearing", || {
                place.import("next", &Archive::new().folder("bin").done()).success().unwrap();
                place.runner.run(&["image", "rm", "next"]).unwrap().success().unwrap();
                names(&place.runner.store().join("layers")).is_empty()
            });
            place.expect_empty("the next import");
        }
    }
}

#[test]
fn gc_clears_what_a_killed_import_left() {
    let place = Place::new();
    kill_after(&place, &tree(), 100_000);
    wait_until("clearing", || {
        place.runner.run(&["gc"]).unwrap().success().unwrap();
        !unfinished(place.runner.store())
    });
    place.expect_empty("gc");
}

#[test]
fn a_killed_import_does_not_hurt_what_is_there() {
    let place = Place::new();
    place.import("there", &Archive::new().file("bin/sh", "there").done()).success().unwrap();
    kill_during_replacement(&place);
    let list = place.runner.run(&["image", "ls"]).unwrap().success().unwrap();
    assert!(list.contains("there"), "{list}");
}

fn kill_during_replacement(place: &Place) {
    let file = place.ground.folder().join("large.tar");
    fs::write(&file, tree()).unwrap();
    let words = ["image", "import", "--replace", "there", file.to_str().unwrap()];
    for delay in [0, 2, 5, 10, 20, 40, 80] {
        let mut import = place.runner.start(&words).unwrap();
        sleep(Duration::from_millis(delay));
        import.kill().ok();
        import.finish(SOON).unwrap();
        // Whole, the old one or the new.
        let list = place.runner.run(&["image", "ls", "--json"]).unwrap().success().unwrap();
        let size = ["\"size\":5,", "\"size\":4000000,"];
        assert!(size.iter().any(|size| list.contains(size)), "after {delay} ms: {list}");
    }
}
