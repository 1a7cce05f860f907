//! What an upper layer hides, and what it does not.

use crate::archive::Archive;
use crate::place::Place;
use crate::saved::{Saved, packed};

/// The paths that are left of these layers.
fn merged(place: &Place, layers: Vec<Vec<u8>>) -> String {
    let saved = Saved::new(layers, <[u8]>::to_vec);
    let tree = place.imported(&packed(&saved.oci()));
    tree.keys().cloned().collect::<Vec<_>>().join(" ")
}

fn lower() -> Vec<u8> {
    let archive = Archive::new().folder("d").file("d/a", "lower").file("d/b", "lower");
    archive.file("d/sub/c", "lower").symlink("l", "d").file("x", "lower").done()
}

#[test]
fn a_whiteout_hides_one_name() {
    let place = Place::new();
    let over = |upper: Archive| merged(&place, vec![lower(), upper.done()]);
    assert_eq!(over(Archive::new().file("d/.wh.a", "")), "d d/b d/sub d/sub/c l x");
    assert_eq!(over(Archive::new().file("d/.wh.sub", "")), "d d/a d/b l x");
    assert_eq!(over(Archive::new().file(".wh.d", "")), "l x");
    assert_eq!(over(Archive::new().file(".wh.l", "")), "d d/a d/b d/sub d/sub/c x");
    // Through a link, and of what is not there.
    assert_eq!(over(Archive::new().file("l/.wh.a", "")), "d d/b d/sub d/sub/c l x");
    let absent = Archive::new().file("no/.wh.a", "").file("x/.wh.a", "").file(".wh.no", "");
    assert_eq!(over(absent), "d d/a d/b d/sub d/sub/c l x");
    place.expect_canary("whiteouts");
}

#[test]
fn a_whiteout_hides_nothing_of_its_own_layer() {
    let place = Place::new();
    for before in [true, false] {
        let ordered = |whiteout: &str, files: &[&str]| {
            let with = |archive: Archive| {
                files.iter().fold(archive, |archive, file| archive.file(file, "upper"))
            };
            let archive = Archive::new();
            let archive = match before {
                true => with(archive.file(whiteout, "")),
                false => with(archive).file(whiteout, ""),
            };
            merged(&place, vec![lower(), archive.done()])
        };
        assert_eq!(ordered("d/.wh.a", &["d/a"]), "d d/a d/b d/sub d/sub/c l x");
        assert_eq!(ordered("d/.wh.sub", &["d/sub/new"]), "d d/a d/b d/sub d/sub/new l x");
        assert_eq!(ordered(".wh.d", &["d/new"]), "d d/new l x");
        assert_eq!(ordered("d/.wh..wh..opq", &["d/new"]), "d d/new l x");
        assert_eq!(ordered("d/.wh..wh..opq", &["d/a"]), "d d/a l x");
        assert_eq!(ordered("d/.wh..wh..opq", &["d/sub/new"]), "d d/sub d/sub/new l x");
        assert_eq!(ordered("l/.wh..wh..opq", &["d/sub/new"]), "d d/sub d/sub/new l x");
        assert_eq!(ordered(".wh..wh..opq", &["new"]), "new");
        assert_eq!(ordered(".wh..wh..opq", &["d/sub/new"]), "d d/sub d/sub/new");
    }
}

#[test]
fn an_opaque_folder_that_is_named_itself_stays() {
    let place = Place::new();
    let over = |upper: Archive| merged(&place, vec![lower(), upper.done()]);
    let opaque = Archive::new().folder("d").file("d/.wh..wh..opq", "").folder("d/sub");
    assert_eq!(over(opaque), "d d/sub l x");
    let opaque = Archive::new().folder("d/sub").file("d/.wh..wh..opq", "").folder("d");
    assert_eq!(over(opaque), "d d/sub l x");
}

#[test]
fn layers_replace_one_kind_by_another() {
    let place = Place::new();
    let over = |upper: Archive| merged(&place, vec![lower(), upper.done()]);
    assert_eq!(over(Archive::new().file("d", "")), "d l x");
    assert_eq!(over(Archive::new().folder("x").file("x/y", "")), "d d/a d/b d/sub d/sub/c l x x/y");
    // A folder takes the place of a link to one.
    assert_eq!(over(Archive::new().folder("l").file("l/y", "")), "d d/a d/b d/sub d/sub/c l l/y x");
    assert_eq!(over(Archive::new().symlink("d", "x")), "d l x");
}

#[test]
fn what_one_layer_hides_a_third_can_bring_back() {
    let place = Place::new();
    let hides = Archive::new().file(".wh.d", "").done();
    let brings = Archive::new().file("d/a", "third").done();
    assert_eq!(merged(&place, vec![lower(), hides, brings]), "d d/a l x");
}

#[test]
fn marks_of_no_file_are_refused() {
    let place = Place::new();
    for mark in ["d/.wh.", "d/.wh..", ".wh...", ".wh.d/a"] {
        let saved = Saved::new(vec![lower(), Archive::new().file(mark, "").done()], <[u8]>::to_vec);
        for bytes in [packed(&saved.oci()), Archive::new().file(mark, "").done()] {
            let ended = place.import("it", &bytes);
            assert_eq!(ended.code, Some(1), "{mark}: {ended}");
            assert!(ended.stderr.contains("whiteout"), "{ended}");
            place.expect_empty(mark);
        }
    }
    place.expect_canary("marks of no file");
}
