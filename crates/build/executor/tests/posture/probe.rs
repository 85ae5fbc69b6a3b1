//! The inside: prints one line for each thing it tries.
#![expect(unsafe_code, reason = "tries system calls by number")]

use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub(crate) const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// `port of the host's loopback, abstract socket of the host, directory of the host, namespaces of the host`
pub(crate) fn probe(args: &[String]) {
    status();
    for (index, kind) in NAMESPACES.iter().enumerate() {
        let own = fs_err::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
        let shared = args.get(3 + index) == Some(&own);
        println!("namespace {kind} = {}", if shared { "shared" } else { "own" });
    }
    surroundings(&args[2]);
    calls();
    files();
    devices();
    network(args[0].parse().unwrap(), &args[1]);
}

fn status() {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if ["Uid", "Gid", "NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .contains(&name)
        {
            println!("status {name} = {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap();
    let outer: u32 = map.split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap();
    println!("root of the outer namespace is mapped = {}", outer == 0);
    let limits = fs_err::read_to_string("/proc/self/limits").unwrap();
    for name in ["Max core file size", "Max processes"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let numbers: Vec<_> = line.split_whitespace().take(2).collect();
        println!("limit {name} = {}", numbers.join(" "));
    }
    // The hard limit is at most what the machine allows.
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    println!("soft limit of open files = {}", line.split_whitespace().next().unwrap());
}

fn surroundings(host_directory: &str) {
    let processes = fs_err::read_dir("/proc").unwrap().flatten();
    let processes =
        processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    println!("processes seen = {}", processes.count());
    let mut open: Vec<_> = fs_err::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| {
            // Not the descriptor of the directory that is being read.
            fs_err::read_link(entry.path()).is_ok_and(|target| !target.starts_with("/proc"))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    open.sort();
    println!("open descriptors = {}", open.join(" "));
    let mut env: Vec<_> =
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    env.sort();
    println!("environment = {}", env.join(" "));
    println!("host name = {}", fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    println!("mounts name the store = {}", mounts.contains(host_directory));
    println!("binfmt_misc in reach = {}", Path::new("/proc/sys/fs/binfmt_misc/register").exists());
    println!(
        "program of process 1 can be written = {}",
        answer(|| open_for(c"/proc/1/exe", libc::O_WRONLY))
    );
}

fn errno() -> String {
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
    let name = match number {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EACCES => "EACCES",
        libc::EROFS => "EROFS",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::ETXTBSY => "ETXTBSY",
        libc::EFAULT => "EFAULT",
        libc::EBADF => "EBADF",
        libc::ENOTTY => "ENOTTY",
        libc::ECONNREFUSED => "ECONNREFUSED",
        _ => return number.to_string(),
    };
    name.to_owned()
}

fn answer(call: impl FnOnce() -> i64) -> String {
    if call() < 0 { errno() } else { "ok".to_owned() }
}

fn open_for(path: &std::ffi::CStr, flags: i32) -> i64 {
    // SAFETY: a valid path; the descriptor is leaked, which a probe may.
    i64::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_NONBLOCK | libc::O_CLOEXEC) })
}

/// A system call with up to five plain arguments.
fn call(number: libc::c_long, arguments: [i64; 5]) -> i64 {
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: calls are tried with null pointers and small numbers, which the kernel checks.
    unsafe { libc::syscall(number, first, second, third, fourth, fifth) }
}

fn calls() {
    let newuser = i64::from(libc::CLONE_NEWUSER);
    let newns = i64::from(libc::CLONE_NEWNS);
    let raw = i64::from(libc::SOCK_RAW);
    let stream = i64::from(libc::SOCK_STREAM);
    let path = c"/probe".as_ptr() as i64;
    let table: &[(&str, libc::c_long, [i64; 5])] = &[
        ("unshare user", libc::SYS_unshare, [newuser, 0, 0, 0, 0]),
        ("unshare mount", libc::SYS_unshare, [newns, 0, 0, 0, 0]),
        ("unshare files", libc::SYS_unshare, [i64::from(libc::CLONE_FILES), 0, 0, 0, 0]),
        ("clone user", libc::SYS_clone, [newuser | i64::from(libc::SIGCHLD), 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 5]),
        ("setns", libc::SYS_setns, [0; 5]),
        ("mount", libc::SYS_mount, [0; 5]),
        ("umount", libc::SYS_umount2, [path, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [path, path, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [-100, path, 1, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [0; 5]),
        ("fsopen", libc::SYS_fsopen, [0; 5]),
        ("fsmount", libc::SYS_fsmount, [0; 5]),
        ("mount_setattr", libc::SYS_mount_setattr, [0; 5]),
        ("swapon", libc::SYS_swapon, [path, 0, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, [0; 5]),
        ("kexec_load", libc::SYS_kexec_load, [0; 5]),
        ("init_module", libc::SYS_init_module, [0; 5]),
        ("finit_module", libc::SYS_finit_module, [0; 5]),
        ("bpf", libc::SYS_bpf, [0; 5]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 5]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 5]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0; 5]),
        ("add_key", libc::SYS_add_key, [0; 5]),
        ("request_key", libc::SYS_request_key, [0; 5]),
        ("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0]),
        ("acct", libc::SYS_acct, [0; 5]),
        ("quotactl", libc::SYS_quotactl, [0; 5]),
        ("settimeofday", libc::SYS_settimeofday, [0; 5]),
        ("clock_settime", libc::SYS_clock_settime, [0; 5]),
        ("sethostname", libc::SYS_sethostname, [path, 3, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 5]),
        ("fanotify_init", libc::SYS_fanotify_init, [0; 5]),
        ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]),
        ("mbind", libc::SYS_mbind, [0; 5]),
        ("move_pages", libc::SYS_move_pages, [0; 5]),
        ("lookup_dcookie", libc::SYS_lookup_dcookie, [0; 5]),
        ("vhangup", libc::SYS_vhangup, [0; 5]),
        ("nfsservctl", libc::SYS_nfsservctl, [0; 5]),
        ("number 1000", 1000, [0; 5]),
        ("personality query", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0]),
        ("personality without randomisation", libc::SYS_personality, [0x4_0000, 0, 0, 0, 0]),
        ("ioctl TIOCSTI", libc::SYS_ioctl, [0, 0x5412, path, 0, 0]),
        ("ioctl TIOCLINUX", libc::SYS_ioctl, [0, 0x541c, path, 0, 0]),
        ("socket tcp", libc::SYS_socket, [2, stream, 0, 0, 0]),
        ("socket raw", libc::SYS_socket, [2, raw, 1, 0, 0]),
        ("socket packet", libc::SYS_socket, [17, raw, 0, 0, 0]),
        ("socket vsock", libc::SYS_socket, [40, stream, 0, 0, 0]),
        ("socket alg", libc::SYS_socket, [38, 5, 0, 0, 0]),
        ("socket audit", libc::SYS_socket, [16, raw, 9, 0, 0]),
        (
            "mknod character",
            libc::SYS_mknodat,
            [-100, c"/char".as_ptr() as i64, 0o020_600, 0x103, 0],
        ),
        ("mknod block", libc::SYS_mknodat, [-100, c"/block".as_ptr() as i64, 0o060_600, 0x800, 0]),
        ("mknod fifo", libc::SYS_mknodat, [-100, c"/fifo".as_ptr() as i64, 0o010_600, 0, 0]),
        ("chroot", libc::SYS_chroot, [c"/".as_ptr() as i64, 0, 0, 0, 0]),
        ("ptrace own children", libc::SYS_ptrace, [0; 5]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        ("setuid 0", libc::SYS_setuid, [0; 5]),
    ];
    for (name, number, arguments) in table {
        println!("call {name} = {}", answer(|| call(*number, *arguments)));
    }
}

fn files() {
    for path in [
        c"/proc/sys/kernel/core_pattern",
        c"/proc/sys/kernel/hostname",
        c"/proc/sys/vm/drop_caches",
        c"/proc/sys/net/ipv4/ip_forward",
        c"/proc/irq/default_smp_affinity",
        c"/proc/self/oom_score_adj",
        c"/sys/kernel/mm/transparent_hugepage/enabled",
        c"/sys/fs/cgroup/cgroup.procs",
        c"/sys/fs/cgroup/release_agent",
        c"/etc/hosts",
        c"/etc/resolv.conf",
        c"/usr/bin/env",
        c"/probe",
        c"/dev/null",
        c"/dev/kmsg",
        c"/dev/mem",
    ] {
        println!(
            "write {} = {}",
            path.to_string_lossy(),
            answer(|| open_for(path, libc::O_WRONLY))
        );
    }
    for path in [
        "/proc/kallsyms",
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/interrupts",
        "/proc/config.gz",
        "/proc/kmsg",
        "/proc/key-users",
        "/proc/1/environ",
        "/proc/1/cmdline",
    ] {
        // Short reads only: some of these never end when they are not hidden.
        use std::io::Read as _;
        let mut some = Vec::new();
        let read = fs_err::File::open(path).and_then(|file| file.take(64).read_to_end(&mut some));
        let said = match read {
            Ok(0) => "empty".to_owned(),
            Ok(_) => "content".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        println!("read {path} = {said}");
    }
    for path in ["/sys/firmware", "/sys/fs/cgroup", "/sys/kernel/debug", "/proc/acpi"] {
        let entries = fs_err::read_dir(path).map(Iterator::count);
        println!("list {path} = {}", entries.map_or("none".to_owned(), |count| count.to_string()));
    }
}

fn devices() {
    let mut names: Vec<_> = fs_err::read_dir("/dev")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    println!("devices = {}", names.join(" "));
    for path in
        [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom", c"/dev/ptmx"]
    {
        println!("open {} = {}", path.to_string_lossy(), answer(|| open_for(path, libc::O_RDWR)));
    }
    println!(
        "open /dev/shm/x = {}",
        answer(|| open_for(c"/dev/shm/x", libc::O_RDWR | libc::O_CREAT))
    );
}

fn network(port: u16, name: &str) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let reached = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    println!("loopback of the host = {}", if reached.is_ok() { "reached" } else { "refused" });
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let reached = UnixStream::connect_addr(&address);
    println!(
        "abstract sockets of the host = {}",
        if reached.is_ok() { "reached" } else { "refused" }
    );
    let own = std::net::TcpListener::bind("127.0.0.1:80");
    println!(
        "own loopback, low port = {}",
        own.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
    );
    let mut names: Vec<_> = fs_err::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    println!("interfaces = {}", names.join(" "));
}
