//! The system-call filter, asked by a program under it.

mod running;

use netns_fixtures::isolate;
use netns_fixtures::runner::Ground;
use nix::libc;
use running::ground;

isolate!();

const PERM: &str = "errno 1";
const NOSYS: &str = "errno 38";
const NO_FAMILY: &str = "errno 97";
const DONE: &str = "= 0";

/// What the kernel answers to each call, made one after the other in a container.
#[track_caller]
fn answers(ground: &Ground, options: &[&str], calls: &[Vec<i64>]) -> Vec<String> {
    let words: Vec<Vec<String>> = calls
        .iter()
        .map(|call| {
            let numbers = call.iter().map(i64::to_string);
            std::iter::once("syscall".to_owned()).chain(numbers).collect()
        })
        .collect();
    let words: Vec<String> = words.join(&"+".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let seen = ground.runner().probe(options, &ground.minimal().unwrap(), &words).expect("a run");
    seen.lines().iter().map(|line| (*line).to_owned()).collect()
}

#[track_caller]
fn expect(ground: &Ground, options: &[&str], expected: &[(Vec<i64>, &str)]) {
    let calls: Vec<Vec<i64>> = expected.iter().map(|(call, _)| call.clone()).collect();
    for ((call, expected), answer) in expected.iter().zip(answers(ground, options, &calls)) {
        assert_eq!(answer, *expected, "{options:?} {call:?}");
    }
}

const NEWUSER: i64 = 0x1000_0000;
const NEWNS: i64 = 0x2_0000;

#[test]
fn namespaces_are_not_made() {
    expect(
        &ground(),
        &[],
        &[
            (vec![libc::SYS_unshare, NEWUSER], PERM),
            (vec![libc::SYS_unshare, NEWUSER | NEWNS], PERM),
            (vec![libc::SYS_unshare, libc::CLONE_FILES.into()], DONE),
            (vec![libc::SYS_clone, NEWUSER | i64::from(libc::SIGCHLD)], PERM),
            (vec![libc::SYS_clone3, 0, 0], NOSYS),
            (vec![libc::SYS_setns, 0, 0], PERM),
        ],
    );
}

#[test]
fn nested_users_may_make_them() {
    // Without a filter the kernel lets everybody.
    let unshare = (vec![libc::SYS_unshare, NEWUSER | NEWNS], DONE);
    expect(&ground(), &["--no-seccomp"], std::slice::from_ref(&unshare));
    expect(&ground(), &["--nested-users"], &[unshare, (vec![libc::SYS_clone3, 0, 0], "errno 22")]);
}

#[test]
fn what_reaches_past_the_container_is_refused() {
    let calls = [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_fsopen,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_open_by_handle_at,
        libc::SYS_swapon,
        libc::SYS_reboot,
        libc::SYS_settimeofday,
        libc::SYS_syslog,
        libc::SYS_quotactl,
        libc::SYS_acct,
    ];
    let expected: Vec<_> = calls.map(|call| (vec![call], PERM)).into();
    // Also to a root who has every capability.
    expect(&ground(), &["--cap-add", "all"], &expected);
}

#[test]
fn nothing_is_typed_into_a_terminal() {
    let ioctl = |request: i64| vec![libc::SYS_ioctl, 0, request];
    expect(
        &ground(),
        &[],
        &[
            (ioctl(0x5412), PERM),
            (ioctl(0x5412 | 1 << 32), PERM),
            (ioctl(0x541c | 0xff << 40), PERM),
            // TCGETS of /dev/null, whose answer is the kernel's.
            (ioctl(0x5401), "errno 25"),
        ],
    );
}

#[test]
fn rare_families_of_sockets_are_as_if_they_were_not_built() {
    let socket = |family: i64| vec![libc::SYS_socket, family, 2, 0];
    for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH, libc::AF_TIPC] {
        expect(&ground(), &[], &[(socket(family.into()), NO_FAMILY)]);
    }
    let usual = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| socket(family.into()));
    for answer in answers(&ground(), &[], &usual) {
        assert!(answer.starts_with("= "), "{answer}");
    }
}

#[test]
fn personalities_that_weaken_a_program_are_refused() {
    let personality = |value: i64| vec![libc::SYS_personality, value];
    expect(
        &ground(),
        &[],
        &[
            (personality(0xffff_ffff), DONE),
            (personality(0x8), DONE),
            (personality(0x4_0000), PERM),
            (personality(0x40_0000), PERM),
        ],
    );
}

#[test]
fn unknown_numbers_and_x32_are_unknown() {
    expect(
        &ground(),
        &[],
        &[
            (vec![511], NOSYS),
            (vec![4096], NOSYS),
            (vec![0x4000_0000 | libc::SYS_getpid], NOSYS),
            (vec![0x4000_0000 | 520], NOSYS),
        ],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_gate_kills() {
    let ground = ground();
    let root = ground.minimal().unwrap();
    // getpid
    let ended = ground.runner().run_probe(&["-q"], &root, &["int80", "20"]).unwrap();
    assert_eq!(ended.code, Some(128 + libc::SIGSYS), "{ended}");
    let ended =
        ground.runner().run_probe(&["-q", "--no-seccomp"], &root, &["int80", "20"]).unwrap();
    assert!(ended.is_success(), "{ended}");
}
