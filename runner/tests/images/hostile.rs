//! Archives that mean harm. Beside the store is a tree that is the same after each of them.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netns_fixtures::program;
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use tar::EntryType;

use crate::archive::{Archive, gzip, header, zstd};
use crate::place::{Place, tree};

/// It is refused for this reason, and nothing is left in the store.
fn refused(place: &Place, what: &str, bytes: &[u8], why: &str) {
    refused_with(place, &[], what, bytes, why);
}

fn refused_with(place: &Place, options: &[&str], what: &str, bytes: &[u8], why: &str) {
    let ended = place.import_with(options, "it", bytes);
    assert_eq!(ended.code, Some(1), "{what}: {ended}");
    assert!(ended.stderr.contains(why), "{what}: {why:?} is not in {ended}");
    place.expect_empty(what);
    place.expect_canary(what);
}

/// It is imported, and what it says of places outside means the same place inside.
fn harmless(place: &Place, what: &str, bytes: &[u8], check: impl FnOnce(&Path)) {
    place.import("it", bytes).success().unwrap();
    check(&place.only_layer());
    place.expect_canary(what);
    place.runner.run(&["image", "rm", "it"]).unwrap().success().unwrap();
    place.expect_empty(what);
    place.expect_canary(what);
}

fn content(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn nobody_climbs() {
    let place = Place::new();
    for path in ["../canary/secret", "a/../../../canary/secret", "..", "a/..", "/../x", "./../x"] {
        refused(&place, path, &Archive::new().file(path, "evil").done(), "`..`");
        refused(&place, path, &Archive::new().folder(path).done(), "`..`");
        refused(&place, path, &Archive::new().file("a", "").hard_link("b", path).done(), "`..`");
        let long = Archive::new().records(&[("path", path.as_bytes())]).file("a", "evil").done();
        refused(&place, path, &long, "`..`");
    }
}

#[test]
fn an_absolute_path_is_one_inside() {
    let place = Place::new();
    let secret = place.canary().join("secret");
    let secret = secret.to_str().unwrap();
    harmless(&place, "an absolute path", &Archive::new().file(secret, "inside").done(), |root| {
        assert_eq!(content(root, &secret[1..]), "inside");
    });
}

#[test]
fn nothing_is_written_through_a_link_to_the_outside() {
    let place = Place::new();
    let canary = place.canary().to_str().unwrap().to_owned();
    let up = "../".repeat(20);
    for target in [canary.clone(), format!("{up}{}", &canary[1..]), "/proc/self/root".to_owned()] {
        let linked = || Archive::new().symlink("out", &target);
        refused(&place, "a file", &linked().file("out/secret", "evil").done(), "leads nowhere");
        refused(&place, "a folder", &linked().folder("out/folder/new").done(), "leads nowhere");
        let hard = linked().hard_link("out/hard", "out").done();
        refused(&place, "a hard link", &hard, "leads nowhere");
        // What has the link's own name takes its place.
        harmless(&place, "a chmod", &linked().folder("out").done(), |root| {
            assert!(fs::symlink_metadata(root.join("out")).unwrap().is_dir());
        });
        harmless(&place, "a file over a link", &linked().file("out", "file").done(), |root| {
            assert_eq!(content(root, "out"), "file");
        });
        // Where the target is a folder inside, that is what is meant.
        let inside = target.trim_start_matches("../").trim_start_matches('/').to_owned();
        let both = Archive::new().folder(&inside).symlink("out", &target).file("out/new", "in");
        harmless(&place, "a link to the inside", &both.done(), |root| {
            assert_eq!(content(root, &format!("{inside}/new")), "in");
        });
    }
}

#[test]
fn links_to_the_outside_are_only_text() {
    let place = Place::new();
    let secret = place.canary().join("secret");
    let secret = secret.to_str().unwrap();
    let hard = Archive::new().hard_link("stolen", secret).done();
    refused(&place, "a hard link to the outside", &hard, "entry \"stolen\"");
    // A hard link to a symbolic link is one to the link itself.
    let chain = Archive::new().symlink("s", secret).hard_link("h", "s").file("h", "evil").done();
    harmless(&place, "a chain of links", &chain, |root| {
        assert_eq!(content(root, "h"), "evil");
        assert_eq!(fs::read_link(root.join("s")).unwrap(), Path::new(secret));
    });
    let around = Archive::new().symlink("a", "b").symlink("b", "a").file("a/x", "").done();
    refused(&place, "a circle of links", &around, "entry \"a/x\"");
    let itself = Archive::new().file("a", "kept").hard_link("a", "a").hard_link("a", "./a").done();
    harmless(&place, "a link to itself", &itself, |root| assert_eq!(content(root, "a"), "kept"));
    refused(&place, "no root", &Archive::new().file("./", "").symlink(".", "x").done(), "root");
}

#[test]
fn devices_are_made_only_if_asked_for() {
    let place = Place::new();
    let devices = || {
        Archive::new()
            .device("disk", EntryType::Block, 8, 0)
            .device("memory", EntryType::Char, 1, 1)
            .device("whiteout", EntryType::Char, 0, 0)
            .device("pipe", EntryType::Fifo, 0, 0)
            .done()
    };
    let told = place.import("it", &devices()).success().unwrap();
    assert!(told.contains("3 device nodes left out"), "{told}");
    let left = tree(&place.only_layer());
    assert_eq!(left.keys().collect::<Vec<_>>(), ["pipe"]);
    place.import_with(&["--devices", "--replace"], "it", &devices()).success().unwrap();
    let about = |name: &str| fs::symlink_metadata(place.only_layer().join(name));
    assert!(about("disk").unwrap().file_type().is_block_device());
    assert_eq!(about("memory").unwrap().rdev(), rustix::fs::makedev(1, 1));
    // Overlayfs would take it for a file that is not there.
    assert!(about("whiteout").is_err());
}

#[test]
fn set_user_id_is_for_the_owner_that_the_archive_names() {
    let place = Place::new();
    let archive = Archive::new().owned_file("su", "su", 0o6755, 33).owned_file("t", "", 0o1777, 7);
    // The mode of a folder is nobody's business but its own.
    let archive = archive.entry("d", EntryType::Directory, b"", |header| {
        header.set_mode(0o2555);
        header.set_uid(33);
        header.set_gid(34);
    });
    harmless(&place, "set-user-ID", &archive.file("d/in", "").done(), |root| {
        let owned = |name: &str| {
            let about = fs::metadata(root.join(name)).unwrap();
            (about.mode() & 0o7777, about.uid(), about.gid())
        };
        assert_eq!(owned("su"), (0o6755, 33, 33));
        assert_eq!(owned("t"), (0o1777, 7, 7));
        assert_eq!(owned("d"), (0o2555, 33, 34));
    });
}

#[test]
fn attributes_of_the_machine_are_not_the_archives_to_set() {
    let place = Place::new();
    // Version 2, effective, CAP_NET_RAW: linux/capability.h.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 7] = [
        ("SCHILY.xattr.user.kept", b"with\nnew line and \0"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.security.selinux", b"unconfined_u:object_r:bin_t:s0"),
        ("SCHILY.xattr.security.ima", b"x"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.system.posix_acl_access", b"x"),
    ];
    let archive = Archive::new().records(&records).file("it", "").done();
    harmless(&place, "attributes", &archive, |root| {
        let mut buffer = [0; 512];
        let length = llistxattr(root.join("it"), &mut buffer[..]).unwrap();
        let mut found: Vec<_> = buffer[..length].split_inclusive(|byte| *byte == 0).collect();
        found.sort();
        assert_eq!(found, [&b"security.capability\0"[..], b"user.kept\0"]);
        let mut value = [0; 512];
        let length = lgetxattr(root.join("it"), "user.kept", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"with\nnew line and \0");
    });
    // So that the check above can fail at all.
    let file = place.ground.folder().join("probe");
    File::create(&file).unwrap();
    lsetxattr(&file, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let wrong = Archive::new().records(&[("SCHILY.xattr.security.capability", b"x")]);
    refused(&place, "no capability", &wrong.file("it", "").done(), "security.capability");
}

#[test]
fn what_is_hidden_in_content_stays_content() {
    let place = Place::new();
    let hidden = Archive::new().file("evil", "evil").done();
    // The header says that nothing follows, the record that a header's worth does.
    let mut bytes = Archive::new().records(&[("size", b"512")]).file("outer", "").done();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(&hidden[..512]);
    bytes.extend([0; 1024]);
    harmless(&place, "a hidden entry", &bytes, |root| {
        assert_eq!(tree(root).keys().collect::<Vec<_>>(), ["outer"]);
        assert_eq!(fs::read(root.join("outer")).unwrap(), &hidden[..512]);
    });
    let global = Archive::new().entry("pax", EntryType::XGlobalHeader, b"11 size=10\n", |_| {});
    refused(&place, "a global size", &global.file("a", "").done(), "global header");
}

#[test]
fn a_bomb_goes_off_at_its_limit() {
    let place = Place::new();
    let mut sparse = header("huge", EntryType::GNUSparse, 0);
    sparse.as_gnu_mut().unwrap().set_real_size(1 << 62);
    let end = &mut sparse.as_gnu_mut().unwrap().sparse[0];
    end.offset.copy_from_slice(b"\x80\0\0\0\x40\0\0\0\0\0\0\0");
    end.numbytes.copy_from_slice(b"00000000000\0");
    sparse.set_cksum();
    let sparse = [sparse.as_bytes().as_slice(), &[0; 1024]].concat();
    refused(&place, "a huge file of nothing", &sparse, "--max-size");

    let zeros = Archive::new().file("zeros", &"\0".repeat(8 << 20)).done();
    for bytes in [gzip(&zeros), zstd(&zeros)] {
        refused_with(&place, &["--max-size", "1m"], "a zip bomb", &bytes, "--max-size");
        place.import_with(&["--max-size", "8m"], "it", &bytes).success().unwrap();
        place.runner.run(&["image", "rm", "it"]).unwrap().success().unwrap();
    }
    let many = (0..300).fold(Archive::new(), |archive, n| archive.file(&n.to_string(), ""));
    refused_with(&place, &["--max-entries", "299"], "many files", &many.done(), "--max-entries");

    let mut name = header("long", EntryType::GNULongName, 1 << 40).as_bytes().to_vec();
    name.extend([b'a'; 4096]);
    refused(&place, "a name without end", &name, "extension is larger");
    let mut record = header("pax", EntryType::XHeader, u64::MAX - 5).as_bytes().to_vec();
    record.extend([b'1'; 4096]);
    refused(&place, "a record without end", &record, "");
}

#[test]
fn of_several_entries_the_last_is_meant() {
    let place = Place::new();
    let archive = Archive::new()
        .file("twice", "first")
        .hard_link("other", "twice")
        .file("twice", "last")
        .file("to-folder", "")
        .folder("to-folder")
        .file("to-folder/in", "in")
        .folder("to-file")
        .file("to-file/a/b/c", "")
        .file("to-file", "file")
        .device("pipe", EntryType::Fifo, 0, 0)
        .file("pipe", "file")
        .symlink("link", "twice")
        .file("link", "file");
    harmless(&place, "duplicates", &archive.done(), |root| {
        assert_eq!(
            (content(root, "twice"), content(root, "other")),
            ("last".into(), "first".into())
        );
        assert_eq!(
            (content(root, "to-folder/in"), content(root, "to-file")),
            ("in".into(), "file".into())
        );
        assert_eq!((content(root, "pipe"), content(root, "link")), ("file".into(), "file".into()));
    });
    let through = Archive::new().file("a", "").file("a/b", "").done();
    refused(&place, "a file as a folder", &through, "entry \"a/b\"");
}

#[test]
fn a_name_is_any_bytes_but_zero() {
    let place = Place::new();
    let names: [&[u8]; 4] = [b"new\nline", b"\xFF\xFE", b"-rf", b"\x1B[31mred \\ \"quoted\""];
    let archive =
        names.iter().fold(Archive::new(), |all, name| all.long(name, EntryType::Regular, b"x"));
    harmless(&place, "strange names", &archive.done(), |root| {
        let expected = names.iter().map(|name| name.escape_ascii().to_string());
        let mut expected: Vec<String> = expected.collect();
        expected.sort();
        assert_eq!(tree(root).into_keys().collect::<Vec<_>>(), expected);
    });
    let zero = Archive::new().records(&[("path", b"a\0b")]).file("x", "").done();
    refused(&place, "a zero byte", &zero, "zero byte");
    let zero = Archive::new().long(b"a\0b", EntryType::Regular, b"").done();
    refused(&place, "a zero byte", &zero, "zero byte");
    let long = Archive::new().long(&[b'n'; 300], EntryType::Regular, b"").done();
    refused(&place, "a long name", &long, "ENAMETOOLONG".trim_start_matches('E'));
    // A name cannot speak to the terminal of whoever reads the error.
    let red = Archive::new().long(b"\x1B[31m/../x", EntryType::Regular, b"").done();
    let ended = place.import("it", &red);
    assert!(!ended.stderr.contains('\x1B'), "{ended}");
}

#[test]
fn depth_has_a_limit_and_removal_has_none() {
    let place = Place::new();
    let path = ["d"; 300].join("/");
    let deep = Archive::new().long(path.as_bytes(), EntryType::Regular, b"").done();
    refused(&place, "a deep path", &deep, "--max-depth");
    let path = ["d"; 2100].join("/");
    let deep = Archive::new().long(path.as_bytes(), EntryType::Regular, b"").done();
    refused_with(&place, &["--max-depth", "9999"], "a path that is too long", &deep, "4199 bytes");
    // Each link begins where the last one ended: deeper than any path can say.
    let folder = ["d"; 200].join("/");
    let mut archive = Archive::new().folder("l0");
    for n in 0..20 {
        archive = archive.long(format!("l{n}/{folder}").as_bytes(), EntryType::Directory, b"");
        let target = format!("l{n}/{folder}");
        archive =
            archive.records(&[("linkpath", target.as_bytes())]).symlink(&format!("l{}", n + 1), "");
    }
    harmless(&place, "a chain of folders", &archive.file("l20/end", "end").done(), |root| {
        let mut find = Command::new("find");
        find.arg(root).args(["-name", "end"]);
        let found = program::run(find, b"", Duration::from_secs(30)).unwrap().success().unwrap();
        assert!(found.len() > 20 * 400, "{}", found.len());
    });
}

#[test]
fn what_is_damaged_is_refused() {
    let place = Place::new();
    let whole = Archive::new().file("a", &"a".repeat(5000)).file("b", &"b".repeat(70_000)).done();
    for length in [1, 511, 512, 1000, 6000, whole.len() - 1024] {
        refused(&place, "a cut archive", &whole[..length], "cut off");
    }
    for compress in [gzip, zstd] {
        let bytes = compress(&whole);
        for length in [3, 20, bytes.len() / 2, bytes.len() - 1] {
            refused(&place, "a cut stream", &bytes[..length], "");
        }
    }
    let mut flipped = gzip(&whole);
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    refused(&place, "a wrong checksum", &flipped, "damaged");
    let mut changed = whole.clone();
    changed[5] = b'x';
    refused(&place, "a changed header", &changed, "checksum");
    refused(&place, "text", &b"#!/bin/sh\necho evil\n".repeat(100), "an image is a tar of");
    refused(&place, "nothing", b"", "");
    refused(&place, "an empty archive", &[0; 10240], "empty");
    refused(&place, "bzip2", b"BZh91AY&SY not for us", "bzip2");
    let unknown = Archive::new().entry("x", EntryType::new(b'Z'), b"", |_| {}).done();
    refused(&place, "an unknown type", &unknown, "unknown type");
    let full = Archive::new().entry("d", EntryType::Directory, b"content", |_| {}).done();
    refused(&place, "a folder with content", &full, "content");
}
