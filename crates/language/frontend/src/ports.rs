//! EXPOSE: `[ip:][public:]private[/protocol]`, each a number or a range.

use std::net::IpAddr;

/// Ports as the configuration has them, `80/tcp`, and whether `spec` says more than EXPOSE means.
pub(crate) struct Ports {
    pub(crate) list: Vec<String>,
    /// It names an address or a port of the host, which does nothing.
    pub(crate) publishes: bool,
    /// The protocol is not in lower case.
    pub(crate) odd_case: bool,
}

/// Reads one argument of EXPOSE.
pub(crate) fn parse(spec: &str) -> Result<Ports, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (ip, host, container) = match parts.as_slice() {
        [] => (String::new(), "", ""),
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [ip @ .., host, container] => (ip.join(":"), *host, *container),
    };
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(format!("invalid port: {spec:?}: no port specified"));
    }
    let lower = match protocol.to_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(format!("invalid port: {spec:?}: invalid proto: {protocol}")),
    };
    let bare = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    let (start, end) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
    if !host.is_empty() {
        let (first, last) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if end != start && end - start != last - first {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {port} and {host}"
            ));
        }
    }
    Ok(Ports {
        list: (start..=end).map(|port| format!("{port}/{lower}")).collect(),
        publishes: !ip.is_empty() || !host.is_empty(),
        odd_case: protocol != protocol.to_lowercase(),
    })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>().ok();
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((start, end)) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then_some((start, end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_listed() {
        let ports = |spec: &str| parse(spec).map(|ports| ports.list.join(" "));
        assert_eq!(ports("80"), Ok("80/tcp".into()));
        assert_eq!(ports("53/UDP"), Ok("53/udp".into()));
        assert_eq!(ports("80-82/tcp"), Ok("80/tcp 81/tcp 82/tcp".into()));
        assert_eq!(ports("[::1]:8080:80"), Ok("80/tcp".into()));
        assert_eq!(ports("127.0.0.1:80:80"), Ok("80/tcp".into()));
        for wrong in ["", "x", "70000", "82-80", "80/foo", "a:1:2", "1-2:3-5"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
