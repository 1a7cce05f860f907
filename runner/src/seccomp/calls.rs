//! Which system calls a container may make, and why not the others.

use libc::*;

use super::program::{NUMBERS, Table, Verdict};

/// Calls that the C library's headers do not name yet, or not for every target. From 424 on all
/// architectures share the numbers.
mod number {
    use libc::c_long;

    #[cfg(target_arch = "x86_64")]
    pub const IO_PGETEVENTS: c_long = 333;
    #[cfg(target_arch = "aarch64")]
    pub const IO_PGETEVENTS: c_long = 292;
    #[cfg(target_arch = "x86_64")]
    pub const KEXEC_FILE_LOAD: c_long = 320;
    #[cfg(target_arch = "aarch64")]
    pub const KEXEC_FILE_LOAD: c_long = 294;
    pub const CACHESTAT: c_long = 451;
    pub const FCHMODAT2: c_long = 452;
    pub const MAP_SHADOW_STACK: c_long = 453;
    pub const FUTEX_WAKE: c_long = 454;
    pub const FUTEX_WAIT: c_long = 455;
    pub const FUTEX_REQUEUE: c_long = 456;
    pub const STATMOUNT: c_long = 457;
    pub const LISTMOUNT: c_long = 458;
    pub const LSM_GET_SELF_ATTR: c_long = 459;
    pub const LSM_LIST_MODULES: c_long = 461;
    pub const MSEAL: c_long = 462;
    pub const SETXATTRAT: c_long = 463;
    pub const GETXATTRAT: c_long = 464;
    pub const LISTXATTRAT: c_long = 465;
    pub const REMOVEXATTRAT: c_long = 466;
    pub const OPEN_TREE_ATTR: c_long = 467;
    pub const FILE_GETATTR: c_long = 468;
    pub const FILE_SETATTR: c_long = 469;
}

/// The verdict on every call, with or without user namespaces of the container's own.
pub const fn table(nested_users: bool) -> Table {
    let mut table = [Verdict::Unknown; NUMBERS];
    fill(&mut table, FILES, Verdict::Allow);
    fill(&mut table, MEMORY, Verdict::Allow);
    fill(&mut table, PROCESSES, Verdict::Allow);
    fill(&mut table, TIME_AND_EVENTS, Verdict::Allow);
    fill(&mut table, TALKING, Verdict::Allow);
    fill(&mut table, OLDER, Verdict::Allow);
    fill(&mut table, REFUSED, Verdict::Refuse);
    fill(&mut table, REFUSED_HERE, Verdict::Refuse);
    set(&mut table, SYS_ioctl, Verdict::NoneOf(&INJECTING));
    set(&mut table, SYS_personality, Verdict::OneOf(&PERSONALITIES, EPERM as u32));
    set(&mut table, SYS_socket, Verdict::OneOf(&FAMILIES, EAFNOSUPPORT as u32));
    set(&mut table, SYS_socketpair, Verdict::OneOf(&FAMILIES, EAFNOSUPPORT as u32));
    if nested_users {
        fill(&mut table, NESTING, Verdict::Allow);
        fill(&mut table, &[SYS_clone, SYS_clone3, SYS_unshare], Verdict::Allow);
    } else {
        fill(&mut table, NESTING, Verdict::Refuse);
        set(&mut table, SYS_clone, Verdict::Without(NAMESPACES));
        // In clone's flags this bit belongs to the signal number.
        set(&mut table, SYS_unshare, Verdict::Without(NAMESPACES | CLONE_NEWTIME));
    }
    table
}

const fn fill(table: &mut Table, calls: &[c_long], verdict: Verdict) {
    let mut at = 0;
    while at < calls.len() {
        set(table, calls[at], verdict);
        at += 1;
    }
}

const fn set(table: &mut Table, call: c_long, verdict: Verdict) {
    let entry = &mut table[call as usize];
    assert!(matches!(entry, Verdict::Unknown), "a call is in two lists");
    *entry = verdict;
}

/// NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET: namespaces open most of the
/// kernel's code for mounts and networks to whoever makes them.
const NAMESPACES: u32 = 0x0002_0000 | 0x7e00_0000;
const CLONE_NEWTIME: u32 = 0x80;

/// Input into the caller's terminal: TIOCSTI (CVE-2017-5226) and TIOCLINUX, which pastes on a virtual
/// console (CVE-2023-28100). TIOCSETD loads line disciplines, old drivers with a long list of holes.
const INJECTING: [u32; 3] = [0x5412, 0x541c, 0x5423];

/// PER_LINUX and PER_LINUX32, each also with UNAME26, and the question for the present one. Other
/// bits turn off address randomisation or make every page executable.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// UNIX, INET, INET6 and NETLINK, and PACKET, which takes CAP_NET_RAW. Not VSOCK, which reaches the
/// hypervisor past all namespaces, nor ALG, nor those whose modules are seldom loaded and audited.
const FAMILIES: [u32; 5] = [1, 2, 10, 16, 17];

/// Reading, writing and naming files. Device nodes take CAP_MKNOD, and FIFOs are made by mknod too.
#[rustfmt::skip]
const FILES: &[c_long] = &[
    SYS_chdir, SYS_chroot, SYS_close, SYS_close_range, SYS_copy_file_range, SYS_dup, SYS_dup3,
    SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_fallocate, SYS_fchdir, SYS_fchmod,
    SYS_fchmodat, number::FCHMODAT2, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync,
    SYS_fgetxattr, number::FILE_GETATTR, number::FILE_SETATTR, SYS_flistxattr, SYS_flock,
    SYS_fremovexattr, SYS_fsetxattr, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_getcwd,
    SYS_getdents64, SYS_getxattr, number::GETXATTRAT, SYS_inotify_add_watch, SYS_inotify_init1,
    SYS_inotify_rm_watch, SYS_lgetxattr, SYS_linkat, number::LISTMOUNT, SYS_listxattr,
    number::LISTXATTRAT, SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_mkdirat,
    SYS_mknodat, SYS_name_to_handle_at, SYS_newfstatat, SYS_openat, SYS_openat2, SYS_pipe2,
    SYS_pread64, SYS_preadv, SYS_preadv2, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read,
    SYS_readahead, SYS_readlinkat, SYS_readv, SYS_removexattr, number::REMOVEXATTRAT,
    SYS_renameat2, SYS_sendfile, SYS_setxattr, number::SETXATTRAT, SYS_splice, SYS_statfs,
    number::STATMOUNT, SYS_statx, SYS_symlinkat, SYS_sync, SYS_syncfs, SYS_tee, SYS_truncate,
    SYS_umask, SYS_unlinkat, SYS_utimensat, SYS_vmsplice, SYS_write, SYS_writev,
];

/// Memory, and shared memory by name.
#[rustfmt::skip]
const MEMORY: &[c_long] = &[
    SYS_brk, number::CACHESTAT, SYS_madvise, number::MAP_SHADOW_STACK, SYS_membarrier,
    SYS_memfd_create, SYS_memfd_secret, SYS_mincore, SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap,
    SYS_mprotect, SYS_mremap, number::MSEAL, SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect, SYS_remap_file_pages, SYS_shmat, SYS_shmctl,
    SYS_shmdt, SYS_shmget,
];

/// Processes, their rights and their scheduling.
///
/// Debugging is allowed: since Linux 4.8 a filter is asked again after a tracer has changed a call,
/// so ptrace is no way around it, and it reaches only what the same user of the same pid namespace
/// runs. So are the calls under the same check: process_vm_*, pidfd_getfd, process_madvise.
#[rustfmt::skip]
const PROCESSES: &[c_long] = &[
    SYS_capget, SYS_capset, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_get_robust_list,
    SYS_getcpu, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups, SYS_getpgid, SYS_getpid,
    SYS_getppid, SYS_getpriority, SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrusage,
    SYS_getsid, SYS_gettid, SYS_getuid, SYS_ioprio_get, SYS_ioprio_set, SYS_kill,
    SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self,
    number::LSM_GET_SELF_ATTR, number::LSM_LIST_MODULES, SYS_pidfd_getfd, SYS_pidfd_open,
    SYS_pidfd_send_signal, SYS_prctl, SYS_prlimit64, SYS_process_madvise, SYS_process_mrelease,
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sched_get_priority_max,
    SYS_sched_get_priority_min, SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam,
    SYS_sched_getscheduler, SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr,
    SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_set_robust_list,
    SYS_set_tid_address, SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setpgid,
    SYS_setpriority, SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid, SYS_setsid,
    SYS_setuid, SYS_sigaltstack, SYS_sysinfo, SYS_tgkill, SYS_times, SYS_tkill, SYS_uname,
    SYS_wait4, SYS_waitid,
];

/// Clocks, timers, and waiting. adjtimex and clock_adjtime also read, and need CAP_SYS_TIME to write.
#[rustfmt::skip]
const TIME_AND_EVENTS: &[c_long] = &[
    SYS_adjtimex, SYS_clock_adjtime, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_futex,
    number::FUTEX_REQUEUE, number::FUTEX_WAIT, SYS_futex_waitv, number::FUTEX_WAKE, SYS_getitimer,
    SYS_gettimeofday, SYS_io_cancel, SYS_io_destroy, SYS_io_getevents, number::IO_PGETEVENTS,
    SYS_io_setup, SYS_io_submit, SYS_nanosleep, SYS_ppoll, SYS_pselect6, SYS_setitimer,
    SYS_signalfd4, SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime,
    SYS_timer_settime, SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime,
];

/// Sockets that exist, message queues and semaphores.
#[rustfmt::skip]
const TALKING: &[c_long] = &[
    SYS_accept, SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname,
    SYS_getsockopt, SYS_listen, SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open,
    SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink, SYS_msgctl, SYS_msgget, SYS_msgrcv,
    SYS_msgsnd, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_semctl, SYS_semget, SYS_semop,
    SYS_semtimedop, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_setsockopt, SYS_shutdown,
];

/// What newer architectures have only in the newer form. uprobe and uretprobe are made by the
/// kernel's own tracing of a program.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[c_long] = &[
    SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_creat, SYS_dup2,
    SYS_epoll_create, SYS_epoll_wait, SYS_eventfd, SYS_fork, SYS_futimesat, SYS_getdents,
    SYS_getpgrp, SYS_getrlimit, SYS_inotify_init, SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir,
    SYS_mknod, SYS_open, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_renameat,
    SYS_rmdir, SYS_select, SYS_setrlimit, SYS_signalfd, SYS_stat, SYS_symlink,
    SYS_sync_file_range, SYS_time, SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork,
    335, // uretprobe
    336, // uprobe
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[
    38,  // renameat
    84,  // sync_file_range
    163, // getrlimit
    164, // setrlimit
];

/// What namespaces of one's own are good for: mounting, entering, host names.
#[rustfmt::skip]
const NESTING: &[c_long] = &[
    SYS_fsconfig, SYS_fsmount, SYS_fsopen, SYS_fspick, SYS_mount, SYS_mount_setattr,
    SYS_move_mount, SYS_open_tree, number::OPEN_TREE_ATTR, SYS_pivot_root, SYS_setdomainname,
    SYS_sethostname, SYS_setns, SYS_umount2,
];

/// Refused to all. They act on the machine, not the container (clock, modules, swap, quotas, power),
/// or are not bound by namespaces (keys, open_by_handle_at past the root), or are large and often the
/// way into the kernel while few programs need them (io_uring, bpf, perf, userfaultfd, memory
/// policies). Most would fail for want of a capability too; here their code is not even reached.
#[rustfmt::skip]
const REFUSED: &[c_long] = &[
    SYS_acct, SYS_add_key, SYS_bpf, SYS_clock_settime, SYS_delete_module, SYS_fanotify_init,
    SYS_fanotify_mark, SYS_finit_module, SYS_get_mempolicy, SYS_init_module, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_io_uring_setup, SYS_kcmp, number::KEXEC_FILE_LOAD, SYS_kexec_load,
    SYS_keyctl, SYS_mbind, SYS_migrate_pages, SYS_move_pages, SYS_open_by_handle_at,
    SYS_perf_event_open, SYS_quotactl, SYS_quotactl_fd, SYS_reboot, SYS_request_key,
    SYS_set_mempolicy, SYS_set_mempolicy_home_node, SYS_settimeofday, SYS_swapoff, SYS_swapon,
    SYS_syslog, SYS_userfaultfd, SYS_vhangup,
];

/// Likewise: ports of the machine, and segments as 16-bit programs need them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[SYS_ioperm, SYS_iopl, SYS_modify_ldt];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[];
