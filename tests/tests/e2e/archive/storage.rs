//! An object storage for tests: S3's protocol over TLS, on files, with signatures and checksums looked
//! at; and it fails on demand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use node_agent_tests::ca::TestCa;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(super) const BUCKET: &str = "recordings";
pub(super) const SECRET: &str = "a-secret-of-the-archive-7461";
const ID: &str = "AKIDTESTS";

/// How the storage behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it should.
    Good,
    /// It answers everything with this status.
    Status(u16),
    /// It answers nothing.
    Hangs,
    /// It takes a second part and never says so.
    HangsAtPartTwo,
}

/// The storage. It ends when it is dropped.
pub(super) struct Storage {
    dir: tempfile::TempDir,
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    mode: Mutex<Option<Mode>>,
    /// Requests that were answered, or not, in a mode other than good.
    faults: AtomicU64,
    /// Objects and parts that were sent.
    puts: AtomicU64,
    uploads: Arc<Uploads>,
}

/// Uploads that are neither complete nor given up: id and name.
type Uploads = Mutex<BTreeMap<String, String>>;

impl Storage {
    pub(super) fn start() -> Result<Storage> {
        let dir = tempfile::tempdir()?;
        // The agent's worker, which is nobody, reads the authority and the credential.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(dir.path().join("root").join(BUCKET))?;
        fs::create_dir(dir.path().join("known"))?;
        let ca = TestCa::new()?;
        ca.write(&dir.path().join("known"))?;
        fs::write(
            dir.path().join("known/credential"),
            format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n"),
        )?;
        let leaf = ca.leaf(&["127.0.0.1"])?;
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?,
        )?;
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));

        let shared = Arc::new(Shared::default());
        let files = FileSystem::new(dir.path().join("root"))
            .map_err(|error| anyhow::anyhow!("the storage's files: {error:?}"))?;
        let uploads = shared.uploads.clone();
        let mut service = S3ServiceBuilder::new(Files { files, uploads });
        service.set_auth(SimpleAuth::from_single(ID, SECRET));
        let service = service.build();

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let serving = shared.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, service, shared) = (tls.clone(), service.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(socket) = tls.accept(socket).await else {
                        return;
                    };
                    let answer =
                        service_fn(move |request| answer(request, service.clone(), shared.clone()));
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(socket), answer).await; // who hangs up
                });
            }
        });
        Ok(Storage {
            dir,
            port,
            shared,
            runtime: Some(runtime),
        })
    }

    /// `recording` for an agent that archives here.
    pub(super) fn settings(&self, more: &str) -> String {
        let known = self.dir.path().join("known");
        format!(
            "recording:\n  archive:\n    url: s3://{BUCKET}/team/x\n    \
             endpoint: https://127.0.0.1:{}\n    node: node-1\n    every: 1s\n    \
             credentials_file: {}\n    ca_file: {}\n{more}",
            self.port,
            known.join("credential").display(),
            known.join("ca.pem").display(),
        )
    }

    pub(super) fn behave(&self, mode: Mode) {
        *self.shared.mode.lock().expect("no panic") = Some(mode);
    }

    pub(super) fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::SeqCst)
    }

    pub(super) fn puts(&self) -> u64 {
        self.shared.puts.load(Ordering::SeqCst)
    }

    /// Uploads that are neither complete nor given up.
    pub(super) fn unfinished(&self) -> usize {
        self.shared.uploads.lock().expect("no panic").len()
    }

    /// Files of parts that lie about.
    pub(super) fn parts(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.path().join("root"))? {
            let path = entry?.path();
            let name = path.file_name().context("a name")?.to_string_lossy();
            if name.starts_with(".upload_id-") {
                found.push(path.clone());
            }
        }
        Ok(found)
    }

    /// This node's objects, as files.
    pub(super) fn objects(&self) -> Result<BTreeMap<String, PathBuf>> {
        let root = self
            .dir
            .path()
            .join("root")
            .join(BUCKET)
            .join("team/x/node-1");
        let mut found = BTreeMap::new();
        let mut dirs = vec![root];
        while let Some(dir) = dirs.pop() {
            let Ok(listed) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in listed {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.file_name().context("a name")?;
                    found.insert(name.to_string_lossy().into_owned(), path.clone());
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    service: S3Service,
    shared: Arc<Shared>,
) -> Result<Response<Body>, std::io::Error> {
    let mode = shared.mode.lock().expect("no panic").clone();
    let query = request.uri().query().unwrap_or_default();
    let fault = match mode.unwrap_or(Mode::Good) {
        Mode::HangsAtPartTwo if !query.contains("partNumber=2") => None,
        Mode::Good => None,
        other => Some(other),
    };
    if let Some(fault) = fault {
        shared.faults.fetch_add(1, Ordering::SeqCst);
        if let Mode::Status(status) = fault {
            let body = "<Error><Code>AsTheTestSays</Code></Error>".to_owned();
            let answer = Response::builder().status(status).body(Body::from(body));
            return answer.map_err(std::io::Error::other);
        }
        std::future::pending::<()>().await;
    }
    if request.method() == Method::PUT {
        shared.puts.fetch_add(1, Ordering::SeqCst);
    }
    hyper::service::Service::call(&service, request)
        .await
        .map_err(|error| std::io::Error::other(format!("{error:?}")))
}

/// The files, and the list of uploads, which they do not give.
#[derive(Debug)]
struct Files {
    files: FileSystem,
    uploads: Arc<Uploads>,
}

type Done<'a, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'a>>;

/// Requests that go to the files as they come.
macro_rules! through {
    ($($name:ident($asked:ident) -> $answered:ident;)*) => {
        $(fn $name<'a, 'b>(&'a self, request: S3Request<$asked>) -> Done<'b, $answered>
        where
            'a: 'b,
            Self: 'b,
        {
            self.files.$name(request)
        })*
    };
}

impl S3 for Files {
    through! {
        put_object(PutObjectInput) -> PutObjectOutput;
        get_object(GetObjectInput) -> GetObjectOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        upload_part(UploadPartInput) -> UploadPartOutput;
    }

    fn create_multipart_upload<'a, 'b>(
        &'a self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Done<'b, CreateMultipartUploadOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let key = request.input.key.clone();
            let made = self.files.create_multipart_upload(request).await?;
            let id = made.output.upload_id.clone().unwrap_or_default();
            self.uploads.lock().expect("no panic").insert(id, key);
            Ok(made)
        })
    }

    fn complete_multipart_upload<'a, 'b>(
        &'a self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Done<'b, CompleteMultipartUploadOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let id = request.input.upload_id.clone();
            let done = self.files.complete_multipart_upload(request).await?;
            self.uploads.lock().expect("no panic").remove(&id);
            Ok(done)
        })
    }

    fn abort_multipart_upload<'a, 'b>(
        &'a self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Done<'b, AbortMultipartUploadOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let id = request.input.upload_id.clone();
            let gone = self.files.abort_multipart_upload(request).await?;
            self.uploads.lock().expect("no panic").remove(&id);
            Ok(gone)
        })
    }

    fn list_multipart_uploads<'a, 'b>(
        &'a self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Done<'b, ListMultipartUploadsOutput>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let prefix = request.input.prefix.unwrap_or_default();
            let uploads = self.uploads.lock().expect("no panic");
            let of = uploads.iter().filter(|(_, key)| key.starts_with(&prefix));
            let listed = of.map(|(id, key)| MultipartUpload {
                key: Some(key.clone()),
                upload_id: Some(id.clone()),
                ..MultipartUpload::default()
            });
            Ok(S3Response::new(ListMultipartUploadsOutput {
                bucket: Some(request.input.bucket),
                uploads: Some(listed.collect()),
                is_truncated: Some(false),
                ..ListMultipartUploadsOutput::default()
            }))
        })
    }
}

/// Statements that pack badly: more than one part of them.
pub(super) fn much() -> Result<String> {
    let mut text = String::new();
    for _ in 0..700 {
        let mut random = vec![0; 15_000];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
        text.push_str("select length('");
        for byte in random {
            write!(text, "{byte:02x}")?;
        }
        text.push_str("');\n");
    }
    Ok(text)
}
