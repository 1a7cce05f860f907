//! The store: names, replacement, several callers at once.

use serde_json::Value;

use crate::archive::Archive;
use crate::place::{Place, names};

fn archive(content: &str) -> Vec<u8> {
    Archive::new().folder("bin").file("bin/sh", content).done()
}

#[test]
fn an_image_is_listed_until_it_is_removed() {
    let place = Place::new();
    let list = || {
        let list = place.runner.run(&["image", "ls", "--json"]).unwrap().success().unwrap();
        serde_json::from_str::<Value>(&list).unwrap()
    };
    assert_eq!(list(), serde_json::json!([]));
    place.import("b", &archive("bb")).success().unwrap();
    place.import("a", &archive("a")).success().unwrap();
    let found = list();
    assert_eq!((&found[0]["name"], &found[0]["size"]), (&"a".into(), &1.into()));
    assert_eq!((&found[1]["name"], &found[1]["size"]), (&"b".into(), &2.into()));
    let text = place.runner.run(&["image", "ls"]).unwrap().success().unwrap();
    assert!(text.starts_with("NAME") && text.contains("\na "), "{text}");
    place.runner.run(&["image", "rm", "a", "b"]).unwrap().success().unwrap();
    assert_eq!(list(), serde_json::json!([]));
    place.expect_empty("removal");
    assert_eq!(place.runner.run(&["image", "rm", "a"]).unwrap().code, Some(3));
}

#[test]
fn a_taken_name_is_a_conflict_unless_it_is_to_be_replaced() {
    let place = Place::new();
    place.import("it", &archive("one")).success().unwrap();
    let ended = place.import("it", &archive("two"));
    assert_eq!(ended.code, Some(5), "{ended}");
    let content = || std::fs::read_to_string(place.only_layer().join("bin/sh")).unwrap();
    assert_eq!(content(), "one");
    place.import_with(&["--replace"], "it", &archive("two")).success().unwrap();
    assert_eq!(content(), "two");
    // What fails replaces nothing.
    assert_eq!(place.import_with(&["--replace"], "it", b"no archive").code, Some(1));
    assert_eq!(content(), "two");
}

#[test]
fn parallel_imports_do_not_disturb_each_other() {
    let place = Place::new();
    let import = |name: String, content: String| place.import(&name, &archive(&content)).code;
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let each = (0..6).map(|n| scope.spawn(move || import(format!("image-{n}"), n.to_string())));
        let same = (0..4).map(|n| scope.spawn(move || import("same".to_owned(), n.to_string())));
        let threads: Vec<_> = each.chain(same).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes[..6], [Some(0); 6]);
    assert_eq!(codes[6..].iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes[6..].iter().filter(|code| **code == Some(5)).count(), 3, "{codes:?}");
    assert_eq!(names(&place.runner.store().join("layers")).len(), 7);
    assert_eq!(names(&place.runner.store().join("images")).len(), 7);
}

#[test]
fn a_store_is_the_callers_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.import("it", &archive("it")).success().unwrap();
    for folder in ["", "images", "layers", "runs"] {
        let about = std::fs::metadata(place.runner.store().join(folder)).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o700, "{folder}");
    }
    let user = place.ground.user().unwrap();
    let theirs = place.ground.runner_of(&user).storing_in(place.runner.store());
    let ended = theirs.run(&["image", "ls"]).unwrap();
    assert!(!ended.is_success() && ended.stderr.contains("store"), "{ended}");
}

#[test]
fn an_import_leaves_the_host_as_it_was() {
    let place = Place::alone();
    let user = place.ground.user().unwrap();
    for runner in [place.runner.clone(), place.ground.runner_of(&user)] {
        let import = |name, bytes: &[u8]| {
            runner.run_with(&["image", "import", name], bytes).unwrap().is_success()
        };
        assert!(import("stays", &archive("x")));
        // An import makes no control group; those of other programs on this machine come and go.
        let dump = || place.ground.dump(&runner).unwrap().without_section("cgroups");
        let before = dump();
        assert!(import("goes", &archive("x")));
        runner.run(&["image", "rm", "goes"]).unwrap().success().unwrap();
        assert!(!import("goes", b"no archive") && !import("goes", &archive("x")[..700]));
        assert_eq!(before.changes(&dump()), "");
    }
}
