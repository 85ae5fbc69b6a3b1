//! How a step's network is connected.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

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
pub(crate) fn plan(wanted: Network) -> (Plan, Option<String>) {
    match wanted {
        Network::Host => (Plan::Host, None),
        Network::None => (Plan::Loopback, None),
        Network::Private => {
            if let Some(note) = RELAY_FAILED.get() {
                return (Plan::Host, Some(note.clone()));
            }
            find().map_or_else(
                || (Plan::Host, Some(NO_RELAY.to_owned())),
                |relay| (Plan::Relay(relay), None),
            )
        }
    }
}

fn find() -> Option<Relay> {
    let search = |name: &str| {
        SEARCH.iter().map(|place| PathBuf::from(place).join(name)).find(|path| path.is_file())
    };
    search("pasta").map(Relay::Pasta).or_else(|| search("slirp4netns").map(Relay::Slirp4netns))
}

/// Said once, then no step waits for the relay again.
static RELAY_FAILED: OnceLock<String> = OnceLock::new();

/// Remembers that the relay that is installed cannot work. What the user is told.
pub(crate) fn relay_failed(reason: &str) -> String {
    RELAY_FAILED.get_or_init(|| format!("steps share the host's network: {reason}")).clone()
}

impl Relay {
    fn name(&self) -> &'static str {
        match self {
            Self::Pasta(_) => "pasta",
            Self::Slirp4netns(_) => "slirp4netns",
        }
    }

    /// Why a relay that was started ended or does not answer.
    pub(crate) fn reason(&self, mut relay: Child) -> String {
        // It may have ended already.
        let _ignored = relay.kill();
        let mut said = String::new();
        if let Some(stderr) = relay.stderr.take() {
            // What cannot be read cannot be told.
            let _ignored = stderr.take(4096).read_to_string(&mut said);
        }
        let _ignored = relay.wait();
        let mut lines = said.lines().filter(|line| !line.contains("syslog"));
        let said = lines.next_back().unwrap_or("it does not answer").trim();
        format!("`{}` cannot connect a step: {said}", self.name())
    }

    /// Starts to connect the network namespace of `process`; a route appears there when it is done.
    #[expect(clippy::disallowed_methods, reason = "relays are started here only, by absolute path")]
    pub(crate) fn start(&self, process: i32) -> std::io::Result<Child> {
        let mut input = Stdio::null();
        let mut command = match self {
            Self::Pasta(path) => {
                let mut command = Command::new(path);
                // It gives up the privilege to open the namespace by itself before it does.
                let namespace = fs_err::File::open(format!("/proc/{process}/ns/net"))?;
                input = namespace.into_file().into();
                command.args([
                    "--config-net",
                    "--quiet",
                    "--foreground",
                    "--netns-only",
                    "--runas",
                    "0:0",
                ]);
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
                command.args(["--dns-forward", PASTA_RESOLVER, "--netns", "/proc/self/fd/0"]);
                command
            }
            Self::Slirp4netns(path) => {
                let mut command = Command::new(path);
                command.args(["--configure", "--mtu=65520", "--disable-host-loopback"]);
                command.args([&process.to_string(), "tap0"]);
                command
            }
        };
        crate::system::die_with_parent(&mut command);
        command.env_clear().stdin(input).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
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
