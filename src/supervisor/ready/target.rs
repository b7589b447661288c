//! What a probe of the network is aimed at.

/// Host and port of `host:port`, where a host of IPv6 stands in brackets.
pub(crate) fn address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("`{text}` is no `host:port`");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let clean = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && !"/@?#[]".contains(c));
    if clean { Ok((host.to_owned(), port)) } else { Err(wrong()) }
}

/// The parts of `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the request names it: host, and port if it is not 80.
    pub(crate) authority: String,
    /// With its query; begins with a slash.
    pub(crate) path: String,
}

/// Takes a URL apart.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let wrong = || format!("`{text}` is no `http://host:port/path`");
    let rest = text.strip_prefix("http://").ok_or_else(|| {
        if text.starts_with("https://") { "a probe cannot speak https".to_owned() } else { wrong() }
    })?;
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err(wrong());
    }
    let has_port = !authority.ends_with(']') && authority.contains(':');
    let full = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let (host, port) = address(&full).map_err(|_| wrong())?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = path.split('#').next().unwrap_or("/").to_owned();
    Ok(Url { host, port, authority: authority.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(address("localhost:80"), Ok(("localhost".to_owned(), 80)));
        assert_eq!(address("[::1]:8080"), Ok(("::1".to_owned(), 8080)));
        for text in ["", "80", ":80", "localhost", "localhost:", "localhost:0", "localhost:99999", "::1:80"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(address("a b:80").is_err() && address("[::1:80").is_err() && address("a/b:80").is_err());
    }

    #[test]
    fn urls_are_taken_apart() {
        let full = url("http://localhost:8000/health?deep=1#part").unwrap();
        assert_eq!((full.host.as_str(), full.port), ("localhost", 8000));
        assert_eq!((full.authority.as_str(), full.path.as_str()), ("localhost:8000", "/health?deep=1"));
        assert_eq!(url("http://[::1]").unwrap().port, 80);
        assert_eq!(url("http://a?b").unwrap().path, "/?b");
        for text in ["", "http://", "ftp://a", "https://a", "http://a:b", "http://u@a", "http://a/\r\nX: y"] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
