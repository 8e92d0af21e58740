//! Sign-ins and forms that somebody else made.

use anyhow::{Context, Result};
use node_agent_tests::idp::Person;

use super::browser::fetch;
use super::{agent_is_here, browser, dba, held, signed_in, world};

const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

#[test]
fn a_form_that_is_not_the_console_s_own_does_nothing() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut dora = signed_in(&world, dba())?;
    let held = held(&world, &mut dora, "delete from pay where id = 9")?;
    let token = dora.get(&held.path())?.token()?;
    let approve = format!("{}/approve", held.path());
    let good = format!("token={token}&scope=once");
    let console = format!("http://{}", world.agent().admin());
    let own = console.as_str();
    for (what, headers, said) in [
        (
            "nothing says whence",
            vec![],
            "not sent by a form of the console",
        ),
        (
            "another origin",
            vec![("origin", "https://evil.example")],
            "not sent by a form",
        ),
        (
            "no origin in words",
            vec![("origin", "null")],
            "not sent by a form",
        ),
        (
            "another site",
            vec![("sec-fetch-site", "cross-site")],
            "not sent by a form",
        ),
        (
            "another port",
            vec![("sec-fetch-site", "same-site")],
            "not sent by a form",
        ),
        (
            "typed",
            vec![("sec-fetch-site", "none")],
            "not sent by a form",
        ),
        (
            "one right and one wrong",
            vec![("origin", own), ("sec-fetch-site", "cross-site")],
            "not sent by a form",
        ),
    ] {
        let page = dora.send("POST", &approve, &headers, &good)?;
        assert!(
            page.status == 403 && page.body.contains(said),
            "{what}: {page:?}"
        );
    }
    // Another name that leads here.
    let page = dora.send("GET", "/console", &[("host", "evil.example")], "")?;
    page.says(421, "not called by this name");
    // The token of another sign-in, of none, and none.
    let theirs = signed_in(&world, Person::new("mallory", &["dba"]))?;
    let token = theirs.clone().get("/console")?.token()?;
    for form in [
        format!("token={token}&scope=once"),
        "scope=once".to_owned(),
        "token=&scope=once".into(),
    ] {
        dora.post(&approve, &form)?.says(403, "not of your sign-in");
    }
    // What the form does not have.
    assert_eq!(
        dora.post(&approve, &format!("{good}&unknown=1"))?.status,
        422
    );
    // By GET nothing is decided, whatever it says.
    assert_eq!(dora.get(&format!("{approve}?{good}"))?.status, 405);
    // A cookie of one's own making, none, and two.
    let name = "node-agent-console".to_owned();
    let real = dora.cookies.get(&name).context("a session")?.clone();
    for value in ["A".repeat(43), String::new(), format!("{real}; {name}=x")] {
        dora.cookies.insert(name.clone(), value);
        dora.get(&held.path())?.says(401, "Sign in");
        dora.post(&approve, &good)?
            .says(403, "not signed in any more");
    }
    dora.cookies.insert(name, real);
    dora.get(&held.path())?.says(200, "pending");

    // Out: the cookie is worth nothing afterwards, to whoever kept it.
    let mut kept = dora.clone();
    let token = dora.get("/console")?.token()?;
    dora.post("/console/sign-out", "token=x")?
        .says(403, "not of your sign-in");
    dora.post("/console/sign-out", &format!("token={token}"))?
        .says(200, "signed out here");
    kept.get("/console")?.says(401, "Sign in");
    Ok(())
}

#[test]
fn every_answer_is_bound_to_the_console_and_kept_by_nobody() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let mut visitor = browser(&world);
    let mut dora = signed_in(&world, dba())?;
    let pages = [
        visitor.get("/console")?,
        visitor.get("/console/nowhere")?,
        visitor.get("/console/callback")?,
        visitor.post("/console/sign-out", "")?,
        visitor.send("GET", "/console", &[("host", "evil.example")], "")?,
        dora.get("/console")?,
        dora.get("/console/history")?,
        dora.get("/console/style.css")?,
    ];
    for page in pages {
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), Some(value), "{name} in {page:?}");
        }
        assert!(
            !page.body.contains("<script") && !page.body.contains(" style="),
            "{page:?}"
        );
    }
    // Only who asks for it gets a page that renews itself.
    assert_eq!(dora.get("/console")?.header("refresh"), None);
    assert_eq!(
        dora.get("/console?follow=yes")?.header("refresh"),
        Some("15")
    );
    // A link from a chat: the browser keeps the cookie back, and comes again from here.
    let page = visitor.send(
        "GET",
        "/console/history",
        &[("sec-fetch-site", "cross-site")],
        "",
    )?;
    assert_eq!(page.header("refresh"), Some("0; url=/console/history"));
    Ok(())
}

#[test]
fn a_sign_in_that_is_not_this_browser_s_own_is_none() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    world.idp.sit_down(dba());
    // Cookies: the one of the sign-in comes back from the issuer's page, the session's never does.
    let mut dora = browser(&world);
    let url = dora.begin("")?;
    let page = dora.get("/console/sign-in")?;
    let cookie = page.header("set-cookie").context("a cookie")?;
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    for word in [
        "response_type=code",
        "code_challenge_method=S256",
        "nonce=",
        "state=",
        "max_age=28800",
    ] {
        assert!(url.contains(word), "{url}");
    }
    let url = dora.begin("?next=//evil.example")?;
    let back = dora.at_issuer(&url)?;
    let page = dora.back(&back)?;
    let cookie = page.header("set-cookie").context("a cookie")?;
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert_eq!(page.header("refresh"), Some("0; url=/console"));

    // The same code again, in this browser and in another.
    dora.back(&back)?.says(400, "no such sign-in under way");
    let mut other = browser(&world);
    other.back(&back)?.says(400, "no such sign-in under way");
    let url = other.begin("")?;
    let theirs = other.at_issuer(&url)?;
    let state = |path: &str| -> Result<String> {
        let (_, rest) = path.split_once("state=").context("a state")?;
        Ok(rest.split('&').next().unwrap_or_default().to_owned())
    };
    let swapped = back.replace(&state(&back)?, &state(&theirs)?);
    other.back(&swapped)?.says(403, "invalid_grant");
    // The code of another's sign-in, with its state, and with one's own: login forged, code injected.
    for with_state in [false, true] {
        let (mut eve, mut victim) = (browser(&world), browser(&world));
        let eves = eve.begin("")?;
        let eves = eve.at_issuer(&eves)?;
        let victims = victim.begin("")?;
        let victims = victim.at_issuer(&victims)?;
        if with_state {
            let injected = eves.replace(&state(&eves)?, &state(&victims)?);
            victim.back(&injected)?.says(403, "invalid_grant");
        } else {
            victim.back(&eves)?.says(400, "another sign-in (state)");
        }
        victim.get("/console")?.says(401, "Sign in");
    }
    // From another issuer, by its own word; and an error of the issuer's.
    let mut again = browser(&world);
    let url = again.begin("")?;
    let back = again.at_issuer(&url)?;
    let (before, _) = back.split_once("&iss=").context("an issuer")?;
    again
        .back(&format!("{before}&iss=https%3A%2F%2Fevil.example"))?
        .says(400, "another issuer");
    again.begin("")?;
    let page = again.back("/console/callback?error=%3Cscript%3E&state=x")?;
    page.says(400, "another sign-in (state)");
    let url = again.begin("")?;
    let back = again.at_issuer(&url)?;
    let page = again.back(&format!(
        "/console/callback?error=%3Cscript%3E&state={}",
        state(&back)?
    ))?;
    page.says(403, "The issuer did not sign you in");
    Ok(())
}

#[test]
fn an_id_token_that_was_made_for_something_else_signs_nobody_in() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    world.idp.sit_down(dba());
    type Change = fn(node_agent_tests::idp::Claims) -> node_agent_tests::idp::Claims;
    let changes: [(Change, &str); 8] = [
        (
            |claims| claims.with("nonce", "x"),
            "belongs to another sign-in",
        ),
        (
            |claims| claims.without("nonce"),
            "belongs to another sign-in",
        ),
        (|claims| claims.with("aud", "node-agent"), "audience"),
        (
            |claims| claims.with("aud", serde_json::json!(["console", "other"])),
            "audience",
        ),
        (|claims| claims.with("azp", "other"), "(azp)"),
        (
            |claims| claims.with("iss", "https://evil.example"),
            "issuer",
        ),
        (|claims| claims.with("exp", 1_000_000_000), "expired"),
        (
            |claims| claims.with("auth_time", 4_000_000_000_i64),
            "clock is ahead",
        ),
    ];
    for (change, said) in changes {
        world.idp.forge(change);
        let mut browser = browser(&world);
        browser.sign_in("")?.says(403, said);
        browser.get("/console")?.says(401, "Sign in");
    }
    // Without a word about when, one may look and not approve.
    world.idp.forge(|claims| claims.without("auth_time"));
    let mut dora = browser(&world);
    dora.sign_in("")?.says(200, "One moment");
    let held = held(&world, &mut dora, "delete from pay where id = 9")?;
    let page = dora.get(&held.path())?;
    page.says(200, "Sign in anew to approve");
    let form = format!("token={}&scope=once", page.token()?);
    dora.post(&format!("{}/approve", held.path()), &form)?
        .says(403, "too long ago");
    dora.sign_in("?anew")?.says(403, "(auth_time)");
    // The console is not open beside itself.
    let metrics = format!("http://{}/metrics", world.agent().admin());
    assert_eq!(fetch("GET", &metrics, &[], "")?.status, 200);
    Ok(())
}
