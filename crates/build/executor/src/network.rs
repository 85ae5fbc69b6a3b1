//! How a step's network is connected.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::step::{HostEntry, Network};

/// What the sandbox does about the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Plan {
    Host,
    Loopback,
    Relay(Relay),
}

/// A user-mode relay between a network namespace and the host's sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Relay {
    Pasta(PathBuf),
    Slirp4netns(PathBuf),
}

/// Where relays are looked for: never in an image, never in the caller's `PATH`.
const SEARCH: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];
/// The address at which pasta is told to answer name look-ups.
const PASTA_RESOLVER: &str = "169.254.1.1";
/// The address at which slirp4netns answers them.
const SLIRP_RESOLVER: &str = "10.0.2.3";

const NO_RELAY: &str = "steps share the host's network: neither `pasta` nor `slirp4netns` is installed \
                        (`apt-get install passt` gives steps a network of their own)";

/// What can be had of what is wanted, and what the user should be told if that is less.
pub(crate) fn plan(wanted: Network) -> (Plan, Option<&'static str>) {
    match wanted {
        Network::Host => (Plan::Host, None),
        Network::None => (Plan::Loopback, None),
        Network::Private => match find() {
            Some(relay) => (Plan::Relay(relay), None),
            None => (Plan::Host, Some(NO_RELAY)),
        },
    }
}

fn find() -> Option<Relay> {
    let search = |name: &str| {
        SEARCH.iter().map(|place| PathBuf::from(place).join(name)).find(|path| path.is_file())
    };
    search("pasta").map(Relay::Pasta).or_else(|| search("slirp4netns").map(Relay::Slirp4netns))
}

impl Relay {
    /// Connects the network namespace of `process`. Returns when packets can flow; the relay ends with the child.
    #[expect(clippy::disallowed_methods, reason = "relays are started here only, by absolute path")]
    pub(crate) fn start(&self, process: i32) -> std::io::Result<Child> {
        let mut command = match self {
            Self::Pasta(path) => {
                let mut command = Command::new(path);
                let namespace = format!("/proc/{process}/ns/net");
                command.args(["--config-net", "--quiet", "--foreground", "--runas", "0:0"]);
                command.args([
                    "--no-map-gw",
                    "-t",
                    "none",
                    "-u",
                    "none",
                    "-T",
                    "none",
                    "-U",
                    "none",
                ]);
                command.args(["--dns-forward", PASTA_RESOLVER, "--netns", &namespace]);
                command
            }
            Self::Slirp4netns(path) => {
                let mut command = Command::new(path);
                command.args(["--configure", "--mtu=65520", "--disable-host-loopback"]);
                command.args([&process.to_string(), "tap0"]);
                command
            }
        };
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }
}

/// `/etc/resolv.conf` of a step.
pub(crate) fn resolv_conf(plan: &Plan) -> String {
    let host = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    match plan {
        Plan::Host => host,
        Plan::Loopback => String::new(),
        Plan::Relay(relay) => {
            let resolver = match relay {
                Relay::Pasta(_) => PASTA_RESOLVER,
                Relay::Slirp4netns(_) => SLIRP_RESOLVER,
            };
            let kept = host.lines().filter(|line| {
                matches!(line.split_whitespace().next(), Some("search" | "domain" | "options"))
            });
            let mut text = format!("nameserver {resolver}\n");
            for line in kept {
                text.push_str(line);
                text.push('\n');
            }
            text
        }
    }
}

/// `/etc/hosts` of a step, as BuildKit writes it.
pub(crate) fn hosts(hostname: &str, extra: &[HostEntry]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for HostEntry { host, address } in extra {
        text.extend([address.to_string().as_str(), "\t", host, "\n"]);
    }
    text
}
