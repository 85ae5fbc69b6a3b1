//! What a step may do: ids, capabilities, limits, system calls.

use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Failure, While as _};
use crate::step::{Security, Step};
use crate::users::Person;
use crate::wire::Spec;
use crate::{IdentityKind, seccomp, system};

/// What root of a step may do, within its own user namespace.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP);
/// The kernel knows fewer than this.
const CAPABILITIES: u32 = 64;
/// Open files when nothing else is asked for, as of a service under systemd (and so of current Docker): programs that
/// need more raise it, those that close every number up to it (`fakeroot`) stay quick, also under an emulator.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// Sets resource limits. Those above what this process may have are lowered to it.
pub(super) fn limits(step: &Step) -> Result<(), Failure> {
    let set = |resource: Resource, soft: Option<u64>, hard: Option<u64>| {
        let allowed = getrlimit(resource).maximum;
        let within = |limit: Option<u64>| match (limit, allowed) {
            (Some(limit), Some(allowed)) => Some(limit.min(allowed)),
            (limit, allowed) => limit.or(allowed),
        };
        let maximum = within(hard);
        let current = match (within(soft), maximum) {
            (Some(soft), Some(hard)) => Some(soft.min(hard)),
            (soft, hard) => soft.or(hard),
        };
        setrlimit(resource, Rlimit { current, maximum })
    };
    let doing = "limit the resources of the step";
    set(Resource::Core, Some(0), Some(0)).or_cannot(doing)?;
    set(Resource::Nofile, Some(OPEN_FILES.0), Some(OPEN_FILES.1)).or_cannot(doing)?;
    if step.limits.processes > 0 {
        let processes = Some(step.limits.processes);
        set(Resource::Nproc, processes, processes).or_cannot(doing)?;
    }
    for ulimit in &step.ulimits {
        let resource = match ulimit.name.as_str() {
            "as" => Resource::As,
            "core" => Resource::Core,
            "cpu" => Resource::Cpu,
            "data" => Resource::Data,
            "fsize" => Resource::Fsize,
            "locks" => Resource::Locks,
            "memlock" => Resource::Memlock,
            "msgqueue" => Resource::Msgqueue,
            "nice" => Resource::Nice,
            "nofile" => Resource::Nofile,
            "nproc" => Resource::Nproc,
            "rss" => Resource::Rss,
            "rtprio" => Resource::Rtprio,
            "rttime" => Resource::Rttime,
            "sigpending" => Resource::Sigpending,
            "stack" => Resource::Stack,
            other => return Err(Failure::step(format!("`{other}` is not a resource limit"))),
        };
        // Negative is unlimited.
        let (soft, hard) = (u64::try_from(ulimit.soft).ok(), u64::try_from(ulimit.hard).ok());
        set(resource, soft, hard).or_cannot(format!("set the limit `{}`", ulimit.name))?;
    }
    Ok(())
}

/// Becomes `person`, with no more privileges than a step may have.
pub(super) fn give_up(spec: &Spec, person: &Person) -> Result<(), Failure> {
    let doing = "give up privileges";
    let kept = match spec.step.security {
        Security::Sandbox => KEPT,
        Security::Insecure => CapabilitySet::all(),
    };
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability).or_cannot(doing)?;
            }
            Ok(_) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    rustix::thread::clear_ambient_capability_set().or_cannot(doing)?;
    let doing = format!("become user {}:{}", person.uid, person.gid);
    if spec.kind != IdentityKind::SingleId {
        let groups: Vec<_> = person.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
        rustix::thread::set_thread_groups(&groups).or_cannot(&doing)?;
    }
    let (uid, gid) = (Uid::from_raw(person.uid), Gid::from_raw(person.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).or_cannot(&doing)?;
    // The filter needs CAP_SYS_ADMIN, or else a flag that would break setuid programs.
    rustix::thread::set_keep_capabilities(true).or_cannot(&doing)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).or_cannot(&doing)?;
    rustix::thread::set_keep_capabilities(false).or_cannot(&doing)
}

/// Installs the filter, then drops what was kept for it. At exec a user other than root keeps nothing.
pub(super) fn filter(compatible32: bool) -> Result<(), Failure> {
    let doing = "filter the system calls of the step";
    let all = CapabilitySets {
        effective: KEPT | CapabilitySet::SYS_ADMIN,
        permitted: KEPT | CapabilitySet::SYS_ADMIN,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, all).or_cannot("keep few capabilities")?;
    system::install_filter(&seccomp::filter(compatible32)).or_cannot(doing)?;
    let kept =
        CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, kept).or_cannot(doing)
}
