//! What holds of the sources as a whole, and no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What decides, computes and describes: no kernel, no files, no clock, no environment.
const PURE: [&str; 14] = [
    "src/plan.rs",
    "src/plan",
    "src/ruleset.rs",
    "src/request.rs",
    "src/addr.rs",
    "src/ident.rs",
    "src/publish.rs",
    "src/outcome.rs",
    "runner/src/request.rs",
    "runner/src/name.rs",
    "runner/src/capabilities.rs",
    "runner/src/users.rs",
    "runner/src/plan.rs",
    "runner/src/plan",
];
/// What none of them may name. `std::net` has addresses, which are data, and sockets.
const IMPURE: [&str; 35] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os::fd",
    "std::os::unix::fs",
    "std::os::unix::net",
    "std::os::unix::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::io",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "ToSocketAddrs",
    "tokio",
    "nix",
    "libc",
    "rustix",
    "rtnetlink",
    "netlink_sys",
    "netlink_proto",
    "netlink_packet_core",
    "netlink_packet_route",
    "crate::apply",
    "crate::host",
    "crate::inside",
    "crate::kernel",
    "crate::launch",
    "crate::nft",
    "crate::observe",
    "crate::reserve",
    "crate::run",
    "crate::state",
    "crate::sys",
];
/// Names under which anything could be put.
const VAGUE: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "core", "misc", "shared"];
/// Who changes the kernel besides `apply`, and why.
const ALSO_CHANGES: [(&str, &str); 10] = [
    ("src/loopback.rs", "sets one link up or down, which is no attachment's and leaves no record"),
    ("src/look.rs", "removes or sets one interface that others made, of which no step is known"),
    ("src/reference.rs", "removes what others made, of which no step is known"),
    ("src/reload.rs", "puts the rules and elements back as a whole, which is its purpose"),
    ("src/unrecorded.rs", "deletes map items that it read, of which no step is known"),
    ("src/reference/chain.rs", "removes what others made, of which no step is known"),
    ("src/reference/firewall.rs", "removes what others made, of which no step is known"),
    ("src/reference/masquerade.rs", "removes what others made, of which no step is known"),
    ("src/reference/port_mappings.rs", "removes what others made, of which no step is known"),
    ("src/reference/spoof_guard.rs", "removes what others made, of which no step is known"),
];
const VERBS: [&str; 9] =
    ["add", "set", "delete", "remove", "write", "forget", "begin", "load", "flush"];
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

struct Source {
    /// Relative to the workspace.
    path: String,
    /// Without comments.
    code: String,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.flat_map(|entry| files_below(&entry.unwrap().path())).collect()
}

fn sources(start: &str) -> Vec<Source> {
    let rust = files_below(&workspace().join(start));
    let rust = rust.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.map(|path| Source {
        code: without_comments(&fs::read_to_string(&path).unwrap()),
        path: path.strip_prefix(workspace()).unwrap().to_string_lossy().into_owned(),
    })
    .collect()
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(code).collect()
}

/// Whole words and paths: `core::mem` is in `core::mem::take`, `nix` is not in `unix`.
fn names(code: &str, wanted: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(wanted).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + wanted.len()..].chars().next();
        !before.is_some_and(within) && !after.is_some_and(within)
    })
}

/// Each path that a `use` brings in, with its groups written out.
fn imports(code: &str) -> Vec<String> {
    let uses = code.split("use ").skip(1).filter_map(|rest| rest.split_once(';'));
    uses.flat_map(|(tree, _)| written_out(&tree.split_whitespace().collect::<String>())).collect()
}

fn written_out(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let mut depth = 0;
    let branches = inner.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    branches.flat_map(written_out).map(|branch| format!("{head}{branch}")).collect()
}

#[test]
fn groups_of_imports_are_written_out() {
    let code = "use std::{fs, io::{self, Read}};\nuse crate::a;";
    assert_eq!(imports(code), ["std::fs", "std::io::self", "std::io::Read", "crate::a"]);
    assert!(names("a nix::b", "nix") && !names("unix", "nix"));
}

#[test]
fn what_decides_does_no_io() {
    let mut found = Vec::new();
    for source in PURE.iter().flat_map(|start| sources(start)) {
        let imports = imports(&source.code).join("\n");
        let named = |what: &&&str| names(&source.code, what) || names(&imports, what);
        found.extend(IMPURE.iter().filter(named).map(|what| format!("{}: {what}", source.path)));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unsafe_code_lives_in_one_module_per_crate() {
    let crates: [(&str, &[&str]); 4] = [
        ("src", &["src/kernel/"]),
        ("runner/src", &["runner/src/sys.rs", "runner/src/sys/"]),
        ("netns-fixtures/src", &["netns-fixtures/src/kernel.rs"]),
        // The second exports the name by which it is started, and does nothing.
        (
            "netns-fixtures/probe",
            &["netns-fixtures/probe/kernel.rs", "netns-fixtures/probe/nothing.rs"],
        ),
    ];
    let mut found = Vec::new();
    for (start, allowed) in crates {
        let excused = |path: &str| allowed.iter().any(|allowed| path.starts_with(allowed));
        for source in sources(start).into_iter().filter(|source| !excused(&source.path)) {
            // ctor wants the word in its attribute; what it does is its own.
            if names(&source.code.replace("ctor(unsafe", ""), "unsafe") {
                found.push(source.path);
            }
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

/// The public functions below `src/kernel` whose name says that they change something, as
/// `module::function`, and loading rules by the nft program.
fn mutators() -> BTreeSet<String> {
    let mut found = BTreeSet::from(["nft::load".to_owned()]);
    for source in sources("src/kernel") {
        let module = Path::new(&source.path).file_stem().unwrap().to_string_lossy().into_owned();
        for rest in source.code.split("\npub fn ").chain(source.code.split("\npub async fn ")) {
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if VERBS.iter().any(|verb| name.split('_').next() == Some(verb)) {
                found.insert(format!("{module}::{name}"));
            }
        }
    }
    found
}

#[test]
fn only_apply_changes_the_kernel() {
    let mutators = mutators();
    for known in ["link::add_veth", "sysctl::write", "nftables::delete", "conntrack::forget"] {
        assert!(mutators.contains(known), "{known} is not among {mutators:?}");
    }
    let excused = |path: &str| {
        path.starts_with("src/apply")
            || path.starts_with("src/kernel")
            || ALSO_CHANGES.iter().any(|(file, _)| *file == path)
    };
    let mut found = Vec::new();
    for source in sources("src").into_iter().filter(|source| !excused(&source.path)) {
        let called = mutators.iter().filter(|mutator| names(&source.code, mutator));
        found.extend(called.map(|mutator| format!("{}: {mutator}", source.path)));
        if names(&source.code, "Deletion::begin") {
            found.push(format!("{}: Deletion::begin", source.path));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn an_excuse_that_nobody_needs_is_no_longer_made() {
    let mutators = mutators();
    for (file, why) in ALSO_CHANGES {
        let code = &sources(file)[0].code;
        assert!(mutators.iter().any(|mutator| names(code, mutator)), "{file}: {why}");
    }
}

#[test]
fn files_are_named_after_what_they_hold() {
    let folders = ["src", "tests", "netns-fixtures", "runner"];
    let files = folders.iter().map(|folder| workspace().join(folder)).filter(|f| f.is_dir());
    for file in files.flat_map(|folder| files_below(&folder)) {
        let relative = file.strip_prefix(workspace()).unwrap().to_owned();
        for part in &relative {
            let stem = Path::new(part).file_stem().unwrap().to_string_lossy().into_owned();
            assert!(!VAGUE.contains(&stem.as_str()), "{}", relative.display());
        }
    }
}

#[test]
fn the_map_of_the_sources_has_every_module() {
    for folder in ["src", "runner/src"] {
        let map = workspace().join(folder).join("ARCHITECTURE.md");
        let map = fs::read_to_string(&map).unwrap_or_else(|e| panic!("{}: {e}", map.display()));
        for root in ["lib.rs", "main.rs"] {
            has_every_module(&map, &format!("{folder}/{root}"));
        }
    }
}

fn has_every_module(map: &str, root: &str) {
    let code = &sources(root)[0].code;
    let declared = code.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    for module in declared {
        assert!(names(map, module), "{root} has {module}, the map has not");
    }
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    // Only what is built here: without a platform cargo wants all that any platform needs.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .args(["--filter-platform", &platform])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 20, "{} packages", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_permissive(licence), "{}: {licence}", package["name"]);
    }
}

/// Each part that must be kept to leaves a choice that is permissive.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let bare = |text: &str| text.trim().trim_matches(['(', ')']).trim().to_owned();
    expression
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|choice| PERMISSIVE.contains(&bare(choice).as_str())))
}

#[test]
fn licences_are_read_as_they_are_meant() {
    for good in ["MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0", "Zlib OR MIT"] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-2.0", "LGPL-3.0 OR MPL-2.0", "none"] {
        assert!(!is_permissive(bad), "{bad}");
    }
}
