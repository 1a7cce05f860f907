use std::io::Write as _;

use ::tar::{Builder, EntryType, Header};

use super::*;

fn archive(write: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    write(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(9);
    header.set_cksum();
    header
}

fn entries(bytes: Vec<u8>) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(damage)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn refused(bytes: Vec<u8>, why: &str) {
    let error = entries(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadImage);
    assert!(error.message().contains(why), "{error}");
}

#[test]
fn what_the_crate_writes_is_read() {
    let long = "n".repeat(150) + "/" + &"m".repeat(200);
    let bytes = archive(|builder| {
        builder.append_data(&mut header(EntryType::Regular, 3), "a", &b"abc"[..]).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 0), &long, &b""[..]).unwrap();
        builder.append_link(&mut header(EntryType::Symlink, 0), "s", &long).unwrap();
    });
    let entries = entries(bytes).unwrap();
    let (first, content) = &entries[0];
    assert_eq!((first.path.as_slice(), content.as_slice()), (&b"a"[..], &b"abc"[..]));
    assert_eq!((first.mode, first.uid, first.gid, first.modified.seconds), (0o4755, 7, 8, 9));
    assert_eq!(entries[1].0.path, long.as_bytes());
    assert_eq!(entries[2].0.kind, Kind::Symlink(long.into_bytes()));
}

#[test]
fn records_change_what_the_header_says() {
    let bytes = archive(|builder| {
        builder
            .append_pax_extensions([
                ("path", &b"real"[..]),
                ("uid", b"4000000"),
                ("mtime", b"3.25"),
                ("SCHILY.xattr.security.capability", b"\x01\n\0\n"),
                ("size", b"4"),
            ])
            .unwrap();
        builder.append(&header_named("made-up", 4), &b"abcd"[..]).unwrap();
    });
    let (entry, content) = entries(bytes).unwrap().remove(0);
    assert_eq!((entry.path.as_slice(), content.as_slice()), (&b"real"[..], &b"abcd"[..]));
    assert_eq!((entry.uid, entry.modified.nanoseconds), (4_000_000, 250_000_000));
    assert_eq!(entry.attributes[0].1, b"\x01\n\0\n");
}

fn header_named(name: &str, size: u64) -> Header {
    let mut header = header(EntryType::Regular, size);
    header.set_path(name).unwrap();
    header.set_cksum();
    header
}

#[test]
fn the_size_of_a_record_is_the_size() {
    // The header says 0: a reader that believes it takes the content for entries.
    let hidden = archive(|builder| {
        builder.append_data(&mut header(EntryType::Regular, 0), "hidden", &b""[..]).unwrap();
    });
    let mut bytes = archive(|builder| {
        builder.append_pax_extensions([("size", &b"512"[..])]).unwrap();
        builder.append(&header_named("outer", 0), &hidden[..0]).unwrap();
    });
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(&hidden[..512]);
    bytes.extend([0; 1024]);
    let entries = entries(bytes).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1, &hidden[..512]);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let twice = archive(|builder| {
        builder.append_pax_extensions([("path", &b"one"[..])]).unwrap();
        builder.append_pax_extensions([("path", &b"two"[..])]).unwrap();
        builder.append(&header_named("three", 0), &b""[..]).unwrap();
    });
    refused(twice, "two extensions");
    let content = archive(|builder| {
        builder.append_data(&mut header(EntryType::Directory, 3), "d", &b"abc"[..]).unwrap();
    });
    refused(content, "has content");
    let unfinished = archive(|builder| {
        builder.append_pax_extensions([("path", &b"one"[..])]).unwrap();
    });
    refused(unfinished, "ends before");
    let unknown = archive(|builder| {
        builder.append_data(&mut header(EntryType::new(b'Z'), 0), "z", &b""[..]).unwrap();
    });
    refused(unknown, "unknown type 'Z'");
}

#[test]
fn what_is_cut_off_or_changed_is_refused() {
    let bytes = archive(|builder| {
        builder.append_data(&mut header(EntryType::Regular, 600), "a", &[7; 600][..]).unwrap();
    });
    for length in [0, 100, 512, 900, 1400, 1536] {
        refused(bytes[..length].to_vec(), "cut off");
    }
    let mut changed = bytes;
    changed[0] = b'b';
    refused(changed, "checksum");
}

#[test]
fn an_extension_cannot_fill_the_memory() {
    let mut bytes = header(EntryType::XHeader, 1 << 40).as_bytes().to_vec();
    bytes.write_all(&[0; 4096]).unwrap();
    refused(bytes, "larger than");
}

#[test]
fn holes_are_known_in_every_format() {
    let whole = Sparse { size: 5000, pieces: vec![(0, 2), (4096, 3), (5000, 0)] };
    let records: [&[(&str, &[u8])]; 2] = [
        &[("GNU.sparse.size", b"5000"), ("GNU.sparse.map", b"0,2,4096,3,5000,0")],
        &[
            ("GNU.sparse.size", b"5000"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"2"),
            ("GNU.sparse.offset", b"4096"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"5000"),
            ("GNU.sparse.numbytes", b"0"),
        ],
    ];
    for records in records {
        let bytes = archive(|builder| {
            builder.append_pax_extensions(records.iter().copied()).unwrap();
            builder.append(&header_named("a", 5), &b"abcde"[..]).unwrap();
        });
        let (entry, content) = entries(bytes).unwrap().remove(0);
        assert_eq!((entry.kind, content.as_slice()), (Kind::Sparse(whole.clone()), &b"abcde"[..]));
    }
    let mut map = b"3\n0\n2\n4096\n3\n5000\n0\n".to_vec();
    map.resize(512, 0);
    map.extend(b"abcde");
    let bytes = archive(|builder| {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"real"),
            ("GNU.sparse.realsize", b"5000"),
        ];
        builder.append_pax_extensions(records).unwrap();
        builder.append(&header_named("GNUSparseFile.0/real", 517), &map[..]).unwrap();
    });
    let (entry, content) = entries(bytes).unwrap().remove(0);
    assert_eq!((entry.kind, content.as_slice()), (Kind::Sparse(whole), &b"abcde"[..]));
    assert_eq!(entry.path, b"real");
}

#[test]
fn pieces_that_overlap_or_do_not_fit_are_refused() {
    for map in ["0,3,2,2", "0,2,4096,4", "0,2,18446744073709551615,3", "4096,3,0,2", "0,5,1"] {
        let bytes = archive(|builder| {
            let records = [("GNU.sparse.size", &b"4098"[..]), ("GNU.sparse.map", map.as_bytes())];
            builder.append_pax_extensions(records).unwrap();
            builder.append(&header_named("a", 5), &b"abcde"[..]).unwrap();
        });
        refused(bytes, "sparse");
    }
}
