use super::*;

const NOT_NESTED: bool = false;
const NESTED: bool = true;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const PERM: u32 = 0x0005_0001;
const NOSYS: u32 = 0x0005_0026;
const NO_FAMILY: u32 = 0x0005_0061;
const HERE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// The answer of a filter: an interpreter of the five instructions it uses.
fn answer(nested: bool, arch: u32, number: u32, arguments: [u64; 2]) -> u32 {
    let data = |offset: u32| match offset {
        0 => number,
        4 => arch,
        16 => arguments[0] as u32,
        24 => arguments[1] as u32,
        other => panic!("offset {other}"),
    };
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program(nested)[at];
        let branch = |taken: bool| at + 1 + usize::from(if taken { jt } else { jf });
        at = match code {
            0x20 => {
                accumulator = data(k);
                at + 1
            }
            0x15 => branch(accumulator == k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x06 => return k,
            other => panic!("code {other:#x}"),
        };
    }
}

fn ask(nested: bool, call: libc::c_long, arguments: [u64; 2]) -> u32 {
    answer(nested, HERE, u32::try_from(call).unwrap(), arguments)
}

#[test]
fn every_number_gets_the_verdict_of_the_table() {
    for nested in [NOT_NESTED, NESTED] {
        let table = calls::table(nested);
        for (number, verdict) in (0..).zip(table) {
            let expected = match verdict {
                program::Verdict::Unknown => NOSYS,
                program::Verdict::Refuse => PERM,
                program::Verdict::OneOf(_, errno) => 0x0005_0000 | errno,
                _ => ALLOW,
            };
            // No family, no personality, no ioctl and no flag of a namespace.
            assert_eq!(
                answer(nested, HERE, number, [0x8100, 0]),
                expected,
                "nested: {nested} {number}"
            );
        }
    }
}

#[test]
fn numbers_behind_the_table_are_unknown() {
    for number in [512, 1000, 0x4000_0000, 0x4000_003b, 0x4000_0209, u32::MAX] {
        assert_eq!(answer(NESTED, HERE, number, [0; 2]), NOSYS, "{number:#x}");
    }
}

#[test]
fn another_architecture_is_killed() {
    for arch in [0x4000_0003, 0x4000_0028, 0] {
        assert_eq!(answer(NOT_NESTED, arch, 1, [0; 2]), KILL);
    }
}

#[test]
fn namespaces_are_for_nested_users() {
    let flags = [
        0x80_u64,
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];
    for flag in flags {
        assert_eq!(ask(NOT_NESTED, libc::SYS_unshare, [flag, 0]), PERM, "{flag:#x}");
        assert_eq!(ask(NESTED, libc::SYS_unshare, [flag, 0]), ALLOW, "{flag:#x}");
        assert_eq!(ask(NESTED, libc::SYS_clone, [flag, 0]), ALLOW, "{flag:#x}");
    }
    for flag in &flags[1..] {
        // With all that a thread is made with beside it.
        assert_eq!(ask(NOT_NESTED, libc::SYS_clone, [flag | 0x3d_0f11, 0]), PERM, "{flag:#x}");
    }
    assert_eq!(ask(NOT_NESTED, libc::SYS_clone, [0x3d_0f00, 0]), ALLOW);
    assert_eq!(ask(NOT_NESTED, libc::SYS_clone, [0x11, 0]), ALLOW);
    assert_eq!(ask(NOT_NESTED, libc::SYS_unshare, [0x400, 0]), ALLOW);
    assert_eq!(ask(NOT_NESTED, libc::SYS_clone3, [0; 2]), NOSYS);
    assert_eq!(ask(NESTED, libc::SYS_clone3, [0; 2]), ALLOW);
    assert_eq!(ask(NOT_NESTED, libc::SYS_mount, [0; 2]), PERM);
    assert_eq!(ask(NESTED, libc::SYS_mount, [0; 2]), ALLOW);
}

#[test]
fn only_the_low_half_of_a_request_counts() {
    for nested in [NOT_NESTED, NESTED] {
        for request in [0x5412, 0x541c, 0x5423] {
            for high in [0, 1 << 32, 0xffff_ffff << 32] {
                assert_eq!(ask(nested, libc::SYS_ioctl, [0, request | high]), PERM);
            }
        }
        // TCGETS, TIOCGWINSZ, TIOCSCTTY
        for request in [0x5401, 0x5413, 0x540e] {
            assert_eq!(ask(nested, libc::SYS_ioctl, [0, request]), ALLOW);
        }
    }
}

#[test]
fn families_and_personalities_are_listed() {
    for family in [1, 2, 10, 16, 17] {
        assert_eq!(ask(NOT_NESTED, libc::SYS_socket, [family, 0]), ALLOW);
    }
    for family in [0, 3, 29, 31, 38, 40, 44] {
        assert_eq!(ask(NOT_NESTED, libc::SYS_socket, [family, 0]), NO_FAMILY);
        assert_eq!(ask(NESTED, libc::SYS_socketpair, [family, 0]), NO_FAMILY);
    }
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(ask(NOT_NESTED, libc::SYS_personality, [persona, 0]), ALLOW);
    }
    for persona in [0x4_0000, 0x40_0000, 0x10_0000, 4] {
        assert_eq!(ask(NOT_NESTED, libc::SYS_personality, [persona, 0]), PERM);
    }
}

#[test]
fn what_is_dangerous_is_refused_to_all() {
    let calls = [
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_open_by_handle_at,
        libc::SYS_quotactl,
        libc::SYS_swapon,
        libc::SYS_reboot,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_syslog,
        libc::SYS_acct,
    ];
    for call in calls {
        for nested in [NOT_NESTED, NESTED] {
            assert_eq!(ask(nested, call, [0; 2]), PERM, "{call}");
        }
    }
}

#[test]
fn the_programs_are_small() {
    // They are checked, translated and run for every number at each start of a container.
    assert!(DEFAULT.len() < 300, "{}", DEFAULT.len());
    assert!(NESTED_USERS.len() < 300, "{}", NESTED_USERS.len());
}
