//! Pages of whole sessions.

use std::process::Command;

use super::*;
use crate::replay::showcase::{NASTY, everything, harm, long};

fn of(path: &Path) -> (Verdict, String) {
    let mut out = Vec::new();
    let verdict = page(path, &Identities::none(), &mut out).unwrap();
    (verdict, String::from_utf8(out).unwrap())
}

#[test]
fn a_page_tells_the_whole_session() {
    let dir = tempfile::tempdir().unwrap();
    let (verdict, html) = of(&everything().write(dir.path()));
    assert_eq!(verdict, Verdict::Good);
    let body = html.split_once("</head>").unwrap().1;
    // The drawing is long, and tested by itself.
    let (before, rest) = body.split_once("<svg").unwrap();
    let after = rest.split_once("</svg>").unwrap().1;
    let version = concat!("node-agent ", env!("CARGO_PKG_VERSION"));
    let body = format!("{before}{after}").replace(version, "node-agent VERSION");
    // The chain's hash is of the packed bytes.
    let (_, hash) = body.split_once("Chain <code class=\"hash\">").unwrap();
    let body = body.replace(&hash[..64], "HASH");
    insta::assert_snapshot!(body);
}

#[test]
fn the_page_may_load_nothing_and_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, html) = of(&everything().write(dir.path()));
    let style = html.split_once("<style>").unwrap().1;
    let style = style.split_once("</style>").unwrap().0;
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    let policy = format!(
        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\""
    );
    assert!(
        html.contains(&policy),
        "the style is the one that is allowed"
    );
    for none in [
        "<script",
        "src=",
        "url(",
        "@import",
        "http://",
        " style=\"",
        "<link",
        "<iframe",
        "onerror=",
    ] {
        assert!(!html.contains(none), "{none}");
    }
    // The one address is the issuer's, as text.
    assert_eq!(
        html.matches("https://").count(),
        html.matches("<dd>https://").count()
    );
}

/// Every tag, with its attributes.
fn tags(html: &str) -> Vec<&str> {
    let parts = html.split('<').skip(1);
    parts.map(|part| part.split_once('>').unwrap().0).collect()
}

#[test]
fn nothing_recorded_is_obeyed_by_a_browser_or_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let (verdict, html) = of(&harm().write(dir.path()));
    assert_eq!(verdict, Verdict::Good);
    for line in html.split('\n') {
        let own = line.replace('\u{202f}', " ");
        assert_eq!(
            crate::replay::visible(&own),
            own,
            "nothing is left to be made visible"
        );
    }
    // After the style, a page has these elements, whatever was recorded.
    let body = html.split_once("</style>").unwrap().1;
    for tag in tags(body) {
        let name: String = tag
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '/')
            .collect();
        let known = [
            "a",
            "article",
            "b",
            "body",
            "caption",
            "code",
            "dd",
            "details",
            "div",
            "dl",
            "dt",
            "fieldset",
            "figcaption",
            "figure",
            "footer",
            "h1",
            "h2",
            "h3",
            "head",
            "header",
            "html",
            "input",
            "label",
            "legend",
            "main",
            "p",
            "pre",
            "rect",
            "section",
            "span",
            "strong",
            "summary",
            "svg",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
        ];
        assert!(known.contains(&name.trim_start_matches('/')), "<{tag}>");
        assert!(!tag.contains("on") || !tag.contains("error="), "<{tag}>");
    }
    // It is all there to be read: statement twice, parameter, value, column, notices and the rest.
    let shown = Text(NASTY).to_string();
    assert!(
        body.matches(&shown).count() >= 12,
        "{}",
        body.matches(&shown).count()
    );
    assert!(!html.contains(NASTY));
}

#[test]
fn a_page_says_what_verification_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = everything().write(dir.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (verdict, html) = of(&path);
    assert_eq!(verdict, Verdict::Good);
    assert!(html.contains("with a torn end"), "{html}");
    let mut changed = whole.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let (verdict, html) = of(&path);
    assert_eq!(verdict, Verdict::Bad);
    assert!(html.contains("class=\"seal bad\"") && html.contains("its contents were changed"));
    // Another session's file under this name.
    let renamed = dir.path().join("s-0000000000000001.rec");
    std::fs::write(&renamed, &whole).unwrap();
    let (verdict, html) = of(&renamed);
    assert_eq!(verdict, Verdict::Bad);
    assert!(html.contains("the file was renamed"));
}

#[test]
fn a_long_session_takes_no_more_memory_than_a_short_one() {
    const CHILD: &str = "NODE_AGENT_TEST_LONG_PAGE";
    if let Some(path) = std::env::var_os(CHILD) {
        let _verdict = page(Path::new(&path), &Identities::none(), &mut io::sink()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        println!("peak {peak}");
        return;
    }
    let peak = |statements, rows| -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = long(dir.path(), statements, rows);
        let name = "replay::html::tests::a_long_session_takes_no_more_memory_than_a_short_one";
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, &path)
            .output()
            .unwrap();
        let told = String::from_utf8(out.stdout).unwrap();
        let line = told
            .lines()
            .find(|line| line.contains("VmHWM"))
            .expect(&told);
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let (short, long) = (peak(300, 60), peak(4_000, 60));
    assert!(
        long < short + 24 * 1024,
        "{long} KiB, a short one {short} KiB"
    );
}
