//! The same image in every format, and what is wrong with one.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use netns_fixtures::program;
use serde_json::{Value, json};

use crate::archive::{Archive, WAYS, gzip};
use crate::place::{Place, Tree};
use crate::saved::{Members, Saved, blob_name, descriptor, packed, unpacked};

const SOON: Duration = Duration::from_secs(30);

fn lower() -> Vec<u8> {
    let archive = Archive::new().folder("./").folder("bin").owned_file("bin/su", "su", 0o4755, 33);
    let archive = archive.hard_link("bin/sudo", "bin/su").symlink("sbin", "bin");
    archive.file("etc/old", "old").file("etc/kept", "kept").done()
}

fn upper() -> Vec<u8> {
    Archive::new().file("etc/.wh.old", "").file("etc/new", "new").file("sbin/init", "init").done()
}

fn expected() -> Tree {
    let file =
        |mode: &str, owner: &str, content: &str| format!("{mode} {owner} 1000000000 {content}");
    let mut tree: Tree = [
        ("bin/su", file("104755", "33:33", "su")),
        ("bin/sudo", file("104755", "33:33", "su")),
        ("bin/init", file("100644", "0:0", "init")),
        ("etc/kept", file("100644", "0:0", "kept")),
        ("etc/new", file("100644", "0:0", "new")),
        ("sbin", file("120777", "0:0", "-> bin")),
    ]
    .map(|(name, what)| (name.to_owned(), what))
    .into();
    tree.insert("bin".to_owned(), "40755 0:0".to_owned());
    tree.insert("etc".to_owned(), "40755 0:0".to_owned());
    tree
}

/// Folders without an entry have the time at which they were made.
fn without_folder_times(mut tree: Tree) -> Tree {
    for what in tree.values_mut().filter(|what| what.starts_with("40")) {
        *what = what.rsplit_once(' ').unwrap().0.to_owned();
    }
    tree
}

fn expect_whole(place: &Place, name: &str, how: &str) {
    let tree = without_folder_times(crate::place::tree(&place.only_layer()));
    assert_eq!(tree, expected(), "{how}");
    let document = fs::read(place.runner.store().join(format!("images/{name}.json"))).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["config"]["env"], json!(["PATH=/bin", "A=b"]), "{how}");
    assert_eq!(document["config"]["user"], "7", "{how}");
    place.runner.run(&["image", "rm", name]).unwrap().success().unwrap();
    place.expect_empty(how);
}

#[test]
fn a_saved_image_is_the_same_in_every_format_and_compression() {
    let place = Place::new();
    for (layers_way, compress_layer) in WAYS {
        let saved = Saved::new(vec![lower(), upper()], compress_layer);
        for (format, members) in [("docker", saved.docker()), ("oci", saved.oci())] {
            for (way, compress) in WAYS {
                let how = format!("{format} with {layers_way} layers, {way}");
                let archive = compress(&packed(&members));
                place.import("it", &archive).success().expect(&how);
                expect_whole(&place, "it", &how);
            }
            let folder = place.ground.folder().join(format!("{format}-{layers_way}"));
            unpacked(&members, &folder);
            let words = ["image", "import", "it", folder.to_str().unwrap()];
            place.runner.run(&words).unwrap().success().unwrap();
            expect_whole(&place, "it", &format!("{format} folder with {layers_way} layers"));
        }
    }
}

#[test]
fn a_root_file_system_comes_from_a_file_or_a_pipe() {
    let place = Place::new();
    for (way, compress) in WAYS {
        let file = place.ground.folder().join(way);
        fs::write(&file, compress(&lower())).unwrap();
        let file = file.to_str().unwrap();
        let told = place.runner.run(&["image", "import", "file", file]).unwrap().success().unwrap();
        assert!(told.starts_with("file: 7 entries, "), "{told}");
        // Not seekable, and in small pieces.
        let piped = format!(
            "dd if={file} bs=7 status=none | {} image import --quiet pipe",
            place.runner.program().display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &piped]).envs(place.runner.variables());
        assert_eq!(program::run(shell, b"", SOON).unwrap().success().unwrap(), "", "{way}");
        let list = place.runner.run(&["image", "ls", "--json"]).unwrap().success().unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list[0]["size"], list[1]["size"]);
        place.runner.run(&["image", "rm", "file", "pipe"]).unwrap().success().unwrap();
    }
    place.expect_empty("removal");
}

fn refused(place: &Place, members: &Members, why: &str) {
    for bytes in [packed(members), gzip(&packed(members))] {
        let ended = place.import("it", &bytes);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains(why), "{why:?} is not in {ended}");
        place.expect_empty(why);
    }
    let folder = place.ground.folder().join("refused");
    unpacked(members, &folder);
    let ended = place.runner.run(&["image", "import", "it", folder.to_str().unwrap()]).unwrap();
    assert!(ended.stderr.contains(why), "{why:?} is not in {ended}");
    place.expect_empty(why);
    fs::remove_dir_all(folder).unwrap();
}

/// The same members with another content of one.
fn changed(members: Members, which: &str, content: Vec<u8>) -> Members {
    let change = |(name, old): (String, Vec<u8>)| {
        let new = if name == which { content.clone() } else { old };
        (name, new)
    };
    members.into_iter().map(change).collect()
}

#[test]
fn content_of_another_digest_is_refused() {
    let place = Place::new();
    let saved = Saved::new(vec![lower(), upper()], gzip);
    let other = Archive::new().file("evil", "evil").done();
    // Of the same length, so that nothing but the digest tells.
    let mut flipped = saved.layers[1].clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 1;
    let layer = blob_name(&saved.layers[1]);
    refused(&place, &changed(saved.oci(), &layer, flipped), "has the digest sha256:");
    refused(&place, &changed(saved.oci(), &layer, other.clone()), "bytes and should have");
    let config = blob_name(&saved.config());
    refused(&place, &changed(saved.oci(), &config, b"{}".to_vec()), "has the digest sha256:");

    let saved = Saved::new(vec![lower(), upper()], <[u8]>::to_vec);
    let layer = saved.docker()[1].0.clone();
    refused(&place, &changed(saved.docker(), &layer, other), "has the digest sha256:");
    let config = saved.docker()[2].0.clone();
    refused(&place, &changed(saved.docker(), &config, b"{}".to_vec()), "has the digest sha256:");
}

#[test]
fn what_is_missing_or_for_others_is_named() {
    let place = Place::new();
    let saved = Saved::new(vec![lower(), upper()], gzip);
    let layer = blob_name(&saved.layers[0]);
    let without = saved.oci().into_iter().filter(|(name, _)| *name != layer).collect();
    refused(&place, &without, "is missing");
    let foreign = Saved { architecture: "s390x".to_owned(), ..saved };
    refused(&place, &foreign.oci(), "the image is for linux/s390x");
    refused(&place, &foreign.docker(), "the image is for linux/s390x");
}

fn with_index(saved: &Saved, manifests: impl Fn(Value) -> Value) -> Members {
    let members = saved.oci();
    let index: Value = serde_json::from_slice(&members.last().unwrap().1).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": manifests(index["manifests"][0].clone())});
    changed(members, "index.json", index.to_string().into_bytes())
}

#[test]
fn the_platform_of_this_machine_is_taken_from_an_index_in_an_index() {
    let place = Place::new();
    let saved = Saved::new(vec![lower(), upper()], gzip);
    let of = |mut manifest: Value, architecture: &str| {
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifest
    };
    let mut inner = Vec::new();
    let mut members = with_index(&saved, |manifest| {
        let mut other = of(manifest.clone(), "s390x");
        other["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
        let both = json!([other, of(manifest, crate::saved::architecture())]);
        json!({"schemaVersion": 2, "manifests": both})
    });
    let last = members.len() - 1;
    let index: Value = serde_json::from_slice(&members[last].1).unwrap();
    inner.extend(index["manifests"].to_string().into_bytes());
    let mut named = descriptor(&inner);
    named["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    members[last].1 = json!({"schemaVersion": 2, "manifests": [named]}).to_string().into_bytes();
    members.insert(0, (blob_name(&inner), inner));
    place.import("it", &packed(&members)).success().unwrap();
    expect_whole(&place, "it", "an index in an index");

    let foreign = with_index(&saved, |manifest| json!([of(manifest, "s390x")]));
    refused(&place, &foreign, "there is: linux/s390x");
}

#[test]
fn several_images_in_an_archive_are_refused_by_name() {
    let place = Place::new();
    let saved = Saved::new(vec![lower()], gzip);
    let two = with_index(&saved, |manifest| {
        let named = |name: &str, digit: &str| {
            let mut manifest = manifest.clone();
            manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
            manifest["digest"] = json!(format!("sha256:{}", digit.repeat(64)));
            manifest
        };
        json!([named("one", "1"), named("two", "2")])
    });
    refused(&place, &two, "several images: one, two");
    let manifest = json!([
        {"Config": "c", "RepoTags": ["one:1"], "Layers": []},
        {"Config": "d", "RepoTags": ["two:2"], "Layers": []},
    ]);
    let manifest = manifest.to_string().into_bytes();
    refused(&place, &changed(saved.docker(), "manifest.json", manifest), "one:1, two:2");
}

#[test]
fn a_layout_cannot_lead_outside_its_folder() {
    let place = Place::new();
    let secret = place.canary().join("secret");
    let saved = Saved::new(vec![lower()], <[u8]>::to_vec);
    for escape in ["../canary/secret", secret.to_str().unwrap(), "link"] {
        let folder = place.ground.folder().join("layout");
        let config = saved.docker()[1].0.clone();
        let manifest = json!([{"Config": config, "Layers": [escape]}]).to_string();
        unpacked(&changed(saved.docker(), "manifest.json", manifest.into_bytes()), &folder);
        symlink(&secret, folder.join("link")).unwrap();
        let ended = place.runner.run(&["image", "import", "it", folder.to_str().unwrap()]).unwrap();
        assert_eq!(ended.code, Some(1), "{escape}: {ended}");
        assert!(!ended.stderr.contains("do not touch"), "{ended}");
        place.expect_empty(escape);
        fs::remove_dir_all(folder).unwrap();
    }
    place.expect_canary("layouts");
}

#[test]
fn a_layer_that_is_a_link_to_another_is_that_one() {
    let place = Place::new();
    let saved = Saved::new(vec![lower(), upper()], <[u8]>::to_vec);
    let mut members = saved.docker();
    let (upper_name, upper) = members.remove(1);
    members.insert(0, ("shared/layer.tar".to_owned(), upper));
    let archive = members.iter().fold(Archive::new(), |archive, (name, content)| {
        archive.entry(name, tar::EntryType::Regular, content, |_| {})
    });
    let archive = archive.records(&[("path", upper_name.as_bytes())]);
    let archive = archive.symlink("cut", "../shared/layer.tar").done();
    // The first name decides what the archive is: here it is none of docker's.
    let ended = place.import("it", &archive);
    assert_eq!(ended.code, Some(1), "{ended}");
    place.expect_empty("an archive in disguise");
    let manifest_first = members.iter().rev().fold(Archive::new(), |archive, (name, content)| {
        archive.entry(name, tar::EntryType::Regular, content, |_| {})
    });
    let archive = manifest_first.records(&[("path", upper_name.as_bytes())]);
    let archive = archive.symlink("cut", "../shared/layer.tar").done();
    place.import("it", &archive).success().unwrap();
    expect_whole(&place, "it", "a linked layer");
}

/// Root without a user namespace is warned of; an image's own user is none.
#[test]
fn the_users_of_images_are_known_to_the_warning_of_root() {
    let place = Place::new();
    let saved = Saved::new(vec![lower()], <[u8]>::to_vec);
    place.import("it", &packed(&saved.oci())).success().unwrap();
    let warned = |options: &[&str]| {
        let ended = place.runner.run(&[&["run"], options, &["it"]].concat()).unwrap();
        ended.stderr.contains("warning: root in the container is the host's root")
    };
    // Without `--dry-run` there is no command to be run; that is told after the warning.
    for dry in [&["--dry-run"][..], &[]] {
        assert!(!warned(dry), "{dry:?}");
        assert!(!warned(&[dry, &["-u", "8"]].concat()), "{dry:?}");
        assert!(warned(&[dry, &["-u", "0:8"]].concat()), "{dry:?}");
        assert!(!warned(&[dry, &["-u", "root", "--users", "host"]].concat()), "{dry:?}");
    }
}
