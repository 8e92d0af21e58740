//! What is asked and decided is told to receivers, whatever they do, and nothing waits for them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use node_agent_tests::ca::{Leaf, TestCa};
use node_agent_tests::{World, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use super::agent_is_here;

const SOON: Duration = Duration::from_secs(60);
pub(super) const SECRET: &str = "a key of sixteen bytes or more";

const SEED: &str = "create table orders (id int); insert into orders values (1), (2); \
    grant all on orders to public";

const POLICY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: shop }
subjects: [ { workloads: ['*'] } ]
targets: [ '*' ]
rules:
  - { name: read, effect: allow, statements: [select] }
  - { name: clean, effect: approve, statements: [delete], reviewers: { groups: [dba] }, timeout: 2s }
";

/// What a receiver does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Status(u16),
    /// 429, with `Retry-After: 3`.
    Later,
    /// Nothing, for longer than anybody waits.
    Silence,
    /// The connection is closed before anything is read.
    Gone,
}

/// One delivery as it came.
#[derive(Clone, Debug)]
pub(super) struct Came {
    at: Instant,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    answer: Answer,
}

impl Came {
    fn header(&self, name: &str) -> Result<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        let (_, value) = found.with_context(|| format!("no {name}: {:?}", self.headers))?;
        Ok(value)
    }

    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    /// What the next ones get; then `usual`.
    next: Mutex<VecDeque<Answer>>,
    usual: Mutex<Option<Answer>>,
    came: Mutex<Vec<Came>>,
    over: AtomicBool,
}

impl Shared {
    fn answer(&self) -> Answer {
        let next = self.next.lock().unwrap().pop_front();
        next.or(*self.usual.lock().unwrap())
            .unwrap_or(Answer::Status(200))
    }

    fn secured(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<()> {
        stream.set_read_timeout(Some(SOON))?;
        match tls {
            None => self.serve(stream),
            Some(config) => self.serve(StreamOwned::new(ServerConnection::new(config)?, stream)),
        }
    }

    fn serve(&self, stream: impl Read + Write) -> Result<()> {
        let answer = self.answer();
        if answer == Answer::Gone {
            return Ok(());
        }
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
        let mut headers = Vec::new();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse()?;
            }
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        self.came.lock().unwrap().push(Came {
            at: Instant::now(),
            headers,
            body,
            answer,
        });
        let (status, more) = match answer {
            Answer::Status(status) => (status, ""),
            Answer::Later => (429, "retry-after: 3\r\n"),
            Answer::Silence | Answer::Gone => {
                // Until who asked has gone.
                let _ = reader.read(&mut [0]); // gone, or as long as anybody waits
                return Ok(());
            }
        };
        let stream = reader.get_mut();
        write!(
            stream,
            "HTTP/1.1 {status} So\r\n{more}content-length: 2\r\nconnection: close\r\n\r\nok"
        )?;
        Ok(stream.flush()?)
    }
}

/// A receiver of webhooks.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
}

impl Receiver {
    pub(super) fn start() -> Result<Receiver> {
        Self::begin(None)
    }

    /// One over TLS, with this certificate.
    fn start_tls(leaf: &Leaf) -> Result<Receiver> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?,
            )?;
        Self::begin(Some(Arc::new(config)))
    }

    fn begin(tls: Option<Arc<ServerConfig>>) -> Result<Receiver> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if own.over.load(Ordering::SeqCst) {
                    return;
                }
                let (own, tls) = (own.clone(), tls.clone());
                thread::spawn(move || {
                    if let Err(error) = own.secured(stream, tls) {
                        println!("a receiver: {error:#}");
                    }
                });
            }
        });
        Ok(Receiver {
            shared,
            address,
            scheme,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address)
    }

    fn next(&self, answers: &[Answer]) {
        self.shared.next.lock().unwrap().extend(answers);
    }

    pub(super) fn usually(&self, answer: Option<Answer>) {
        *self.shared.usual.lock().unwrap() = answer;
    }

    pub(super) fn came(&self) -> Vec<Came> {
        self.shared.came.lock().unwrap().clone()
    }

    /// What it took, once that is so many.
    pub(super) fn taken(&self, count: usize) -> Result<Vec<Came>> {
        until("deliveries that were taken", SOON, || {
            let mut came = self.came();
            came.retain(|one| one.answer == Answer::Status(200));
            Ok((came.len() >= count).then_some(came))
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)); // wakes the thread
    }
}

/// A file with the secret, that the agent's worker may read.
pub(super) fn secret() -> Result<(TempDir, String)> {
    let place = tempfile::tempdir()?;
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755))?;
    let file = place.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n"))?;
    let path = file.display().to_string();
    Ok((place, path))
}

fn world(hooks: &[(&str, &Receiver)], secret: &str) -> Result<World> {
    let mut yaml = "approvals:\n  webhooks:\n".to_owned();
    for (name, receiver) in hooks {
        yaml.push_str(&format!(
            "  - {{ name: {name}, url: \"{}\", secret_file: {secret}, console_url: \"https://console.example/\" }}\n",
            receiver.url()
        ));
    }
    World::builder()
        .policy_text("shop.yaml", POLICY)
        .seed(SEED)
        .settings(&yaml)
        .start()
}

/// A statement that nobody decides. Gives how long its client waited.
fn lapses(world: &World, id: u32) -> Result<Duration> {
    let began = Instant::now();
    let done = world.ask(&format!("delete from orders where id = {id}"))?;
    ensure!(
        done.stderr.contains("nobody decided in time"),
        "{}",
        done.all()
    );
    Ok(began.elapsed())
}

/// Step and statement of each.
fn story(came: &[Came]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |came: &Came| {
        let value = came.value();
        let statement = &value["request"]["statement"]["text"];
        (text(&value["step"]), text(statement))
    };
    came.iter().map(one).collect()
}

fn told(ids: &[u32]) -> Vec<(String, String)> {
    let both = |id: &u32| {
        let text = format!("delete from orders where id = {id}");
        [
            ("asked".to_owned(), text.clone()),
            ("over".to_owned(), text),
        ]
    };
    ids.iter().flat_map(both).collect()
}

#[test]
fn steps_arrive_signed_and_a_receiver_that_never_answers_delays_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (_place, secret) = secret()?;
    let (good, slow) = (Receiver::start()?, Receiver::start()?);
    slow.usually(Some(Answer::Silence));
    let world = world(&[("good", &good), ("slow", &slow)], &secret)?;
    let waited = lapses(&world, 1)?;
    ensure!(
        (Duration::from_secs(2)..Duration::from_secs(8)).contains(&waited),
        "it was held for {waited:?}"
    );
    let came = good.taken(2)?;
    assert_eq!(story(&came), told(&[1]));
    for (number, one) in came.iter().enumerate() {
        let value = one.value();
        let id = one.header("x-node-agent-delivery")?;
        assert_eq!(value["delivery"], id);
        ensure!(id.ends_with(&format!("-{}", number + 1)), "{id}");
        // As docs/webhooks.md says: the time, a dot, the body.
        let signed = one.header("x-node-agent-signature")?;
        let (time, sum) = signed.split_once(",v1=").context("no v1")?;
        let time = time.strip_prefix("t=").context("no t")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let whole = [time.as_bytes(), b".", &one.body].concat();
        let sum: Vec<u8> = (0..sum.len() / 2)
            .map(|at| u8::from_str_radix(&sum[2 * at..2 * at + 2], 16))
            .collect::<Result<_, _>>()?;
        hmac::verify(&key, &whole, &sum).map_err(|_| anyhow::anyhow!("a wrong signature"))?;
    }
    let asked = came[0].value();
    assert_eq!(asked["request"]["who"], "claude@agents");
    assert_eq!(asked["request"]["workload"], "claude");
    assert_eq!(asked["request"]["rule"], "shop/clean");
    assert_eq!(asked["request"]["reviewers"], "group dba");
    let approval = asked["approval"].as_str().context("no name")?;
    let link = format!("https://console.example/console/requests/{approval}");
    assert_eq!(asked["link"], link);
    // The slow one was asked, and status says what is not told there.
    until("a line of status", SOON, || {
        let status = world.cli(&["status"])?.good()?.stdout;
        let line = "degraded: webhook slow: reviewers are not told there: no answer within 10 s";
        Ok(status.contains(line).then_some(()))
    })?;
    ensure!(!slow.came().is_empty());
    assert_eq!(world.agent().metric("node_agent_webhook_sent_total")?, 2.0);
    ensure!(world.agent().metric("node_agent_webhook_failed_total")? >= 1.0);
    assert_eq!(world.agent().metric("node_agent_webhook_behind")?, 2.0);
    Ok(())
}

#[test]
fn what_a_receiver_could_not_take_comes_later_in_order() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (_place, secret) = secret()?;
    let receiver = Receiver::start()?;
    receiver.usually(Some(Answer::Gone));
    let world = world(&[("chat", &receiver)], &secret)?;
    lapses(&world, 1)?;
    lapses(&world, 2)?;
    ensure!(receiver.came().is_empty());
    receiver.next(&[Answer::Status(500), Answer::Later]);
    receiver.usually(None);
    let came = receiver.taken(4)?;
    assert_eq!(story(&came), told(&[1, 2]));
    // The same delivery each time, and not before the receiver wanted it.
    let all = receiver.came();
    let ids: Vec<&str> = all
        .iter()
        .map(|one| one.header("x-node-agent-delivery"))
        .collect::<Result<_>>()?;
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    let pause = all[2].at - all[1].at;
    ensure!(pause >= Duration::from_millis(2900), "{pause:?}");
    // What was decided meanwhile is said where it was asked.
    assert_eq!(came[0].value()["request"]["state"], "over");
    let status = world.cli(&["status"])?.good()?.stdout;
    ensure!(!status.contains("webhook"), "{status}");
    Ok(())
}

#[test]
fn an_agent_that_was_killed_goes_on_where_it_was_and_no_refusal_is_hidden() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let (_place, secret) = secret()?;
    let receiver = Receiver::start()?;
    let mut world = world(&[("chat", &receiver)], &secret)?;
    lapses(&world, 1)?;
    receiver.taken(2)?;
    receiver.usually(Some(Answer::Status(403)));
    lapses(&world, 2)?;
    until("a line of status", SOON, || {
        let status = world.cli(&["status"])?.good()?.stdout;
        let line = "degraded: webhook chat: reviewers are not told there: \
                    the receiver answered with status 403";
        Ok(status.contains(line).then_some(()))
    })?;
    world.agent_mut().kill()?;
    receiver.usually(None);
    world.agent_mut().start()?;
    // At once, and not when the killed one would have tried again.
    let mut came = receiver.taken(4)?;
    // What was taken last before may come twice, and is known by its name.
    came.dedup_by_key(|one| one.header("x-node-agent-delivery").unwrap().to_owned());
    if came.len() < 4 {
        came = receiver.taken(5)?;
        came.dedup_by_key(|one| one.header("x-node-agent-delivery").unwrap().to_owned());
    }
    assert_eq!(story(&came), told(&[1, 2]));
    Ok(())
}

/// An update that somebody approves, over TLS by an authority of one's own: each step is told, also that it ran.
#[test]
fn an_approved_statement_is_told_to_its_end_over_tls_by_the_authority_that_is_named() -> Result<()>
{
    if !agent_is_here() {
        return Ok(());
    }
    let (place, secret) = secret()?;
    let ca = TestCa::new()?;
    let ca_file = ca.write(place.path())?;
    let (good, stranger) = (
        Receiver::start_tls(&ca.leaf(&["127.0.0.1"])?)?,
        Receiver::start_tls(&TestCa::new()?.leaf(&["127.0.0.1"])?)?,
    );
    let mut yaml =
        "approvals:\n  local: [ { uid: 0, name: olga, groups: [dba] } ]\n  webhooks:\n".to_owned();
    for (name, receiver) in [("good", &good), ("stranger", &stranger)] {
        yaml.push_str(&format!(
            "  - {{ name: {name}, url: \"{}\", secret_file: {secret}, ca_file: {}, \
             steps: [asked, approved, used, refused, over] }}\n",
            receiver.url(),
            ca_file.display()
        ));
    }
    let policy = POLICY
        .replace("[delete]", "[delete, update]")
        .replace("2s", "60s");
    let world = World::builder()
        .policy_text("shop.yaml", &policy)
        .seed(SEED)
        .settings(&yaml)
        .start()?;
    let text = "update orders set id = 3 where id = 2";
    let mut dialer = world.dialer()?;
    let mut client = world.client(&mut dialer)?;
    client.ask(text)?;
    let asked = good.taken(1)?;
    let name = asked[0].value()["approval"]
        .as_str()
        .context("a name")?
        .to_owned();
    world
        .cli(&[
            "approvals",
            "approve",
            &name,
            "--note",
            "as in OPS-12",
            "--max-rows",
            "5",
        ])?
        .good()?;
    let answer = client.up_to(b'Z')?;
    ensure!(
        answer.iter().any(|message| message.body == b"UPDATE 1\0"),
        "{answer:?}"
    );
    let came = good.taken(3)?;
    let steps: Vec<Value> = came.iter().map(Came::value).collect();
    for (at, step) in ["asked", "approved", "used"].iter().enumerate() {
        assert_eq!(steps[at]["step"], *step);
        assert_eq!(steps[at]["approval"], name.as_str());
        assert_eq!(steps[at]["request"]["statement"]["text"], text);
        assert_eq!(steps[at]["seq"], at + 1);
    }
    assert_eq!(steps[1]["by"][0], "olga (this host)");
    assert_eq!(steps[1]["note"], "as in OPS-12");
    assert_eq!(
        steps[1]["terms"],
        "once, at most 5 rows changed, with masking"
    );
    assert_eq!(steps[2]["request"]["state"], "used");
    assert_eq!(good.came().len(), 3);
    // Who is vouched for by nobody that is named is told nothing.
    until("a line of status", SOON, || {
        let status = world.cli(&["status"])?.good()?.stdout;
        Ok(status
            .contains("degraded: webhook stranger: ")
            .then_some(()))
    })?;
    ensure!(stranger.came().is_empty());
    Ok(())
}
