//! Pure. Which addresses a webhook may have.

/// The longest address of a webhook, bytes.
const LONGEST: usize = 2048;

/// Whether deliveries may be sent to this address: https, or http to this very machine by number (a
/// name such as `localhost` is what the resolver says it is). The address itself is in no error: it
/// may be the secret.
///
/// # Errors
/// What is wrong, and the mend.
pub fn webhook_url(url: &str) -> Result<(), (&'static str, &'static str)> {
    const SHAPE: &str = "write it as https://receiver.example/path";
    if url.len() > LONGEST {
        return Err(("is longer than 2048 bytes", SHAPE));
    }
    if !url.chars().all(|c| c.is_ascii_graphic()) {
        return Err(("holds what an address cannot", SHAPE));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(("is no URL", SHAPE));
    };
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if host.is_empty() {
        return Err(("names no host", SHAPE));
    }
    if host.contains('@') {
        return Err((
            "has a user name or a password in it",
            "give such things as `headers`, from a file",
        ));
    }
    let name = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        "http" => Err((
            "is plain HTTP to another host",
            "write https: on the way it could be read, and changed",
        )),
        _ => Err(("is no address for a webhook", SHAPE)),
    }
}
