//! Names of unix sockets (unix(7)).

use std::fmt;
use std::str::FromStr;

use node_agent_common::layer::{LONGEST, UnixName};

/// The name of a unix socket: a path, or an abstract name behind an `@`. It is compared letter by
/// letter with what a workload writes into its call: another spelling of one path is another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixPath(String);

/// The text is no name of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an absolute path, or @ and an abstract name, of at most 107 bytes")]
pub struct NotAUnixPath;

impl FromStr for UnixPath {
    type Err = NotAUnixPath;

    fn from_str(text: &str) -> Result<Self, NotAUnixPath> {
        let named = text.len() > 1 && (text.starts_with('/') || text.starts_with('@'));
        // A path needs room for the zero byte behind it, an abstract name for the one before.
        let fits = text.len() < LONGEST && !text.contains('\0');
        (named && fits)
            .then(|| UnixPath(text.to_owned()))
            .ok_or(NotAUnixPath)
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl UnixPath {
    /// As the kernel programs compare it.
    pub(super) fn key(&self) -> UnixName {
        let mut key = UnixName {
            length: 0,
            zero: 0,
            name: [0; 112],
        };
        let bytes = self.0.as_bytes();
        for (to, from) in key.name.iter_mut().zip(bytes) {
            *to = *from;
        }
        if let (true, [first, ..]) = (bytes.first() == Some(&b'@'), &mut key.name) {
            *first = 0;
            key.length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        }
        key
    }
}

/// A name that was refused, as configuration would write it. What cannot be printed is shown so.
pub(super) fn shown(name: &[u8]) -> String {
    match name {
        [] => "(no name that can be read)".to_owned(),
        [0, rest @ ..] => format!("@{}", rest.escape_ascii()),
        path => {
            let end = path.iter().position(|byte| *byte == 0);
            let path = end.and_then(|end| path.get(..end)).unwrap_or(path);
            path.escape_ascii().to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_absolute_or_abstract_and_fits() {
        for (text, good) in [
            ("/run/app.sock".to_owned(), true),
            ("@app".to_owned(), true),
            ("app.sock".to_owned(), false),
            ("/".to_owned(), false),
            ("@".to_owned(), false),
            (String::new(), false),
            (format!("/{}", "a".repeat(106)), true),
            (format!("/{}", "a".repeat(107)), false),
            ("/a\0b".to_owned(), false),
        ] {
            assert_eq!(text.parse::<UnixPath>().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn an_abstract_name_has_its_length_and_a_path_has_none() {
        let path = "/run/x".parse::<UnixPath>().unwrap().key();
        assert_eq!((path.length, &path.name[..8]), (0, &b"/run/x\0\0"[..]));
        let name = "@abc".parse::<UnixPath>().unwrap().key();
        assert_eq!((name.length, &name.name[..5]), (4, &b"\0abc\0"[..]));
    }

    #[test]
    fn a_refused_name_is_shown_as_it_would_be_written() {
        for (name, want) in [
            (&b"/run/x\0junk"[..], "/run/x"),
            (b"../x", "../x"),
            (b"\0abc\0", "@abc\\x00"),
            (b"/a\x1b[1m", "/a\\x1b[1m"),
            (b"", "(no name that can be read)"),
        ] {
            assert_eq!(shown(name), want);
        }
    }
}
