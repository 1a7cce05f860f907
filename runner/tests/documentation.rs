//! docs/run.md and README.md are so: options, sets, masks and exit statuses are those of the program.

mod documents;
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use documents::{Desk, blocks, commands};
use netns_fixtures::isolate;
use netns_fixtures::runner::Ground;
use netup_run::capabilities::USUAL;
use netup_run::plan::DEVICES;
use netup_run::{ErrorKind, cli};
use running::ground;

isolate!();

const REFERENCE: &str = "docs/run.md";

#[track_caller]
fn section(heading: &str) -> String {
    section_of(REFERENCE, heading)
}

/// What stands below a heading, up to the next of its level or above.
#[track_caller]
fn section_of(file: &str, heading: &str) -> String {
    let depth = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let text = written(file);
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let is_end = |line: &str| (1..=depth(heading)).contains(&depth(line)) && line.contains("# ");
    let below: Vec<&str> = lines.take_while(|line| !is_end(line)).collect();
    assert!(!below.is_empty(), "nothing stands below {heading}");
    below.join("\n")
}

/// The cells of each row whose table begins with this header.
fn rows(section: &str, header: &str) -> Vec<Vec<String>> {
    let table = section.lines().skip_while(|line| !line.starts_with(&format!("| {header} ")));
    let cells = |line: &str| {
        // An escaped bar is part of a cell.
        let line = line.replace("\\|", "\u{1}");
        let cells = line.split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
        cells.skip(1).collect()
    };
    table.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The words in code marks.
fn code(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_option(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    word.starts_with('-') && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Those of the first column.
fn documented_options(section: &str, header: &str) -> BTreeSet<String> {
    let rows = rows(section, header);
    let names = rows.iter().flat_map(|row| code(&row[0]));
    names.filter(|word| is_option(word)).collect()
}

#[track_caller]
fn helped_options(verb: &str) -> BTreeSet<String> {
    let help = cli::topic(verb).expect("a help text");
    let words = help.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| is_option(word)).map(str::to_owned).collect()
}

/// A file of the repository.
#[track_caller]
fn written(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_option_is_documented_and_none_else() {
    for (verb, heading, header) in [
        ("run", "## Options", "option"),
        ("exec", "## A second command", "option"),
        ("image", "## Images", "option of `import`"),
    ] {
        let mut helped = helped_options(verb);
        // Of `image ls`, in the table of calls.
        helped.remove("--json");
        assert!(helped.len() > 4, "{helped:?}");
        assert_eq!(documented_options(&section(heading), header), helped, "{verb}");
    }
}

/// The help leaves out that an option has a long form, or a short one, only if it has none.
#[test]
fn every_documented_option_is_taken() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let values = [
        ("--volume", "/:/mnt"),
        ("-v", "/:/mnt"),
        ("--tmpfs", "/mnt"),
        ("--writes", "memory"),
        ("--keep", "new"),
        ("--env", "A=1"),
        ("-e", "A=1"),
        ("--workdir", "/"),
        ("-w", "/"),
        ("--user", "1"),
        ("-u", "1"),
        ("--name", "a"),
        ("--hostname", "a"),
        ("--rlimit", "core=0"),
        ("--net", "none"),
        ("--publish", "1:1"),
        ("-p", "1:1"),
        ("--bridge", "br0"),
        ("--gateway", "10.0.0.9"),
        ("--mtu", "1400"),
        ("--dns", "10.0.0.1"),
        ("--users", "host"),
        ("--memory", "64m"),
        ("--cpus", "1"),
        ("--pids", "9"),
        ("--cap-add", "net_raw"),
        ("--cap-drop", "all"),
    ];
    for option in documented_options(&section("## Options"), "option") {
        let value = values.iter().find(|(name, _)| *name == option).map(|(_, value)| *value);
        let words: Vec<&str> = ["netup-run", "run", &option]
            .into_iter()
            .chain(value)
            .chain(needs_address(&option).then_some("--net=10.0.0.2/24"))
            .chain([root.path().to_str().unwrap(), "true"])
            .collect();
        let words: Vec<_> = words.iter().map(std::ffi::OsString::from).collect();
        cli::decode(&words).unwrap_or_else(|error| panic!("{option}: {error}"));
    }
}

fn needs_address(option: &str) -> bool {
    const OF_ADDRESSES: [&str; 7] =
        ["--nat", "-p", "--publish", "--bridge", "--gateway", "--mtu", "--no-default-route"];
    OF_ADDRESSES.contains(&option)
}

#[test]
fn the_usual_capabilities_are_the_documented_ones() {
    let block = blocks(&section("### Capabilities"), "text").remove(0).1;
    assert_eq!(block.trim(), USUAL.to_string());
}

#[test]
fn devices_are_the_documented_ones() {
    let section = section("### Devices");
    let documented = code(&section);
    for device in DEVICES {
        assert!(documented.contains(device.name), "{}", device.name);
    }
    let ours: BTreeSet<&str> = DEVICES.iter().map(|device| device.name).collect();
    let beside = ["ptmx", "console", "-t", "fd", "stdin", "stdout", "stderr"];
    for name in &documented {
        assert!(ours.contains(name.as_str()) || beside.contains(&name.as_str()), "{name}");
    }
}

/// What a run would do, line by line.
fn plan(ground: &Ground) -> String {
    let root = ground.busybox().unwrap();
    let words = ["run", "-q", "--dry-run", root.path().to_str().unwrap(), "true"];
    ground.runner().run(&words).unwrap().success().unwrap()
}

#[test]
fn masks_are_the_documented_ones() {
    let plan = plan(&ground());
    let lists = blocks(&section("### Masks"), "text");
    let set = |at: usize| lists[at].1.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let between = |start: &str, end: &str| -> BTreeSet<String> {
        let middle = |line: &str| Some(line.strip_prefix(start)?.split_once(end)?.0.to_owned());
        plan.lines().filter_map(middle).collect()
    };
    let below = |all: BTreeSet<String>| -> BTreeSet<String> {
        all.into_iter().filter(|path| !path.starts_with("ROOT")).collect()
    };
    assert_eq!(set(0), below(between("mount(\"/dev/null\", \"", "\", NULL, MS_BIND,")));
    assert_eq!(
        set(1),
        between("mount(\"/proc/", "\", \"").iter().map(|p| format!("/proc/{p}")).collect()
    );
}

#[test]
fn mounts_are_the_documented_ones_with_their_flags() {
    let plan = plan(&ground());
    for row in rows(&section("### Files"), "place") {
        let (places, flags) =
            (code(&row[0]), row[2].replace("read-only", "rdonly").replace(',', ""));
        for place in places.iter().filter(|place| *place != "/" && !place.starts_with("/etc")) {
            let start = format!("\"ROOT{place}\", \"");
            let line = plan.lines().find(|line| line.contains(&start));
            let line = line.unwrap_or_else(|| panic!("nothing is mounted at {place}: {plan}"));
            for flag in flags.split_whitespace() {
                let flag = format!("MS_{}", flag.to_uppercase());
                assert!(line.contains(&flag), "{flag} in {line}");
            }
            let set = line.matches("MS_").count();
            assert_eq!(set, flags.split_whitespace().count(), "{line}");
        }
    }
}

/// The variants that the source has.
fn kinds() -> Vec<ErrorKind> {
    let source = written("runner/src/error.rs");
    let (_, rest) = source.split_once("pub enum ErrorKind {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let names =
        body.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    let kind = |line: &str| serde_json::from_str(&format!("\"{}\"", line.trim_end_matches(',')));
    names.map(|line| kind(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn exit_statuses_are_the_documented_ones() {
    let section = section("## Exit status");
    let (run, others) = section.split_once("Of the other verbs:").unwrap();
    let status = |part: &str, kind: ErrorKind| -> Option<u8> {
        let name = format!("{kind:?}");
        let rows = rows(part, "status");
        let row = rows.into_iter().find(|row| code(&row[1]).contains(&name))?;
        row[0].parse().ok()
    };
    let kinds = kinds();
    assert!(kinds.len() > 10, "{kinds:?}");
    for kind in kinds {
        assert_eq!(status(run, kind).unwrap_or(125), kind.exit_code_of_run(), "{kind:?}");
        assert_eq!(status(others, kind), Some(kind.exit_code()), "{kind:?}");
    }
}

#[test]
fn every_loosening_flag_of_the_help_is_told_of() {
    let help = cli::topic("run").unwrap();
    let (_, rights) = help.split_once("Rights:").unwrap();
    let (rights, _) = rights.split_once("\n\n").unwrap();
    let flags = rights.split_whitespace().filter(|word| is_option(word));
    let told = documented_options(&section("## Loosening it"), "flag");
    let missing: Vec<_> =
        flags.filter(|flag| !told.contains(*flag) && *flag != "--cap-drop").collect();
    assert!(missing.is_empty() && told.len() >= 5, "{missing:?} of {told:?}");
}

#[test]
fn links_lead_somewhere() {
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect::<String>()
    };
    let anchors = |file: &str| -> BTreeSet<String> {
        written(file).lines().filter(|line| line.starts_with('#')).map(anchor).collect()
    };
    let mut count = 0;
    for file in [REFERENCE, "docs/tutorial.md", "README.md"] {
        let text = written(file);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(file).parent().unwrap();
            let target =
                if path.is_empty() { Path::new(file).to_owned() } else { folder.join(path) };
            let target = target.to_str().unwrap();
            // It panics if there is no such file.
            let known = anchors(target);
            assert!(place.is_empty() || known.contains(place), "{file}: {link}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} links");
}

/// Lines of the README and of the reference that call the runner.
fn calls() -> Vec<String> {
    let texts = ["README.md", REFERENCE].map(written).concat();
    let blocks = blocks(&texts, "sh").into_iter().map(|(_, block)| block).collect::<String>();
    let call = |line: &str| {
        let line = line.split("  #").next()?.trim().trim_start_matches("sudo ");
        line.starts_with("netup-run ").then(|| line.to_owned())
    };
    blocks.lines().filter_map(call).collect()
}

#[test]
fn every_call_is_taken() {
    let calls = calls();
    assert!(calls.len() > 6, "{calls:?}");
    for call in calls.iter().filter(|call| !call.contains("OPTIONS")) {
        let words: Vec<_> = call.split_whitespace().map(std::ffi::OsString::from).collect();
        cli::decode(&words).unwrap_or_else(|error| panic!("{call}: {error}"));
    }
}

#[test]
fn the_example_of_the_readme_is_so() {
    let ground = ground();
    let (root, folder) = (ground.busybox().unwrap(), ground.runner().folder("work").unwrap());
    root.folder("www", 0o755).unwrap();
    root.file("www/index.html", "hello from inside\n").unwrap();
    root.pack(&folder.join("alpine.tar")).unwrap();
    let all = commands(&section_of("README.md", "## Run containers"));
    assert!(all.len() > 4, "{all:?}");
    Desk::new(&ground).follow("README.md", &all);
}
