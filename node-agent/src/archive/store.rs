//! IO. The storage, in the few words that archiving needs. Every request has an end: what does not
//! answer within its time has failed, and nothing is held of an object but one part.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential, Checksum};
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, GetOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, RetryConfig,
};
use serde::Deserialize;

use super::credential;
use super::transport::Connector;
use super::{ArchiveError, Settings};

/// What goes in one request.
pub(super) const PART: u64 = 8 << 20;
/// S3 takes 10,000 parts; more than that makes them larger.
const PARTS: u64 = 9_000;
/// How long any request may take, its repetitions included, and for each 64 KiB of it one more second.
const PATIENCE: Duration = Duration::from_secs(15);
const BYTES_A_SECOND: u64 = 64 << 10;
/// The largest answer that is a document, bytes.
const LARGEST: usize = 4 << 20;
/// Pages of uploads that are given up at once; those beyond are found by the next start.
const PAGES: usize = 100;

/// The checksum that an object carries with it.
const SHA256: &str = "sha256";

/// What one node has in the storage.
pub(super) struct Store {
    s3: AmazonS3,
    http: HttpClient,
    credential: AwsCredential,
    region: String,
    bucket_url: String,
    root: String,
}

/// What lies under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lies {
    pub(super) bytes: u64,
    /// The checksum that whoever sent it gave it, hex.
    pub(super) sha256: Option<String>,
}

impl Store {
    /// With the credential as it is at this moment.
    pub(super) fn open(settings: &Settings, http: &HttpClient) -> Result<Store, ArchiveError> {
        let credential = credential::read(settings.at.credentials_file.as_deref())?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.at.bucket)
            .with_region(&settings.at.region)
            .with_endpoint(&settings.at.endpoint)
            .with_virtual_hosted_style_request(false)
            .with_access_key_id(&credential.id)
            .with_secret_access_key(credential.key.expose())
            .with_checksum_algorithm(Checksum::SHA256)
            .with_http_connector(Connector(http.clone()))
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(200),
                    max_backoff: Duration::from_secs(3),
                    base: 2.0,
                },
                max_retries: 2,
                retry_timeout: PATIENCE,
            });
        if let Some(token) = &credential.token {
            builder = builder.with_token(token.expose());
        }
        let s3 = builder
            .build()
            .map_err(|error| failed("the archive", &error))?;
        Ok(Store {
            s3,
            http: http.clone(),
            credential: AwsCredential {
                key_id: credential.id,
                secret_key: credential.key.expose().clone(),
                token: credential.token.map(|token| token.expose().clone()),
            },
            region: settings.at.region.clone(),
            bucket_url: format!("{}/{}", settings.at.endpoint, settings.at.bucket),
            root: settings.root(),
        })
    }

    /// The full name of one of this node's objects.
    pub(super) fn name(&self, object: &str) -> String {
        format!("{}/{object}", self.root)
    }

    /// What lies under a name; `None`: nothing.
    pub(super) async fn look(&self, object: &str) -> Result<Option<Lies>, ArchiveError> {
        let path = self.path(object);
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match within(&path, 0, self.s3.get_opts(&path, options)).await? {
            Ok(found) => Ok(Some(Lies {
                bytes: found.meta.size,
                sha256: found
                    .attributes
                    .get(&Attribute::Metadata(SHA256.into()))
                    .map(|sum| sum.to_string()),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(path.as_ref(), &error)),
        }
    }

    /// Sends so many bytes of a file, and asks whether they came: what is told is good is there.
    /// `mode`: whether what lies there may be replaced.
    pub(super) async fn send(
        &self,
        object: &str,
        file: &File,
        bytes: u64,
        sha256: &str,
        mode: PutMode,
    ) -> Result<(), ArchiveError> {
        if bytes <= PART {
            let part = read_at(file, 0, bytes).map_err(ArchiveError::file(object))?;
            self.put(object, part, sha256, mode).await?;
        } else {
            self.send_parts(object, file, bytes, sha256).await?;
        }
        let differs = |why: String| ArchiveError::Differs {
            object: object.to_owned(),
            why,
        };
        match self.look(object).await? {
            None => Err(differs("it is not there".to_owned())),
            Some(lies) if lies.bytes != bytes => {
                Err(differs(format!("{} bytes, not {bytes}", lies.bytes)))
            }
            Some(lies) if lies.sha256.as_deref() != Some(sha256) => {
                Err(differs("another checksum".to_owned()))
            }
            Some(_) => Ok(()),
        }
    }

    /// A small object, whole.
    pub(super) async fn put(
        &self,
        object: &str,
        bytes: Vec<u8>,
        sha256: &str,
        mode: PutMode,
    ) -> Result<(), ArchiveError> {
        let path = self.path(object);
        // Read between the checksum and now, so it may be another file by now.
        if sum_of(&bytes) != sha256 {
            return Err(ArchiveError::Differs {
                object: object.to_owned(),
                why: "the file was changed while it was sent".to_owned(),
            });
        }
        let length = bytes.len() as u64;
        let payload = Bytes::from(bytes);
        for mode in [mode, PutMode::Overwrite] {
            let options = PutOptions {
                mode: mode.clone(),
                attributes: attributes(sha256),
                ..PutOptions::default()
            };
            let sent = self.s3.put_opts(&path, payload.clone().into(), options);
            match within(&path, length, sent).await? {
                Ok(_) => return Ok(()),
                // A storage that knows no conditions: that nothing was there is known from before.
                Err(
                    object_store::Error::NotImplemented { .. }
                    | object_store::Error::NotSupported { .. },
                ) if mode == PutMode::Create => {}
                Err(error) => return Err(failed(path.as_ref(), &error)),
            }
        }
        Ok(())
    }

    async fn send_parts(
        &self,
        object: &str,
        file: &File,
        bytes: u64,
        sha256: &str,
    ) -> Result<(), ArchiveError> {
        let path = self.path(object);
        let say = |error: object_store::Error| failed(path.as_ref(), &error);
        let options = PutMultipartOptions {
            attributes: attributes(sha256),
            ..PutMultipartOptions::default()
        };
        let begun = within(&path, 0, self.s3.create_multipart_opts(&path, options));
        let id = begun.await?.map_err(say)?;
        let sent = async {
            let mut parts: Vec<PartId> = Vec::new();
            let mut whole = digest::Context::new(&digest::SHA256);
            let size = PART.max(bytes.div_ceil(PARTS));
            let mut at = 0;
            while at < bytes {
                let length = size.min(bytes - at);
                let part = read_at(file, at, length).map_err(ArchiveError::file(object))?;
                whole.update(&part);
                let put = self.s3.put_part(&path, &id, parts.len(), part.into());
                parts.push(within(&path, length, put).await?.map_err(say)?);
                at += length;
            }
            if hex(whole.finish().as_ref()) != sha256 {
                return Err(ArchiveError::Differs {
                    object: object.to_owned(),
                    why: "the file was changed while it was sent".to_owned(),
                });
            }
            let done = self.s3.complete_multipart(&path, &id, parts);
            within(&path, PART, done).await?.map_err(say)
        };
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) => {
                // If this fails as well, the next start finds it.
                let _ = within(&path, 0, self.s3.abort_multipart(&path, &id)).await;
                Err(error)
            }
        }
    }

    /// Gives up what uploads of this node's were begun and not ended, by a process that was killed.
    /// Gives how many.
    pub(super) async fn abandon_uploads(&self) -> Result<usize, ArchiveError> {
        let mut abandoned = 0;
        for _ in 0..PAGES {
            let uploads = self.uploads().await?;
            if uploads.is_empty() {
                break;
            }
            for upload in uploads {
                // As it is spelled there; the listing is by prefix, so it is this node's.
                let Ok(path) = Path::parse(&upload.key) else {
                    continue;
                };
                let gone = self.s3.abort_multipart(&path, &upload.upload_id);
                match within(&path, 0, gone).await? {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => abandoned += 1,
                    Err(error) => return Err(failed(path.as_ref(), &error)),
                }
            }
        }
        Ok(abandoned)
    }

    /// The library has no word for this one.
    async fn uploads(&self) -> Result<Vec<Upload>, ArchiveError> {
        let what = "the list of unfinished uploads";
        let prefix = format!("{}/", self.root).replace('/', "%2F");
        let uri = format!("{}?prefix={prefix}&uploads=", self.bucket_url);
        let failed = |why: String| ArchiveError::Store {
            what: what.to_owned(),
            why: cut(&why),
        };
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(HttpRequestBody::empty())
            .map_err(|error| failed(error.to_string()))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failed(error.to_string()))?;
        let asked = async {
            let answer = self.http.execute(request).await;
            let answer = answer.map_err(|error| failed(causes(&error)))?;
            let status = answer.status();
            let body = http_body_util::Limited::new(answer.into_body(), LARGEST)
                .collect()
                .await
                .map_err(|error| failed(error.to_string()))?
                .to_bytes();
            Ok((status, body))
        };
        let (status, body) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answered) => answered?,
            Err(_) => return Err(failed(silence(PATIENCE))),
        };
        match status {
            StatusCode::OK => {}
            // A storage without such a list. Its own rules have to see to what is left.
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => return Ok(Vec::new()),
            status => {
                let said = String::from_utf8_lossy(&body);
                return Err(failed(format!("answered with status {status}: {said}")));
            }
        }
        let listed: Uploads =
            quick_xml::de::from_reader(&body[..]).map_err(|error| failed(error.to_string()))?;
        Ok(listed.upload)
    }

    /// All names below one of this node's, page by page: each with its length.
    pub(super) async fn list(
        &self,
        below: &str,
        each: &mut (dyn FnMut(&str, u64) + Send),
    ) -> Result<(), ArchiveError> {
        let root = format!("{}/", self.root);
        let prefix = Path::from(root.clone());
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                max_keys: Some(1000),
                page_token: token.take(),
                ..PaginatedListOptions::default()
            };
            let below = format!("{root}{below}");
            let page = self.s3.list_paginated(Some(&below), options);
            let page = within(&prefix, 0, page)
                .await?
                .map_err(|error| failed(&below, &error))?;
            for object in &page.result.objects {
                if let Some(name) = object.location.as_ref().strip_prefix(&root) {
                    each(name, object.size);
                }
            }
            match page.page_token {
                Some(next) => token = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// A piece of an object, at most [`PART`] bytes.
    pub(super) async fn piece(
        &self,
        object: &str,
        from: u64,
        to: u64,
    ) -> Result<Bytes, ArchiveError> {
        let path = self.path(object);
        let got = self.s3.get_range(&path, from..to.min(from + PART));
        match within(&path, PART, got).await? {
            Ok(bytes) => Ok(bytes),
            Err(object_store::Error::NotFound { .. }) => {
                Err(ArchiveError::NotThere(object.to_owned()))
            }
            Err(error) => Err(failed(path.as_ref(), &error)),
        }
    }

    fn path(&self, object: &str) -> Path {
        Path::from(self.name(object))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default)]
    upload: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

/// A request that has an end.
async fn within<T>(
    what: &Path,
    bytes: u64,
    request: impl Future<Output = T>,
) -> Result<T, ArchiveError> {
    let limit = PATIENCE + Duration::from_secs(bytes / BYTES_A_SECOND);
    tokio::time::timeout(limit, request)
        .await
        .map_err(|_| ArchiveError::Store {
            what: what.to_string(),
            why: silence(limit),
        })
}

fn silence(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

fn failed(what: &str, error: &object_store::Error) -> ArchiveError {
    ArchiveError::Store {
        what: what.to_owned(),
        why: cut(&causes(error)),
    }
}

/// The innermost cause says most ("connection refused"), where there is one.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = inner.source();
    }
    said
}

/// What a storage says may be long, and is not ours.
fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(400).collect()
}

fn attributes(sha256: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(SHA256.into()), sha256.to_owned().into());
    attributes
}

fn read_at(file: &File, at: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// The checksum of bytes, hex.
pub(super) fn sum_of(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // to a String it does not fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_uploads_are_read_from_what_a_storage_answers() {
        let listed = "<?xml version=\"1.0\"?><ListMultipartUploadsResult \
            xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket><KeyMarker/>\
            <IsTruncated>false</IsTruncated><Upload><Key>p/n/2026/a.rec</Key>\
            <UploadId>one</UploadId><Initiator><ID>x</ID></Initiator></Upload>\
            <CommonPrefixes><Prefix>q</Prefix></CommonPrefixes>\
            <Upload><Key>p/n/b&amp;c.rec</Key><UploadId>two</UploadId></Upload>\
            </ListMultipartUploadsResult>";
        // Interleaved elements are for a reader that keeps all; uploads come together.
        let together = listed.replace("<CommonPrefixes><Prefix>q</Prefix></CommonPrefixes>", "");
        let read: Uploads = quick_xml::de::from_str(&together).unwrap();
        let read: Vec<_> = read
            .upload
            .iter()
            .map(|upload| (upload.key.as_str(), upload.upload_id.as_str()))
            .collect();
        assert_eq!(read, [("p/n/2026/a.rec", "one"), ("p/n/b&c.rec", "two")]);
        let none: Uploads =
            quick_xml::de::from_str("<X><IsTruncated>false</IsTruncated></X>").unwrap();
        assert!(none.upload.is_empty());
    }

    #[test]
    fn what_a_storage_says_is_cut_and_steers_nothing() {
        let said = cut(&format!("<Error>\u{1b}[2J{}", "x".repeat(1000)));
        assert_eq!(said.len(), 400);
        assert!(!said.contains('\u{1b}'));
    }
}
