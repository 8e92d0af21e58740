use super::*;
use crate::model::{OriginalDst, TargetName};

const WHOLE: &str = r#"
listen:   { port: 15001, admin: 127.0.0.1:9815, admin_socket: /run/node-agent/admin.sock }
state_dir: /var/lib/node-agent
cgroup_root: auto
attach: agents
worker: { user: 65500 }
guard: { ports: [5432, 3306, 5432], egress: open }
identity:
  issuers:
    - url: https://issuer.example
      audience: node-agent
      algorithms: [RS256]
      groups_claim: roles
targets:
  - name: orders
    protocol: postgres
    hosts: [Orders.db.internal.]
    addresses: [10.0.7.0/24]
    upstream: { address: "db.internal:6432", tls: verify-full, ca_file: /etc/ca.pem }
    credential:
      username: svc
      password_file: /etc/node-agent/orders
      groups: { dba: { username: owner, password_env: OWNER } }
  - name: near
    protocol: postgres
    addresses: [10.0.7.9]
    upstream: { tls: disable }
    credential: { username: svc }
workloads:
  - name: claude
    cgroups: ["agents/claude*"]
    labels: { team: data }
    token: [ { file: /var/run/secrets/tokens/db }, password, oauthbearer ]
    subject: ci
policies: [ policies/ ]
recording: { rows: masked, retention: 90d, max_bytes: 20GiB, workload_max_bytes: 2GiB, on_failure: refuse }
approvals:
  timeout: 5m
  console:
    url: https://approvals.example/
    issuer: https://issuer.example
    client_id: console
    client_secret_file: /etc/node-agent/console
    auditors: { groups: [audit] }
log: { format: json, level: debug }
"#;

#[test]
fn a_whole_configuration_is_resolved() {
    insta::assert_debug_snapshot!(Config::parse(WHOLE, "config.yaml").unwrap());
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = Config::parse("state_dir: /tmp/a\n", "c").unwrap();
    assert_eq!(config.guard.ports, [5432, 3306]);
    assert_eq!(config.listen.port, 15001);
    assert_eq!(
        config.recording.dir,
        std::path::Path::new("/tmp/a/recordings")
    );
    assert_eq!(config.recording.on_failure, OnFailure::Refuse);
    assert_eq!(config.recording.rows, RowsMode::Masked);
    assert!(config.policies.is_empty() && config.targets.is_empty());
}

/// Every wording a user can meet, with its place. Read the snapshot as a user would.
#[test]
fn closed_egress_leaves_open_what_is_named() {
    let text = "guard: { egress: databases-only, allow: [10.0.0.53:53, \"[2001:db8::/32]:*\"] }\n";
    let config = Config::parse(text, "config.yaml").unwrap();
    let Egress::DatabasesOnly(places) = config.guard.egress else {
        panic!("{:?}", config.guard);
    };
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["10.0.0.53/32:53", "[2001:db8::/32]:*"]);
}

#[test]
fn a_fault_names_its_place_its_key_and_the_mend() {
    let target = |inner: &str| {
        format!(
            "targets:\n- name: a\n  protocol: postgres\n  hosts: [a.example]\n  credential: {{ username: u }}\n{inner}"
        )
    };
    let issuer = |inner: &str| {
        format!("identity:\n  issuers:\n  - {{ url: \"https://i.example\", audience: a{inner} }}\n")
    };
    let workload = |inner: &str| {
        format!(
            "{}workloads:\n- name: w\n  token: [password]\n{inner}",
            issuer("")
        )
    };
    let cases: Vec<(&str, String)> = vec![
        ("an empty file", String::new()),
        ("not YAML", "listen: [".into()),
        ("a key twice", "state_dir: /a\nstate_dir: /b\n".into()),
        ("a merge key", "listen: { <<: { port: 1 } }\n".into()),
        ("an anchor", "listen: &a { port: 1 }\n".into()),
        ("two documents", "state_dir: /a\n---\nstate_dir: /b\n".into()),
        ("an unknown key", "listen: { prot: 1 }\n".into()),
        ("a wrong type", "listen: { port: many }\n".into()),
        ("a list for a map", "listen: [1]\n".into()),
        ("a port too large", "listen: { port: 70000 }\n".into()),
        ("port zero", "listen: { port: 0 }\n".into()),
        ("an open admin address", "listen: { admin: 0.0.0.0:9815 }\n".into()),
        ("an unreadable admin address", "listen: { admin: here }\n".into()),
        ("a worker that is root", "worker: { user: root }\n".into()),
        ("a worker by a number that is root", "worker: { user: 0 }\n".into()),
        ("a worker that lingers for ever", "worker: { linger: 30d }\n".into()),
        ("a worker that is nobody", "worker: { user: \"a b\" }\n".into()),
        ("a relative state directory", "state_dir: here\n".into()),
        ("an attach point outside", "attach: ../other\n".into()),
        ("guarding the proxy's own port", "guard: { ports: [15001] }\n".into()),
        ("half a node", "guard: { node_wide: half }\n".into()),
        ("an egress that is none", "guard: { egress: none }\n".into()),
        ("an undeclared database let be", "guard: { undeclared: allow }\n".into()),
        ("unix sockets that are open", "guard: { unix_allow: [/run/x] }\n".into()),
        ("a unix socket by a relative path", "guard: { unix: allow-only, unix_allow: [run/x, \"@\", /run/x] }\n".into()),
        ("allowing what is open", "guard: { allow: [10.0.0.0/8:443] }\n".into()),
        ("a place without port", "guard: { egress: databases-only, allow: [10.0.0.0/8, 10.0.0.1/8:443] }\n".into()),
        ("a target with nothing", "targets: [ {} ]\n".into()),
        ("a target without destination", "targets: [ { name: a, protocol: postgres, credential: { username: u } } ]\n".into()),
        ("MySQL", "targets: [ { name: a, protocol: mysql, hosts: [a.example], credential: { username: u } } ]\n".into()),
        ("another database", "targets: [ { name: A b, protocol: oracle, hosts: [\"10.0.0.1\", \"a b\"], credential: { username: u } } ]\n".into()),
        ("bits behind a prefix", target("  addresses: [10.0.7.1/24, x]\n")),
        ("two targets for one host", format!("{}- name: b\n  protocol: postgres\n  hosts: [A.example]\n  credential: {{ username: u }}\n", target(""))),
        ("an upstream that is none", target("  upstream: { address: \"db.example:x\" }\n")),
        ("a root nobody asks", target("  upstream: { tls: require, ca_file: /ca.pem }\n")),
        ("TLS spelt otherwise", target("  upstream: { tls: \"on\" }\n")),
        ("two passwords", "targets:\n- name: a\n  protocol: postgres\n  hosts: [a.example]\n  credential: { username: u, password_file: p, password_env: P }\n".into()),
        ("a message bound too small", target("  max_message_bytes: 10\n")),
        ("a connection kept too long", target("  keep_warm: 61s\n")),
        ("kept for no time that is known", target("  keep_warm: 5\n")),
        ("a duration without unit", "approvals: { timeout: 10 }\n".into()),
        ("a workload without issuer", "workloads: [ { name: w, token: [password] } ]\n".into()),
        ("a workload without token", format!("{}workloads: [ {{ name: w }} ]\n", issuer(""))),
        ("a glob over everything", workload("  cgroups: [\"**\"]\n")),
        ("a glob that climbs", workload("  cgroups: [\"a/../b\"]\n")),
        ("a broken glob", workload("  cgroups: [\"a[\"]\n")),
        ("an unknown token source", format!("{}workloads: [ {{ name: w, token: [cookie] }} ]\n", issuer(""))),
        ("a symmetric algorithm", issuer(", algorithms: [HS256, ES999]")),
        ("an issuer twice", format!("{}  - {{ url: \"https://i.example\", audience: b }}\n", issuer(""))),
        ("plain HTTP", "identity: { issuers: [ { url: \"http://i.example\", audience: a, allow_http_loopback: true } ] }\n".into()),
        ("plain HTTP on loopback", "identity: { issuers: [ { url: \"http://127.0.0.1:80/x\", audience: a } ] }\n".into()),
        ("an issuer with a query", "identity: { issuers: [ { url: \"https://i.example/?a\", audience: a } ] }\n".into()),
        ("a size without unit", "recording: { max_bytes: 20, workload_max_bytes: 2x, rows: all, on_failure: never, encrypt_to: [k] }\n".into()),
        ("recipients that are none", "recording: { encrypt_to: [keys.txt, \"node-agent-recipient-1:AAAA\", \"node-agent-identity-1:c2VjcmV0\", /etc/a.pub, /etc/a.pub] }\n".into()),
        ("no wait", "approvals: { timeout: 0s }\n".into()),
        ("a webhook that is a text", "approvals: { webhooks: [\"https://x.example\"] }\n".into()),
        ("a webhook with nothing", "approvals: { webhooks: [ {} ] }\n".into()),
        ("webhooks with faults", "approvals:\n  webhooks:\n\
            \x20 - { name: a b, url: \"http://x.example\", secret_file: s }\n\
            \x20 - { name: b, url: \"https://x.example/?sig=1\", url_file: /u, template: chat, secret_file: /s, steps: [asked, told] }\n\
            \x20 - { name: b, url: \"https://u:p@x.example\", template: jira, steps: [over] }\n\
            \x20 - { name: c, url: \"http://127.0.0.1:1/\", template: pagerduty, project: X, steps: [] }\n\
            \x20 - { name: d, url: \"https://x.example\", template: slack, console_url: \"x\", headers: { \"A b\": /h, host: /h } }\n".into()),
        ("a console with nothing", "approvals: { console: {} }\n".into()),
        ("a console over plain HTTP", "approvals: { console: { url: \"http://a.example\", issuer: \"http://127.0.0.1:1\", client_id: c, session: 25h, fresh: 10s } }\n".into()),
        ("a console that is no site", "approvals: { console: { url: \"https://a.example/x\", issuer: \"https://i.example\", client_id: c } }\n".into()),
        ("a console that opens databases", format!("{}approvals: {{ console: {{ url: \"https://a.example\", issuer: \"https://i.example\", client_id: a }} }}\n", issuer(""))),
        ("half a certificate authority", "tls: { ca_cert: /ca.pem }\n".into()),
        ("several faults at once", "listen: { port: 0 }\nstate_dir: here\nlog: { format: xml }\n".into()),
    ];
    let mut table = String::new();
    for (what, text) in cases {
        table.push_str(&format!("## {what}\n"));
        match Config::parse(&text, "config.yaml") {
            Ok(_) => table.push_str("accepted\n"),
            Err(errors) => {
                for error in errors {
                    table.push_str(&format!("{error}\n"));
                }
            }
        }
    }
    assert!(!table.contains("accepted"), "{table}");
    insta::assert_snapshot!(table);
}

#[test]
fn an_archive_is_a_place_in_object_storage_reached_over_tls() {
    let whole = "recording:\n  archive:\n    url: s3://audit/team/x/\n    \
                 endpoint: https://s3.internal:9000/\n    region: eu-central-1\n    node: db-1\n    \
                 keep_local: 7d\n    every: 1m\n";
    let archive = Config::parse(whole, "c")
        .unwrap()
        .recording
        .archive
        .unwrap();
    assert_eq!(
        (archive.bucket.as_str(), archive.prefix.as_str()),
        ("audit", "team/x")
    );
    assert_eq!(archive.endpoint, "https://s3.internal:9000");
    assert_eq!(
        archive.keep_local,
        Some(std::time::Duration::from_hours(7 * 24))
    );
    let least = Config::parse("recording: { archive: { url: s3://audit } }", "c").unwrap();
    let archive = least.recording.archive.unwrap();
    assert_eq!(archive.endpoint, "https://s3.us-east-1.amazonaws.com");
    assert_eq!((archive.prefix.as_str(), archive.keep_local), ("", None));
    for (given, said) in [
        ("{}", "recording.archive.url: is missing"),
        ("{ url: audit/x }", "no place in object storage"),
        ("{ url: s3://A/x }", "no place in object storage"),
        ("{ url: s3://audit/../x }", "no place in object storage"),
        ("{ url: s3://audit//x }", "no place in object storage"),
        (
            "{ url: s3://audit, endpoint: 'http://x' }",
            "do not travel in clear",
        ),
        (
            "{ url: s3://audit, endpoint: 'https://u:p@x' }",
            "do not travel in clear",
        ),
        (
            "{ url: s3://audit, endpoint: 'https://x/y' }",
            "do not travel in clear",
        ),
        ("{ url: s3://audit, every: 2h }", "write 1s to 1h"),
        ("{ url: s3://audit, node: a/b }", "cannot be a name"),
        ("{ url: s3://audit, secret: x }", "secret"),
    ] {
        let errors = Config::parse(&format!("recording: {{ archive: {given} }}"), "c").unwrap_err();
        let all = errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(all.contains(said), "{given}: {all}");
    }
}

#[test]
fn webhooks_are_taken_where_nothing_is_wrong_with_them() {
    let text = "approvals:\n  webhooks:\n\
        \x20 - { name: a, url: \"http://[::1]:80/x\", secret_file: /s, console_url: \"https://c.example/\" }\n\
        \x20 - { name: b, url_file: /u, template: slack, steps: [used] }\n\
        \x20 - { name: c, url: \"https://x.example/rest/api/3/issue\", template: jira, project: OPS, headers: { Authorization: /h } }\n";
    let config = Config::parse(text, "config.yaml").unwrap();
    insta::assert_debug_snapshot!(config.approvals.webhooks);
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (one, other) in ["ab", "bc", "cd", "de", "ef", "fg"]
        .iter()
        .map(|p| p.split_at(1))
    {
        text.push_str(&format!(
            "{other}: &{other} [*{one},*{one},*{one},*{one},*{one},*{one}]\n"
        ));
    }
    assert!(Config::parse(&text, "c").is_err());
    assert!(Config::parse(&"[".repeat(100_000), "c").is_err());
    assert!(Config::parse(&"a".repeat(2 << 20), "c").is_err());
}

#[test]
fn a_destination_finds_its_target() {
    let config = Config::parse(WHOLE, "c").unwrap();
    let mut resolved = HostTable::default();
    let mut claim = |address: &str, name: &str| {
        let names = resolved
            .targets
            .entry(address.parse().unwrap())
            .or_default();
        names.insert(TargetName(name.into()));
    };
    claim("10.9.9.9", "orders");
    claim("10.0.7.9", "orders");
    claim("10.9.9.1", "orders");
    claim("10.9.9.1", "near");
    for (destination, resolved, target) in [
        ("10.0.7.1:5432", &HostTable::default(), Some("orders")),
        ("10.0.7.9:5432", &HostTable::default(), Some("near")),
        (
            "[::ffff:10.0.7.9]:5432",
            &HostTable::default(),
            Some("near"),
        ),
        ("10.0.7.9:5433", &HostTable::default(), None),
        ("10.0.8.1:5432", &HostTable::default(), None),
        // A resolved host goes before a prefix.
        ("10.0.7.9:5432", &resolved, Some("orders")),
        ("10.9.9.9:5432", &resolved, Some("orders")),
        ("10.9.9.9:3306", &resolved, None),
        // Two targets claim it: refused rather than guessed.
        ("10.9.9.1:5432", &resolved, None),
    ] {
        let found = config.target_for(OriginalDst(destination.parse().unwrap()), resolved);
        assert_eq!(
            found.map(|t| t.name.to_string()).as_deref(),
            target,
            "{destination}"
        );
    }
}

#[test]
fn the_first_group_that_matches_gives_the_role() {
    let config = Config::parse(WHOLE, "c").unwrap();
    let credentials = &config.targets[0].credentials;
    assert_eq!(credentials.of(&["dba".to_owned()]).username, "owner");
    assert_eq!(credentials.of(&["other".to_owned()]).username, "svc");
}

#[test]
fn the_sample_configuration_is_good() {
    let text = include_str!("../../../deploy/config.yaml");
    assert_eq!(Config::parse(text, "deploy/config.yaml").err(), None);
}
