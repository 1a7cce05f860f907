//! Interfaces of the kernel through which containers were left: most need a capability that is not
//! there, and the filter refuses them even where it is (CVE-2022-0185, CVE-2023-0386, CVE-2020-14386,
//! CVE-2017-7308 and many more).

use netns_fixtures::runner::{Ground, Root};
use nix::libc::{self, c_long};

use crate::running::{ground, shell};

const EPERM: &str = "errno 1";
const ENOSYS: &str = "errno 38";
const NEWUSER: &str = "0x10000000";

#[track_caller]
fn answer(ground: &Ground, root: &Root, options: &[&str], call: c_long, rest: &[&str]) -> String {
    let number = call.to_string();
    let words = [&["syscall", &number], rest].concat();
    let ended = ground.runner().run_probe(&[&["-q"], options].concat(), root, &words).unwrap();
    ended.stdout.trim_end().to_owned()
}

#[test]
fn what_containers_were_left_by_is_refused() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let calls: [(c_long, &[&str]); 33] = [
        (libc::SYS_unshare, &[NEWUSER]),
        (libc::SYS_unshare, &["0x10020000"]),
        (libc::SYS_clone, &["0x10000011", "0", "0", "0", "0"]),
        (libc::SYS_setns, &["0", "0"]),
        (libc::SYS_mount, &["@none", "@/tmp", "@tmpfs", "0", "0"]),
        (libc::SYS_mount, &["@none", "@/proc/sys", "0", "0x1020", "0"]),
        (libc::SYS_umount2, &["@/proc/sys", "2"]),
        (libc::SYS_pivot_root, &["@/", "@/"]),
        (libc::SYS_open_tree, &["-100", "@/", "1"]),
        (libc::SYS_move_mount, &["-100", "@/", "-100", "@/tmp", "0"]),
        (libc::SYS_fsopen, &["@tmpfs", "0"]),
        (libc::SYS_fspick, &["-100", "@/", "0"]),
        (libc::SYS_mount_setattr, &["-100", "@/", "0", "%32", "32"]),
        (libc::SYS_keyctl, &["0", "-3", "0"]),
        (libc::SYS_add_key, &["@user", "@name", "@text", "4", "-3"]),
        (libc::SYS_request_key, &["@user", "@name", "0", "-3"]),
        (libc::SYS_bpf, &["0", "%128", "128"]),
        (libc::SYS_perf_event_open, &["%128", "0", "-1", "-1", "0"]),
        (libc::SYS_userfaultfd, &["1"]),
        (libc::SYS_io_uring_setup, &["1", "%128"]),
        (libc::SYS_io_uring_enter, &["0", "0", "0", "0", "0"]),
        (libc::SYS_io_uring_register, &["0", "0", "0", "0"]),
        (libc::SYS_init_module, &["%64", "64", "@"]),
        (libc::SYS_finit_module, &["0", "@", "0"]),
        (libc::SYS_delete_module, &["@none", "0"]),
        (libc::SYS_kexec_load, &["0", "0", "0", "0"]),
        (libc::SYS_reboot, &["0xfee1dead", "672274793", "0"]),
        (libc::SYS_swapon, &["@/probe", "0"]),
        (libc::SYS_settimeofday, &["%16", "0"]),
        (libc::SYS_syslog, &["3", "%64", "64"]),
        (libc::SYS_quotactl, &["0", "0", "0", "0"]),
        (libc::SYS_personality, &["0x0040000"]),
        (libc::SYS_acct, &["@/probe"]),
    ];
    for options in [&[][..], &["--cap-add", "all"], &["-u", "1000"]] {
        for (call, rest) in calls {
            let told = answer(&ground, &root, options, call, rest);
            assert!(
                [EPERM, ENOSYS].contains(&told.as_str()),
                "{options:?} {call} {rest:?}: {told}"
            );
        }
        // The C library then takes clone, whose flags the filter can see.
        assert_eq!(answer(&ground, &root, options, libc::SYS_clone3, &["%88", "88"]), ENOSYS);
    }
}

/// Raw packets, and families of sockets that few need and many bugs were in.
#[test]
fn sockets_are_of_the_usual_families() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let socket = libc::SYS_socket;
    let (raw, icmp, icmp6) = ("3", "1", "58");
    for (family, protocol) in
        [(libc::AF_PACKET, "0"), (libc::AF_INET, icmp), (libc::AF_INET6, icmp6)]
    {
        let told = answer(&ground, &root, &[], socket, &[&family.to_string(), raw, protocol]);
        assert_eq!(told, EPERM, "{family}");
    }
    // AF_ALG, AF_VSOCK: the kernel's cryptography, and the hypervisor, past every network namespace.
    for family in ["38", "40"] {
        let told = answer(&ground, &root, &["--cap-add", "all"], socket, &[family, "5", "0"]);
        assert!(told.starts_with("errno"), "{family}: {told}");
    }
    let told = answer(&ground, &root, &[], socket, &["2", "1", "0"]);
    assert!(told.starts_with("= "), "{told}");
}

/// A filter that looks at numbers alone is passed by the other tables of the processor.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_other_tables_of_calls_are_no_way_around() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    for options in [&[][..], &["--cap-add", "all"]] {
        for number in ["20", "24", "310"] {
            let words = ["int80", number];
            let ended = ground.runner().run_probe(options, &root, &words).unwrap();
            assert!(!ended.stdout.contains("= "), "int80 {number}: {ended}");
        }
        let x32 = 0x4000_0000;
        for call in [libc::SYS_getpid, libc::SYS_unshare, libc::SYS_keyctl] {
            let told = answer(&ground, &root, options, x32 | call, &[NEWUSER, "-3", "0"]);
            assert!(!told.contains("= "), "x32 {call}: {told}");
        }
        // The kernel looks at 32 bits of a number, and a filter that looks at more is passed too.
        let high = 1_i64 << 32 | libc::SYS_unshare;
        let told = answer(&ground, &root, options, high, &[NEWUSER]);
        assert!(!told.contains("= "), "{told}");
    }
}

#[test]
fn user_namespaces_are_made_only_if_that_is_asked_for() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    for (options, status) in [(&["-u", "1000"][..], 1), (&["-u", "1000", "--nested-users"], 0)] {
        let said = shell(&ground.runner(), options, &root, "unshare -U true; echo $?");
        assert_eq!(said.stdout, format!("{status}\n"), "{options:?}: {said}");
    }
}

/// CVE-2022-0492, CVE-2023-25809: control groups that can be written, and an agent that runs as root.
#[test]
fn control_groups_are_read_only_and_ones_own() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let script = "find /sys/fs/cgroup -type f | while read f; do (: >> $f) && echo \"$f opens\"; \
                  done 2>/dev/null; mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; \
                  find / -xdev -name release_agent; grep -c . /proc/self/cgroup; \
                  grep -v ':/$' /proc/self/cgroup; echo done";
    for options in [&[][..], &["--cap-add", "all"], &["--users", "single"]] {
        let said = shell(&ground.runner(), options, &root, script);
        let lines: Vec<_> = said.stdout.lines().collect();
        assert!(matches!(lines[..], [_, "done"]), "{options:?}: {said}");
    }
}

#[test]
fn what_tells_of_the_host_is_masked_and_cannot_be_unmasked() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let masked = ["kcore", "keys", "timer_list", "interrupts", "sched_debug", "latency_stats"];
    let masked = masked.map(|name| format!("/proc/{name}")).join(" ");
    let frozen = "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/modprobe \
                  /proc/irq/default_smp_affinity /proc/sys/vm/drop_caches /sys/kernel/uevent_helper \
                  /sys/power/state /sys/kernel/mm/ksm/run /proc/sys/kernel/hostname";
    let script = format!(
        "for f in {masked}; do [ -e $f ] && [ -n \"$(head -c 9 $f 2>/dev/null)\" ] && \
         echo $f is seen; done; for d in /proc/acpi /proc/scsi /sys/firmware \
         /sys/devices/virtual/powercap; do ls $d 2>/dev/null; done; \
         for f in {frozen}; do (: >> $f) 2>/dev/null && echo $f opens; done; \
         for way in 'umount /proc/sys' 'umount -l /proc/kcore' 'mount -o remount,rw /proc/sys' \
         'mount -o remount,rw /sys' 'mount -t proc none /tmp' 'mount -t sysfs none /tmp' \
         'mount --bind /proc /tmp' 'mount --move /proc /tmp' 'mount --make-rshared /'; do \
         $way 2>/dev/null && echo $way; done; \
         for f in {frozen}; do (: >> $f) 2>/dev/null && echo $f opens; done; echo done"
    );
    for options in [
        &[][..],
        &["--cap-add", "sys_admin"],
        &["--cap-add", "all"],
        &["--users", "single", "--cap-add", "all"],
        &["--read-only"],
    ] {
        let said = shell(&ground.runner(), options, &root, &script);
        assert_eq!(said.stdout, "done\n", "{options:?}: {said}");
    }
}
