//! The numbers of refused calls, for each kind of system call a machine takes.

use super::Question;

/// Calls of one kind.
#[derive(Debug)]
pub(super) struct Section {
    /// `AUDIT_ARCH_…`.
    pub(super) architecture: u32,
    /// Fail with EPERM.
    pub(super) refused: Vec<u32>,
    /// Fail with ENOSYS, so that programs fall back.
    pub(super) missing: Vec<u32>,
    /// Allowed in some forms.
    pub(super) asked: Vec<(u32, Question)>,
    /// The newest call that was judged; later ones are missing.
    pub(super) newest: u32,
    /// Calls far above the others that every program of the kind needs.
    pub(super) private: Option<(u32, u32)>,
}

/// `removexattrat`; from 424 on, calls have the same number everywhere.
const NEWEST: u32 = 466;
/// From 424 on: mounts, `io_uring`, quotas, lists of mounts, security attributes.
const REFUSED_EVERYWHERE: [u32; 15] = [
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    428, // open_tree
    429, // move_mount
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    443, // quotactl_fd
    450, // set_mempolicy_home_node
    457, // statmount
    458, // listmount
    460, // lsm_set_self_attr
];
/// Its arguments are in memory where no filter can look, so libraries are made to use `clone`.
const CLONE3: u32 = 435;

/// Not among the names of every C library.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// The kinds of call this machine takes, its own first.
pub(super) fn sections(compatible32: bool) -> Vec<Section> {
    let mut sections = vec![native()];
    #[cfg(target_arch = "x86_64")]
    sections.push(x86(compatible32));
    #[cfg(target_arch = "aarch64")]
    sections.push(arm());
    // Only 32-bit x86 has a call that hides others.
    let _ = compatible32;
    for section in &mut sections {
        section.refused.extend(REFUSED_EVERYWHERE);
        section.missing.push(CLONE3);
    }
    sections
}

/// Calls this program is itself compiled with.
fn native() -> Section {
    let number = |number: libc::c_long| u32::try_from(number).unwrap_or(u32::MAX);
    let common = [
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_finit_module,
        libc::SYS_get_mempolicy,
        libc::SYS_init_module,
        libc::SYS_kcmp,
        KEXEC_FILE_LOAD,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_mbind,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_move_pages,
        libc::SYS_nfsservctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_pivot_root,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_set_mempolicy,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ];
    let mut refused: Vec<u32> = common.map(number).into();
    #[cfg(target_arch = "x86_64")]
    refused.extend(
        [
            libc::SYS__sysctl,
            libc::SYS_ioperm,
            libc::SYS_iopl,
            libc::SYS_sysfs,
            libc::SYS_uselib,
            libc::SYS_ustat,
        ]
        .map(number),
    );
    refused.sort_unstable();
    Section {
        architecture: if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 },
        refused,
        missing: Vec::new(),
        asked: vec![
            (number(libc::SYS_clone), Question::Namespaces),
            (number(libc::SYS_unshare), Question::Namespaces),
            (number(libc::SYS_ioctl), Question::Terminal),
            (number(libc::SYS_personality), Question::Personality),
            (number(libc::SYS_socket), Question::Socket),
        ],
        newest: NEWEST,
        private: None,
    }
}

/// 32-bit calls on amd64. `socketcall` makes any socket and hides which, so only steps whose own programs need it
/// have it.
#[cfg(target_arch = "x86_64")]
fn x86(compatible32: bool) -> Section {
    const SOCKETCALL: u32 = 102;
    Section {
        architecture: 0x4000_0003,
        refused: vec![
            21, 22, 25, 51, 52, 62, 74, 79, 86, 87, 88, 101, 103, 110, 111, 113, 115, 121, 127,
            128, 129, 130, 131, 134, 135, 149, 166, 167, 169, 188, 189, 217, 253, 264, 273, 274,
            275, 276, 283, 286, 287, 288, 294, 317, 336, 338, 342, 346, 349, 350, 357, 374, 404,
        ],
        missing: if compatible32 { Vec::new() } else { vec![SOCKETCALL] },
        asked: vec![
            (54, Question::Terminal),
            (120, Question::Namespaces),
            (136, Question::Personality),
            (310, Question::Namespaces),
            (359, Question::Socket),
        ],
        newest: NEWEST,
        private: None,
    }
}

/// 32-bit calls on arm64.
#[cfg(target_arch = "aarch64")]
fn arm() -> Section {
    Section {
        architecture: 0x4000_0028,
        refused: vec![
            21, 51, 52, 62, 74, 79, 86, 87, 88, 103, 111, 115, 121, 128, 129, 131, 134, 135, 149,
            169, 218, 249, 262, 309, 310, 311, 313, 319, 320, 321, 344, 347, 364, 367, 371, 375,
            378, 379, 386, 388, 400, 401, 404,
        ],
        missing: Vec::new(),
        asked: vec![
            (54, Question::Terminal),
            (120, Question::Namespaces),
            (136, Question::Personality),
            (281, Question::Socket),
            (337, Question::Namespaces),
        ],
        newest: NEWEST,
        // Breakpoint, cache flush, thread pointer.
        private: Some((0xf_0001, 0xf_0006)),
    }
}
