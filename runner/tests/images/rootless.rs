//! Images of users who are not root: owners are right inside, and nothing is in the way of removal.

use std::fs;
use std::os::unix::fs::MetadataExt;

use netns_fixtures::runner::RANGE;

use crate::archive::Archive;
use crate::place::{Place, expect_empty, only_layer};
use crate::saved::{Saved, packed};

fn archive() -> Vec<u8> {
    let archive = Archive::new().folder("bin").owned_file("bin/su", "su", 0o4755, 0);
    let archive = archive.owned_file("www", "", 0o600, 33).owned_file("last", "", 0o600, 65534);
    // A folder that only its owner, who is somebody else, can look into.
    let archive = archive.entry("private", tar::EntryType::Directory, b"", |header| {
        header.set_mode(0o700);
        header.set_uid(1000);
        header.set_gid(1000);
    });
    archive.owned_file("private/key", "key", 0o400, 1000).done()
}

#[test]
fn owners_are_those_of_the_ranges() {
    let place = Place::new();
    let user = place.ground.user().unwrap();
    let runner = place.ground.runner_of(&user);
    let upper = Archive::new().owned_file("www2", "", 0o644, 33).file("private/.wh.key", "").done();
    let saved = Saved::new(vec![archive(), upper], <[u8]>::to_vec);
    for bytes in [archive(), packed(&saved.oci()), packed(&saved.docker())] {
        runner.run_with(&["image", "import", "it"], &bytes).unwrap().success().unwrap();
        let root = only_layer(&runner);
        let owner = |name: &str| {
            let about = fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!(about.uid() == user.id, about.gid() == user.id);
            about.uid()
        };
        assert_eq!((owner(""), owner("bin"), owner("bin/su")), (user.id, user.id, user.id));
        assert_eq!((owner("www"), owner("last")), (RANGE.0 + 32, RANGE.0 + 65533));
        assert_eq!(owner("private"), RANGE.0 + 999);
        assert_eq!(fs::metadata(root.join("bin/su")).unwrap().mode() & 0o7777, 0o4755);
        runner.run(&["image", "rm", "it"]).unwrap().success().unwrap();
        expect_empty(&runner, "removal");
    }
    place.expect_canary("a rootless import");
}

#[test]
fn an_owner_beyond_the_ranges_is_an_error() {
    let place = Place::new();
    let user = place.ground.user().unwrap();
    let runner = place.ground.runner_of(&user);
    let bytes = Archive::new().owned_file("a", "", 0o644, 1_000_000).done();
    let ended = runner.run_with(&["image", "import", "it"], &bytes).unwrap();
    assert_eq!(ended.code, Some(4), "{ended}");
    assert!(ended.stderr.contains("entry \"a\": chown to 1000000:1000000"), "{ended}");
    assert!(ended.stderr.contains("/etc/subuid"), "{ended}");
    expect_empty(&runner, "a refused import");
}

#[test]
fn without_ranges_nothing_is_made_narrower() {
    let place = Place::new();
    let user = place.ground.user_without_ranges().unwrap();
    let runner = place.ground.runner_of(&user);
    let ended = runner.run_with(&["image", "import", "it"], &archive()).unwrap();
    assert_eq!(ended.code, Some(4), "{ended}");
    assert!(ended.stderr.contains("usermod --add-subuids"), "{ended}");
    // Not an option of this verb.
    assert!(ended.stderr.contains("netup-run run --users single"), "{ended}");
    expect_empty(&runner, "a refused import");
}

#[test]
fn device_nodes_are_for_root() {
    let place = Place::new();
    let user = place.ground.user().unwrap();
    let runner = place.ground.runner_of(&user);
    let bytes = Archive::new().device("null", tar::EntryType::Char, 1, 3).folder("bin").done();
    let ended = runner.run_with(&["image", "import", "--devices", "it"], &bytes).unwrap();
    assert_eq!(ended.code, Some(4), "{ended}");
    assert!(ended.stderr.contains("only root can make device nodes"), "{ended}");
    expect_empty(&runner, "a refused import");
    runner.run_with(&["image", "import", "it"], &bytes).unwrap().success().unwrap();
}

#[test]
fn a_killed_import_is_cleared_in_the_namespace_of_its_owners() {
    let place = Place::new();
    let user = place.ground.user().unwrap();
    let runner = place.ground.runner_of(&user);
    runner.run_with(&["image", "import", "it"], &archive()).unwrap().success().unwrap();
    // As after a crash: no image has this layer.
    fs::remove_file(runner.store().join("images/it.json")).unwrap();
    runner.run_with(&["image", "import", "next"], &archive()).unwrap().success().unwrap();
    only_layer(&runner);
    runner.run(&["image", "rm", "next"]).unwrap().success().unwrap();
    expect_empty(&runner, "removal");
}
