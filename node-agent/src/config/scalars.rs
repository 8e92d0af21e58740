//! Durations, sizes, names and hosts as people write them.

use std::time::Duration;

use super::HostPort;

/// `90d`, `10m`, `30s`, `250ms`, `12h`, `2w`. A number without a unit is refused: nobody
/// remembers which one was meant.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// `20GiB`, `64MiB`, `500MB`, `1024B`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A name that can stand in a metric label, a file name and a policy: letters, digits, `-`, `_`
/// and `.`, at most 64, a letter or digit first.
pub(super) fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 64
        && text.bytes().all(legal)
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// A DNS name. Addresses are not names.
pub(super) fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253
        && text.split('.').all(label)
        && text.parse::<std::net::IpAddr>().is_err()
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// `host`, `host:port`, `10.0.0.1:5432` or `[::1]:5432`.
pub(super) fn host_port(text: &str, default: u16) -> Option<HostPort> {
    let at = |host: String, port| Some(HostPort { host, port });
    if let Ok(addr) = text.parse::<std::net::IpAddr>() {
        return at(addr.to_string(), default);
    }
    if let Ok(addr) = text.parse::<std::net::SocketAddr>() {
        return at(addr.ip().to_string(), addr.port()).filter(|h| h.port != 0);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|p| *p != 0)?),
        None => (text, default),
    };
    if is_host(host) {
        at(host.to_owned(), port)
    } else {
        None
    }
}

/// Is it an absolute path, or an abstract name behind an `@`, that fits into a unix socket's address
/// (unix(7))?
pub(super) fn is_unix_socket(text: &str) -> bool {
    const LONGEST: usize = 107;
    let begins = text.starts_with('/') || text.starts_with('@');
    begins && text.len() > 1 && text.len() <= LONGEST && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [
            ("90d", Some(7_776_000_000)),
            ("10m", Some(600_000)),
            ("30 s", Some(30_000)),
            ("250ms", Some(250)),
            ("2w", Some(1_209_600_000)),
            ("30", None),
            ("", None),
            ("d", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999999s", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn sizes_tell_thousands_from_kibi() {
        for (text, bytes) in [
            ("20GiB", Some(20 << 30)),
            ("64MiB", Some(64 << 20)),
            ("5MB", Some(5_000_000)),
            ("12B", Some(12)),
            ("12", None),
            ("1gib", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn hosts_and_ports_read_as_they_are_meant() {
        let at = |host: &str, port| {
            Some(HostPort {
                host: host.to_owned(),
                port,
            })
        };
        for (text, reads) in [
            ("db.example:6432", at("db.example", 6432)),
            ("db.example", at("db.example", 5432)),
            ("10.0.0.1:6432", at("10.0.0.1", 6432)),
            ("10.0.0.1", at("10.0.0.1", 5432)),
            ("[::1]:6432", at("::1", 6432)),
            ("::1", at("::1", 5432)),
            ("db.example:0", None),
            ("10.0.0.1:0", None),
            ("db.example:99999", None),
            ("999.1.1.1:5432", None),
            ("a b:5432", None),
            ("", None),
        ] {
            assert_eq!(host_port(text, 5432), reads, "{text}");
        }
    }
}
