//! `recording.archive`.

use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::config::raw::RawArchive;
use crate::config::resolved::Archive;
use crate::config::scalars;

impl Check<'_> {
    pub(super) fn archive(&mut self, raw: &Spanned<RawArchive>) -> Archive {
        let at = raw.referenced;
        let raw = &raw.value;
        let (bucket, prefix) = self.bucket(at, raw.url.as_ref());
        let region = match &raw.region {
            None => "us-east-1".to_owned(),
            Some(given) => {
                if !scalars::is_name(&given.value) {
                    self.fault(
                        given.referenced,
                        "recording.archive.region",
                        format!("`{}` is no region", given.value),
                        "write it as the storage calls it, such as eu-central-1",
                    );
                }
                given.value.clone()
            }
        };
        let endpoint = match &raw.endpoint {
            None => format!("https://s3.{region}.amazonaws.com"),
            Some(given) => {
                let text = given.value.trim_end_matches('/');
                let host = text.strip_prefix("https://");
                if host.is_none_or(|host| scalars::host_port(host, 443).is_none()) {
                    self.fault(
                        given.referenced,
                        "recording.archive.endpoint",
                        format!("`{}` is not an https URL of a host", given.value),
                        "write https://HOST or https://HOST:PORT; recordings do not travel in clear",
                    );
                }
                text.to_owned()
            }
        };
        let node = raw
            .node
            .as_ref()
            .map(|given| self.name(at, "recording.archive.node", Some(given)));
        for (key, path) in [
            ("recording.archive.credentials_file", &raw.credentials_file),
            ("recording.archive.ca_file", &raw.ca_file),
        ] {
            if let Some(path) = path
                && path.value.as_os_str().is_empty()
            {
                self.fault(path.referenced, key, "is empty", "name a file");
            }
        }
        let bounds = Duration::from_secs(1)..=Duration::from_hours(1);
        let every = self
            .duration("recording.archive.every", raw.every.as_ref())
            .unwrap_or(Duration::from_secs(30));
        if let (Some(text), false) = (&raw.every, bounds.contains(&every)) {
            self.fault(
                text.referenced,
                "recording.archive.every",
                format!("`{}` is out of bounds", text.value),
                "write 1s to 1h",
            );
        }
        Archive {
            bucket,
            prefix,
            endpoint,
            region,
            node,
            credentials_file: raw.credentials_file.as_ref().map(|path| path.value.clone()),
            ca_file: raw.ca_file.as_ref().map(|path| path.value.clone()),
            keep_local: self.duration("recording.archive.keep_local", raw.keep_local.as_ref()),
            every,
        }
    }

    fn bucket(&mut self, at: Location, url: Option<&Spanned<String>>) -> (String, String) {
        let key = "recording.archive.url";
        let text = self.required(at, key, url);
        let Some(url) = url.filter(|url| !url.value.trim().is_empty()) else {
            return (String::new(), String::new());
        };
        let plain = text
            .strip_prefix("s3://")
            .map(|rest| rest.trim_end_matches('/'));
        let (bucket, prefix) = plain
            .and_then(|plain| plain.split_once('/'))
            .unwrap_or((plain.unwrap_or_default(), ""));
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let good = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(legal)
            && scalars::is_name(bucket)
            && prefix.len() <= 256
            && (prefix.is_empty() || prefix.split('/').all(scalars::is_name));
        if !good {
            self.fault(
                url.referenced,
                key,
                format!("`{text}` is no place in object storage"),
                "write s3://BUCKET or s3://BUCKET/PREFIX, the prefix of letters, digits, - _ . and /",
            );
        }
        (bucket.to_owned(), prefix.to_owned())
    }
}
