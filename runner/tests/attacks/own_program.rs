//! CVE-2019-5736: the container overwrites the program that runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use netns_fixtures::runner::{Ground, Root, Runner};
use netns_fixtures::{program, tools};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::running::{PATIENCE, ground, shell, soon};
use crate::{spoiled, text};

/// An image in which the runner's own program can be run: its loader and libraries, which are the
/// attacker's to choose, are there.
fn trap(ground: &Ground) -> Root {
    let root = spoiled(ground, "trap");
    let mut ldd = Command::new(tools::find("ldd").unwrap());
    ldd.arg(ground.runner().program());
    let told = program::run(ldd, b"", PATIENCE).unwrap().success().unwrap();
    for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
        root.folder(text(Path::new(library).parent().unwrap()), 0o755).unwrap();
        root.program(Path::new(library), library).unwrap();
    }
    root.file("bin/trap", "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(root.at("bin/trap"), fs::Permissions::from_mode(0o755)).unwrap();
    mkfifo(&root.at("fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    root
}

/// ETXTBSY would not do: it holds only as long as the program runs. To cut a file off, as a write does
/// here, the kernel asks for the mount first.
fn is_refused_for_good(line: &str) -> bool {
    let for_good = [Errno::EROFS, Errno::EPERM, Errno::EACCES];
    for_good.iter().any(|errno| line.ends_with(&format!(" errno {}", *errno as i32)))
}

/// The container's command is the runner's program, which waits; another command writes to it.
fn expect_refusal(runner: &Runner, root: &Root, options: &[&str]) {
    let words = ["/proc/self/exe", "image", "import", "-q", "name", "/fifo"];
    let words = [
        &["run", "-q", "--name", "trap", "-e", "NETUP_RUN_STORE=/tmp"],
        options,
        &[text(root.path())],
        &words,
    ]
    .concat();
    let mut trapped = runner.start(&words).unwrap();
    let script = "for p in /proc/[0-9]*; do case $(head -c 14 $p/cmdline) in /proc/self/exe) \
                  /probe write $p/exe x;; esac; done 2>/dev/null";
    let mut said = String::new();
    soon("the runner as a command", || {
        let (_, complaint) = trapped.said().unwrap();
        assert!(!trapped.has_ended().unwrap(), "{complaint}");
        let ended = runner.run(&["exec", "trap", "/bin/sh", "-c", script]).unwrap();
        said = ended.stdout;
        !said.is_empty()
    });
    trapped.kill().unwrap();
    drop(trapped);
    assert!(said.lines().all(is_refused_for_good), "{options:?}: {said}");
    soon("its name", || runner.run(&["gc"]).unwrap().is_success());
}

#[test]
fn the_runner_as_a_command_of_the_container_cannot_be_written() {
    let ground = ground();
    let (root, runner) = (trap(&ground), ground.runner());
    let before = fs::read(runner.program()).unwrap();
    // Nobody enters a container that can trace whoever comes.
    let all = ["--cap-add", "all", "--cap-drop", "sys_ptrace"];
    for options in [&[][..], &["--no-init"], &all, &["--new-privileges"]] {
        expect_refusal(&runner, &root, options);
    }
    assert!(fs::read(runner.program()).unwrap() == before);
}

#[test]
fn the_runner_as_an_interpreter_of_the_image_comes_to_nothing() {
    let ground = ground();
    let (root, runner) = (trap(&ground), ground.runner());
    let before = fs::read(runner.program()).unwrap();
    for command in
        [&["/bin/trap"][..], &["/proc/self/exe", "gc"], &["/proc/self/exe", "/", "/probe"]]
    {
        let words =
            [&["run", "-q", "-e", "NETUP_RUN_STATE=/tmp", text(root.path())], command].concat();
        let ended = runner.run(&words).unwrap();
        assert!(matches!(ended.code, Some(0 | 125..=127)), "{command:?}: {ended}");
        assert!(fs::read(runner.program()).unwrap() == before, "{command:?}");
    }
}

#[test]
fn the_first_process_does_not_lead_to_it() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let before = fs::read(runner.program()).unwrap();
    let script = "for way in exe root cwd fd/0 ns/mnt environ maps mem; do \
                  (: < /proc/1/$way) && echo \"$way opens\"; done 2>/dev/null; \
                  (: > /proc/1/exe) 2>/dev/null && echo written; echo done";
    for options in [&[][..], &["--cap-add", "all"], &["--cap-add", "dac_override"]] {
        let said = shell(&runner, options, &root, script);
        let wanted = "done\n";
        // With CAP_SYS_PTRACE the first process can be looked into, but it is no way to write.
        let allowed = options.contains(&"all");
        assert!(allowed || said.stdout == wanted, "{options:?}: {said}");
        assert!(!said.stdout.contains("written"), "{options:?}: {said}");
    }
    assert!(fs::read(runner.program()).unwrap() == before);
}

#[test]
fn an_ordinary_users_container_does_not_write_it_either() {
    let ground = ground();
    let user = ground.user().unwrap();
    let root = trap(&ground).owned_by(&user).unwrap();
    let runner = ground.runner_of(&user);
    for options in [&[][..], &["--users", "single"]] {
        expect_refusal(&runner, &root, options);
    }
}
