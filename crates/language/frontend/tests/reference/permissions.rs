//! What a RUN gets only when the build allows it.

use std::collections::BTreeSet;

use frontend::{AllowDevices, CompileOptions};
use llb::pb::{NetMode, SecurityMode};

use crate::support::{build, execs, options, told, told_of};

#[test]
fn run_security_insecure_needs_permission() {
    insta::assert_snapshot!(told_of("RUN --security=insecure x"), @"Dockerfile:2:1: RUN --security=insecure is not allowed for this build (allow it with --allow security.insecure, for Dockerfiles you trust)");
    let text = "FROM a\nRUN --security=insecure x\nRUN --security=sandbox y\n";
    let allowed = CompileOptions { allow_insecure: true, ..options(text) };
    let modes: Vec<i32> = execs(&build(&allowed)).iter().map(|exec| exec.security).collect();
    assert_eq!(modes, [SecurityMode::Insecure as i32, SecurityMode::Sandbox as i32]);
}

#[test]
fn run_network_host_needs_permission() {
    insta::assert_snapshot!(told_of("RUN --network=host x"), @"Dockerfile:2:1: RUN --network=host is not allowed for this build (allow it with --allow network.host)");
    let allowed =
        CompileOptions { allow_host_network: true, ..options("FROM a\nRUN --network=host x\n") };
    assert_eq!(execs(&build(&allowed))[0].network, NetMode::Host as i32);
}

#[test]
fn run_device_needs_permission() {
    insta::assert_snapshot!(told_of("RUN --device=vendor.com/gpu=0,required x"), @"Dockerfile:2:5: RUN --device=vendor.com/gpu=0 is not allowed for this build (allow it with --allow device=vendor.com/gpu=0, or --allow device for all)");
    let text = "FROM a\nRUN --device=vendor.com/gpu=0,required --device=vendor.com/gpu x\n";
    for allow in
        [AllowDevices::All, AllowDevices::Named(BTreeSet::from(["vendor.com/gpu".to_owned()]))]
    {
        let allowed = CompileOptions { allow_devices: allow, ..options(text) };
        let found: Vec<(String, bool)> = execs(&build(&allowed))[0]
            .cdi_devices
            .iter()
            .map(|device| (device.name.clone(), device.optional))
            .collect();
        assert_eq!(
            found,
            [("vendor.com/gpu=0".to_owned(), false), ("vendor.com/gpu".to_owned(), true)]
        );
    }
    let one = AllowDevices::Named(BTreeSet::from(["vendor.com/gpu=0".to_owned()]));
    let told = told(&CompileOptions { allow_devices: one, ..options(text) });
    assert!(told.contains("--device=vendor.com/gpu is not allowed"), "{told}");
}
