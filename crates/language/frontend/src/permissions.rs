//! What a RUN asks for beyond the sandbox, and whether the build allows it.

use dockerfile::{Network, Run, Security};
use llb::pb;
use report::{Diagnostic, Span};

use crate::compiler::{Compiler, Stop};

/// What a step gets.
pub(crate) struct Permitted {
    pub(crate) network: pb::NetMode,
    pub(crate) security: pb::SecurityMode,
    pub(crate) devices: Vec<pb::CdiDevice>,
}

impl Compiler<'_> {
    /// What the flags of a RUN ask for, if that is allowed.
    pub(crate) fn permitted(&mut self, run: &Run, span: Span) -> Result<Permitted, Stop> {
        let network = match run.network {
            Network::Default => self.options.network,
            Network::None => pb::NetMode::None,
            Network::Host => pb::NetMode::Host,
        };
        if run.network == Network::Host && !self.options.allow_host_network {
            return self.refuse("--network=host", "--allow network.host", span);
        }
        let security = match run.security {
            Security::Sandbox => pb::SecurityMode::Sandbox,
            Security::Insecure => pb::SecurityMode::Insecure,
        };
        if run.security == Security::Insecure && !self.options.allow_insecure {
            let way_out = "--allow security.insecure, for Dockerfiles you trust";
            return self.refuse("--security=insecure", way_out, span);
        }
        let mut devices = Vec::with_capacity(run.devices.len());
        for (device, place) in &run.devices {
            let name = device.name.clone();
            if !self.options.allow_devices.allows(&name) {
                let way_out = format!("--allow device={name}, or --allow device for all");
                return self.refuse(&format!("--device={name}"), &way_out, *place);
            }
            devices.push(pb::CdiDevice { name, optional: !device.required });
        }
        Ok(Permitted { network, security, devices })
    }

    fn refuse(&mut self, flag: &str, way_out: &str, span: Span) -> Result<Permitted, Stop> {
        let message = format!("RUN {flag} is not allowed for this build");
        self.report(Diagnostic::error(message, span).hint(format!("allow it with {way_out}")));
        Err(Stop)
    }
}
