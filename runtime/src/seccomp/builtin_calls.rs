//! The lists of the built-in profile.

/// Allowed whatever the arguments, by what they are for.
#[rustfmt::skip]
pub(super) const ALLOWED: &[(&str, &[&str])] = &[
    (
        "open files",
        &[
            "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "fadvise64", "fallocate",
            "fcntl", "fdatasync", "flock", "fsync", "ftruncate", "ioctl", "lseek", "memfd_create", "memfd_secret",
            "open", "openat", "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
            "pwritev2", "read", "readahead", "readv", "sendfile", "splice", "sync", "sync_file_range", "syncfs",
            "tee", "truncate", "vmsplice", "write", "writev", "cachestat",
        ],
    ),
    (
        "file trees",
        &[
            "access", "chdir", "chmod", "chown", "faccessat", "faccessat2", "fchdir", "fchmod", "fchmodat",
            "fchmodat2", "fchown", "fchownat", "file_getattr", "file_setattr", "fstat", "fstatfs", "futimesat",
            "getcwd", "getdents", "getdents64", "lchown", "link", "linkat", "listmount", "lstat", "mkdir",
            "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "readlink", "readlinkat", "rename",
            "renameat", "renameat2", "rmdir", "stat", "statfs", "statmount", "statx", "symlink", "symlinkat",
            "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes",
        ],
    ),
    (
        "extended attributes",
        &[
            "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr",
            "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat",
            "setxattr", "setxattrat",
        ],
    ),
    (
        "waiting for files",
        &[
            "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
            "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "inotify_add_watch", "inotify_init",
            "inotify_init1", "inotify_rm_watch", "fanotify_mark", "poll", "ppoll", "pselect6", "select", "signalfd",
            "signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
        ],
    ),
    (
        "asynchronous input and output",
        &[
            "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioprio_get",
            "ioprio_set",
        ],
    ),
    (
        "memory",
        &[
            "brk", "madvise", "map_shadow_stack", "membarrier", "mincore", "mlock", "mlock2", "mlockall", "mmap",
            "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free",
            "pkey_mprotect", "process_mrelease", "remap_file_pages",
        ],
    ),
    (
        "processes",
        &[
            "arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "getpgid", "getpgrp", "getpid",
            "getppid", "getpriority", "getrlimit", "getrusage", "getsid", "gettid", "kill", "pause", "pidfd_open",
            "pidfd_send_signal", "prctl", "prlimit64", "rseq", "set_tid_address", "setpgid", "setpriority",
            "setrlimit", "setsid", "tgkill", "times", "tkill", "vfork", "wait4", "waitid",
        ],
    ),
    // A tracer can go around seccomp before Linux 4.8 only; the tool needs a
    // newer one.
    (
        "debugging its own processes",
        &["process_vm_readv", "process_vm_writev", "ptrace"],
    ),
    (
        "users and capabilities",
        &[
            "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid", "getuid",
            "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid",
            "setuid",
        ],
    ),
    (
        "restricting oneself",
        &[
            "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
            "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr",
        ],
    ),
    (
        "signals",
        &[
            "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
            "rt_sigtimedwait", "rt_tgsigqueueinfo", "sigaltstack", "restart_syscall",
        ],
    ),
    (
        "time and timers",
        &[
            "adjtimex", "alarm", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer",
            "gettimeofday", "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
            "timer_gettime", "timer_settime",
        ],
    ),
    (
        "threads and scheduling",
        &[
            "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list",
            "get_thread_area", "getcpu", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
            "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
            "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "set_robust_list",
            "set_thread_area",
        ],
    ),
    (
        "sockets",
        &[
            "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
            "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
            "socketpair",
        ],
    ),
    (
        "System V and POSIX communication",
        &[
            "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl",
            "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt",
            "shmget",
        ],
    ),
    (
        "the system",
        &["getrandom", "modify_ldt", "sysinfo", "uname"],
    ),
    // The kernel's own return paths for probes in user space; it sends any other
    // caller a signal.
    ("probes", &["uprobe", "uretprobe"]),
];

/// Allowed to who has one of the capabilities: who may act by it needs the call.
#[rustfmt::skip]
pub(super) const CONDITIONAL: &[(&[&str], &[&str])] = &[
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (
        &["CAP_SYS_ADMIN"],
        &[
            "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie",
            "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "quotactl", "quotactl_fd",
            "setdomainname", "sethostname", "setns", "umount2", "unshare",
        ],
    ),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (&["CAP_SYS_ADMIN", "CAP_SYSLOG"], &["syslog"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (
        &["CAP_SYS_NICE"],
        &[
            "get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node",
        ],
    ),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (
        &["CAP_SYS_PTRACE"],
        &["kcmp", "pidfd_getfd", "process_madvise"],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (&["CAP_SYS_TIME"], &["clock_settime", "settimeofday"]),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
];

/// Allowed in 32-bit programs only, which have them for what 64-bit ones do by
/// calls in [`ALLOWED`]. `socketcall` says in memory which family a socket is to be
/// of, where a filter can't look: 32-bit libraries make no socket without it.
#[rustfmt::skip]
pub(super) const ALLOWED32: &[&str] = &[
    "_llseek", "_newselect", "chown32", "clock_adjtime64", "clock_getres_time64", "clock_gettime64",
    "clock_nanosleep_time64", "fadvise64_64", "fchown32", "fcntl64", "fstat64", "fstatat64", "fstatfs64",
    "ftruncate64", "futex_time64", "getegid32", "geteuid32", "getgid32", "getgroups32", "getresgid32",
    "getresuid32", "getuid32", "io_pgetevents_time64", "ipc", "lchown32", "lstat64", "mmap2",
    "mq_timedreceive_time64", "mq_timedsend_time64", "nice", "ppoll_time64", "pselect6_time64",
    "recvmmsg_time64", "rt_sigtimedwait_time64", "sched_rr_get_interval_time64", "semtimedop_time64",
    "sendfile64", "setfsgid32", "setfsuid32", "setgid32", "setgroups32", "setregid32", "setresgid32",
    "setresuid32", "setreuid32", "setuid32", "sigaction", "signal", "sigpending", "sigprocmask", "sigreturn",
    "sigsuspend", "socketcall", "stat64", "statfs64", "timer_gettime64", "timer_settime64", "timerfd_gettime64",
    "timerfd_settime64", "truncate64", "ugetrlimit", "utimensat_time64", "waitpid",
];

/// As [`CONDITIONAL`], in 32-bit programs only.
pub(super) const CONDITIONAL32: &[(&[&str], &[&str])] = &[
    (&["CAP_SYS_ADMIN"], &["umount"]),
    (&["CAP_SYS_TIME"], &["clock_settime64", "stime"]),
];

/// Never allowed in 32-bit programs: replaced long ago, or never made, and the
/// modes of a processor that no 64-bit kernel can run.
#[cfg(test)]
#[rustfmt::skip]
pub(super) const REFUSED32: &[&str] = &[
    "bdflush", "break", "ftime", "gtty", "idle", "lock", "mpx", "oldfstat", "oldlstat", "oldolduname", "oldstat",
    "olduname", "prof", "profil", "readdir", "sgetmask", "ssetmask", "stty", "ulimit", "vm86", "vm86old",
];

/// Allowed for some arguments; `builtin` has the tests.
#[cfg(test)]
pub(super) const TESTED: &[&str] = &["clone", "clone3", "personality", "socket"];

/// Never allowed, and why.
#[cfg(test)]
#[rustfmt::skip]
pub(super) const REFUSED: &[(&str, &[&str])] = &[
    (
        "keys have no namespace",
        &["add_key", "keyctl", "request_key"],
    ),
    (
        "a ring makes calls that no filter sees",
        &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    ),
    (
        "holding the kernel in a page fault helps exploits",
        &["userfaultfd"],
    ),
    (
        "the whole host",
        &[
            "kexec_file_load", "kexec_load", "migrate_pages", "move_pages", "nfsservctl", "pivot_root", "swapoff",
            "swapon", "sysfs", "ustat", "vserver",
        ],
    ),
    (
        "long gone",
        &[
            "_sysctl", "afs_syscall", "create_module", "get_kernel_syms", "getpmsg", "putpmsg", "query_module",
            "security", "tuxcall", "uselib",
        ],
    ),
];
