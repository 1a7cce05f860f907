//! The command: who it is, what it is given, what it may do, and what becomes of its end.

mod running;

use std::fs::File;

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Seen};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use running::{ground, shell};

isolate!();

fn errno(error: Errno) -> String {
    format!("errno {}", error as i32)
}

#[track_caller]
fn seen(ground: &Ground, options: &[&str], words: &[&str]) -> Seen {
    ground.runner().probe(options, &ground.busybox().unwrap(), words).expect("a run")
}

#[track_caller]
fn status(ground: &Ground, options: &[&str], words: &[&str]) -> (Option<i32>, String) {
    let ended =
        ground.runner().run_probe(options, &ground.busybox().unwrap(), words).expect("a run");
    (ended.code, ended.stderr)
}

#[test]
fn the_exit_status_is_the_commands() {
    let ground = ground();
    for code in ["0", "1", "7", "125", "255"] {
        assert_eq!(status(&ground, &["-q"], &["exit", code]), (code.parse().ok(), String::new()));
    }
    for signal in [1, 9, 11, 15] {
        assert_eq!(status(&ground, &[], &["signal", &signal.to_string()]).0, Some(128 + signal));
        assert_eq!(status(&ground, &["--no-init"], &["exit", "7"]).0, Some(7));
    }
}

#[test]
fn a_command_that_is_not_there_or_cannot_run_is_told_from_a_failed_runner() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    root.file("not-a-program", "just text\n").unwrap();
    root.file("lost-interpreter", "#!/no/such/shell\n").unwrap();
    std::process::Command::new("chmod")
        .arg("755")
        .arg(root.at("lost-interpreter"))
        .status()
        .unwrap();
    let path = root.path().to_str().unwrap();
    let run = |words: &[&str]| ground.runner().run(&[&["run", "-q"], words].concat()).unwrap();
    for (command, code) in [
        ("/no/such", 127),
        ("nosuch", 127),
        ("/not-a-program", 126),
        ("/etc", 126),
        ("/lost-interpreter", 127),
    ] {
        let ended = run(&[path, command]);
        assert_eq!(ended.code, Some(code), "{command}: {ended}");
        assert!(ended.stderr.contains(command), "{ended}");
    }
    for refused in
        [&["/no/root", "/probe"][..], &["--no-such-option", path, "/probe"], &[path], &[]]
    {
        let ended = run(refused);
        assert_eq!(ended.code, Some(125), "{refused:?}: {ended}");
        assert!(!ended.stderr.is_empty(), "{refused:?}");
    }
}

#[test]
fn words_come_as_they_were_written() {
    let ground = ground();
    let seen = seen(&ground, &[], &["args", "", "a b", "--", "-v", "$HOME", "\u{1F980}", "*"]);
    let wanted = ["\"\"", "\"a b\"", "\"--\"", "\"-v\"", "\"$HOME\"", "\"\u{1F980}\"", "\"*\""];
    assert_eq!(seen.lines(), wanted);
}

#[test]
fn the_environment_is_the_containers_own() {
    let ground = ground();
    let plain = seen(&ground, &[], &["env"]);
    let keys: Vec<_> = plain.lines().iter().map(|line| line.split('=').next().unwrap()).collect();
    for key in &keys {
        assert!(
            ["PATH", "HOME", "HOSTNAME", "TERM", "container"].contains(key),
            "{}",
            plain.text()
        );
    }
    assert!(plain.has_line("HOME=/root"), "{}", plain.text());
    let options = ["-e", "A=1", "-e", "B=two words", "-e", "XDG_NOTHING", "-e", "PATH=/only"];
    let told = seen(&ground, &options, &["env"]);
    assert!(told.has_line("A=1") && told.has_line("B=two words"), "{}", told.text());
    assert!(told.has_line("PATH=/only") && !told.text().contains("XDG_NOTHING"), "{}", told.text());
}

#[test]
fn a_key_alone_takes_the_callers_value() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let mut command =
        ground.runner().command(&["run", "-e", "TOKEN", path, "/probe", "env"]).unwrap();
    command.env("TOKEN", "from the caller").env("OTHER", "stays outside");
    let told =
        netns_fixtures::program::run(command, b"", running::PATIENCE).unwrap().success().unwrap();
    assert!(told.contains("TOKEN=from the caller\n") && !told.contains("OTHER"), "{told}");
}

#[test]
fn the_working_directory_is_in_the_container_or_the_command_does_not_run() {
    let ground = ground();
    assert_eq!(seen(&ground, &[], &["cwd"]).lines(), ["/"]);
    assert_eq!(seen(&ground, &["-w", "/home/worker"], &["cwd"]).lines(), ["/home/worker"]);
    for wrong in ["/no/such", "relative", "/proc/self/fd/3", "/proc/self/fd/7", "/proc/1/root/.."] {
        let (code, said) = status(&ground, &["-w", wrong], &["cwd"]);
        // The last one is the container's own root, and harmless.
        assert!(code == Some(125) || wrong.ends_with(".."), "{wrong}: {code:?} {said}");
    }
}

#[test]
fn users_and_groups_are_looked_up_in_the_image() {
    let ground = ground();
    for (user, ids) in [
        ("worker", ["1000", "1000"]),
        ("worker:staff", ["1000", "50"]),
        ("1000", ["1000", "1000"]),
        ("77", ["77", "0"]),
        ("77:88", ["77", "88"]),
        ("0:tty", ["0", "5"]),
    ] {
        let seen = seen(&ground, &["-u", user], &["ids"]);
        let four = |id: &str| [id; 4].join(" ");
        assert_eq!([seen.value("Uid"), seen.value("Gid")], [four(ids[0]), four(ids[1])], "{user}");
    }
}

#[test]
fn a_user_that_could_be_read_in_two_ways_is_refused() {
    let ground = ground();
    for user in [
        "nobody-knows",
        "0x0",
        " 0",
        "+0",
        "-1",
        "4294967295",
        "4294967296",
        "0:",
        ":0",
        "",
        "worker:nogroup",
    ] {
        let (code, said) = status(&ground, &["-u", user], &["ids"]);
        assert_eq!(code, Some(125), "{user:?}: {said}");
    }
}

#[test]
fn capabilities_are_few_and_none_for_others_than_root() {
    let ground = ground();
    let root = seen(&ground, &[], &["ids"]);
    let bounding = root.capabilities("CapBnd");
    assert_eq!(root.capabilities("CapEff"), bounding);
    assert_eq!((root.capabilities("CapInh"), root.capabilities("CapAmb")), (0, 0));
    // NET_ADMIN, NET_RAW, SYS_MODULE, SYS_PTRACE, SYS_ADMIN, SYS_TIME, MKNOD, DAC_READ_SEARCH, BPF.
    for dangerous in [12, 13, 16, 19, 21, 25, 27, 2, 39] {
        assert_eq!(bounding & (1 << dangerous), 0, "capability {dangerous}");
    }
    let other = seen(&ground, &["-u", "77"], &["ids"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(other.capabilities(set), 0, "{set}");
    }
}

#[test]
fn capabilities_are_added_and_dropped_by_name() {
    let ground = ground();
    let (chown, net_raw) = (1_u64 << 0, 1_u64 << 13);
    let changed = seen(&ground, &["--cap-add", "net_raw", "--cap-drop", "CAP_CHOWN"], &["ids"]);
    let (bounding, effective) = (changed.capabilities("CapBnd"), changed.capabilities("CapEff"));
    assert_eq!((effective & net_raw, effective & chown), (net_raw, 0));
    assert_eq!(bounding, effective);
    let only = seen(&ground, &["--cap-drop", "all", "--cap-add", "chown"], &["ids"]);
    assert_eq!((only.capabilities("CapEff"), only.capabilities("CapBnd")), (chown, chown));
    let none = seen(&ground, &["--cap-drop", "all"], &["ids"]);
    assert_eq!((none.capabilities("CapEff"), none.capabilities("CapBnd")), (0, 0));
    assert_eq!(status(&ground, &["--cap-add", "nonsense"], &["ids"]).0, Some(125));
}

#[test]
fn new_privileges_are_off_unless_they_are_asked_for() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let set_user_id =
        std::process::Command::new("chmod").arg("4755").arg(root.at("/probe")).status();
    assert!(set_user_id.unwrap().success());
    let off = ground.runner().probe(&["-u", "77"], &root, &["ids"]).unwrap();
    assert_eq!((off.value("NoNewPrivs"), off.value("Uid")), ("1", "77 77 77 77"));
    let on = ground.runner().probe(&["-u", "77", "--new-privileges"], &root, &["ids"]).unwrap();
    assert_eq!((on.value("NoNewPrivs"), on.value("Uid")), ("0", "77 0 0 0"));
    assert_eq!(on.value("Seccomp"), "2");
}

#[test]
fn the_filter_is_on_unless_it_is_left_out() {
    let ground = ground();
    let keyctl = libc::SYS_keyctl.to_string();
    let words = ["ids", "+", "syscall", &keyctl, "0", "-3", "0"];
    let on = seen(&ground, &[], &words);
    assert_eq!((on.value("Seccomp"), on.lines().pop()), ("2", Some(errno(Errno::EPERM).as_str())));
    let off = seen(&ground, &["--no-seccomp"], &words);
    assert_eq!(off.value("Seccomp"), "0");
    assert!(off.lines().pop().unwrap().starts_with("= "), "{}", off.text());
}

#[test]
fn no_descriptor_of_the_caller_is_inherited() {
    let ground = ground();
    let leaked = File::open("/").unwrap();
    fcntl(&leaked, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let seen = seen(&ground, &[], &["fds"]);
    drop(leaked);
    let numbers: Vec<_> = seen.lines().iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{}", seen.text());
}

#[test]
fn what_the_caller_has_closed_is_empty_and_nothing_of_the_hosts() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let cases =
        [("<&-", 0, "-i"), (">&-", 1, "-i"), ("2>&-", 2, "-i"), ("<&- 2>&-", 0, "--no-init")];
    for (closing, number, option) in cases {
        let script = format!("exec \"$@\" {closing}");
        let told = if number == 1 { 2 } else { 1 };
        let inside = format!("is=$(readlink /proc/$$/fd/{number}); echo $is >&{told}");
        let path = root.path().to_str().unwrap();
        let words = ["run", "-q", "-i", option, path, "sh", "-c", &inside];
        let ended = running::through_a_shell(&ground, &ground.runner(), &script, &words);
        let said = if told == 1 { &ended.stdout } else { &ended.stderr };
        assert!(said.trim_end().ends_with("null"), "{closing} {option}: {ended}");
        assert_eq!(ended.code, Some(0), "{closing} {option}: {ended}");
    }
}

#[test]
fn standard_input_is_read_only_on_request() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let path = root.path().to_str().unwrap();
    let told = |options: &[&str]| {
        let words = [&["run"], options, &[path, "/probe", "stdin"]].concat();
        ground.runner().run_with(&words, b"hello").unwrap().success().unwrap()
    };
    assert_eq!(told(&["-i"]), "\"hello\" ok\n");
    assert_eq!(told(&[]), "\"\" ok\n");
}

#[test]
fn the_session_is_its_own_and_signals_are_as_programs_expect_them() {
    let ground = ground();
    let seen = seen(&ground, &[], &["ids"]);
    assert_eq!(seen.value("sid"), seen.value("pid"));
    // The C library's own two, which it ignores in whatever it spawns, and a program on it sets anew.
    let of_library = 0b11 << 31;
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        let signals = u64::from_str_radix(seen.value(set), 16).unwrap();
        assert_eq!(signals & !of_library, 0, "{set}: {}", seen.text());
    }
    assert_eq!(seen.value("Umask"), "0022");
}

#[test]
fn limits_of_single_resources_hold() {
    let ground = ground();
    let seen = seen(
        &ground,
        &["--rlimit", "nofile=64:128", "--rlimit", "core=0"],
        &["cat", "/proc/self/limits"],
    );
    let limits = |name: &str| {
        let line = seen.lines().into_iter().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (limits("Max open files"), limits("Max core file size")),
        (vec!["64".into(), "128".into()], vec!["0".into(); 2])
    );
}

#[test]
fn the_shell_of_the_image_finds_its_programs() {
    let ground = ground();
    let told = shell(
        &ground.runner(),
        &[],
        &ground.busybox().unwrap(),
        "which ls && id -un && hostname | wc -w",
    );
    assert_eq!(told.success().unwrap(), "/bin/ls\nroot\n1\n");
}

/// What reads them may have gone, or its disk may be full; the container is to be taken back.
#[test]
fn messages_that_cannot_be_written_end_nothing() {
    let ground = ground();
    let (runner, root) = (ground.runner(), ground.busybox().unwrap());
    let path = root.path().to_str().unwrap();
    let mut command = runner.command(&["run", "--explain", path, "/bin/true"]).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = command.stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(runner.run(&["gc"]).unwrap().success().unwrap(), "nothing was left behind\n");
}

#[test]
fn a_message_does_not_speak_to_the_terminal() {
    let ground = ground();
    let (code, told) = status(&ground, &["-q", "-w", "/\u{1b}]0;title\u{7}"], &["exit", "0"]);
    assert_eq!(code, Some(125));
    assert!(told.contains(r"/\u{1b}]0;title\u{7}") && !told.contains('\u{1b}'), "{told}");
}
