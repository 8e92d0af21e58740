//! Pure. The top of the page: what holds, who and where, totals, time line, what stands out.

use std::io::{self, Write};

use super::escape::{Attribute, Text};
use super::gather::{Gathered, Kind};
use crate::record::{Began, Ending, LoggedIn, Login};
use crate::replay::read::{Outcome, State};
use crate::replay::told::Refused;
use crate::replay::{Verdict, when};

/// Everything before the first statement.
pub(super) fn write(gathered: &Gathered, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<a class=\"skip\" href=\"#statements\">Skip to the statements</a>\n<main>\n<header>\n\
         <p class=\"kicker\">Recorded database session</p>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>",
        gathered.state.session,
        Text(&lead(gathered)),
    )?;
    seal(&gathered.state, out)?;
    totals(gathered, out)?;
    timeline(gathered, out)?;
    remarkable(gathered, out)?;
    about(gathered, out)?;
    writeln!(
        out,
        "<section id=\"statements\" aria-labelledby=\"statements-h\">\n\
         <h2 id=\"statements-h\">Statements</h2>"
    )?;
    filter(out)
}

fn lead(gathered: &Gathered) -> String {
    let who = match gathered.login.as_deref() {
        Some(LoggedIn {
            login:
                Login::Admitted {
                    principal,
                    database,
                    ..
                },
            ..
        }) => format!("{} in {database}", principal.user.subject),
        Some(LoggedIn {
            login: Login::Refused(_),
            ..
        }) => "Nobody: the login was refused".to_owned(),
        None => "Nobody logged in".to_owned(),
    };
    let Some(began) = &gathered.began else {
        return who;
    };
    format!(
        "{who}, on {}, by workload {}. {}{}",
        began.target.0,
        began.workload.name,
        when::full(began.at),
        match lasted(gathered) {
            Some(lasted) => format!(", for {lasted}"),
            None => String::new(),
        }
    )
}

fn lasted(gathered: &Gathered) -> Option<String> {
    let millis = gathered.last?.0.saturating_sub(gathered.first?.0);
    Some(when::lasted(u64::try_from(millis).ok()?))
}

/// What verification says. A signature of the node, where a recording has one, has its line here.
fn seal(state: &State, out: &mut dyn Write) -> io::Result<()> {
    let (class, says) = match (&state.outcome, state.live) {
        _ if state.verdict() == Verdict::Bad => ("bad", "Damaged: this recording was changed"),
        (Some(Outcome::Sound(Ending::Closed)), _) => ("good", "Unbroken and closed"),
        (_, true) => (
            "open",
            "Unbroken so far: the session was open when this was written",
        ),
        (Some(Outcome::Sound(Ending::Torn { .. })), false) => (
            "open",
            "Unbroken, with a torn end: whoever wrote it was stopped",
        ),
        _ => (
            "open",
            "Unbroken, without a close: whoever wrote it was stopped",
        ),
    };
    writeln!(
        out,
        "<section class=\"seal {class}\" aria-labelledby=\"seal-h\">\n<h2 id=\"seal-h\">Verification</h2>\n\
         <p class=\"verdict\">{says}</p>\n<p>{}.</p>\n<dl>",
        Text(&state.sentence()),
    )?;
    fact("Chain (BLAKE3)", &state.hash, "hash", out)?;
    fact(
        "Extent",
        &format!(
            "{} {}, {} bytes, {} events",
            state.blocks,
            if state.blocks == 1 { "block" } else { "blocks" },
            state.bytes,
            state.progress.events
        ),
        "",
        out,
    )?;
    writeln!(out, "</dl>\n</section>")
}

fn fact(name: &str, value: &str, class: &str, out: &mut dyn Write) -> io::Result<()> {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    writeln!(
        out,
        "<div><dt>{name}</dt><dd{class}>{}</dd></div>",
        Text(value)
    )
}

fn totals(gathered: &Gathered, out: &mut dyn Write) -> io::Result<()> {
    let totals = &gathered.totals;
    writeln!(
        out,
        "<section aria-labelledby=\"totals-h\">\n<h2 id=\"totals-h\">Totals</h2>\n<dl class=\"totals\">"
    )?;
    let lasted = lasted(gathered);
    for (name, value, class) in [
        ("statements", totals.statements, ""),
        ("denied", totals.denied, "denied"),
        ("held", totals.held, "held"),
        ("observed only", gathered.observed, "held"),
        ("failed", totals.failed, "failed"),
        ("rows", totals.rows, ""),
        ("bytes", totals.bytes, ""),
    ] {
        let class = if value == 0 { "none" } else { class };
        writeln!(
            out,
            "<div class=\"{class}\"><dt>{name}</dt><dd>{}</dd></div>",
            grouped(value)
        )?;
    }
    if let Some(lasted) = lasted {
        writeln!(out, "<div><dt>lasted</dt><dd>{}</dd></div>", Text(&lasted))?;
    }
    writeln!(out, "</dl>\n</section>")
}

/// `1234567` as `1 234 567`, with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 8);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn timeline(gathered: &Gathered, out: &mut dyn Write) -> io::Result<()> {
    let (Some(first), Some(last)) = (gathered.first, gathered.last) else {
        return Ok(());
    };
    let says = format!(
        "{} statements from {} to {}, {} of them denied, {} held, {} failed",
        gathered.totals.statements,
        when::clock(first),
        when::clock(last),
        gathered.totals.denied,
        gathered.totals.held,
        gathered.totals.failed
    );
    writeln!(
        out,
        "<section aria-labelledby=\"time-h\">\n<h2 id=\"time-h\">Time line</h2>\n<figure>{}\n\
         <figcaption><span>{}</span><span class=\"legend\"><span class=\"key any\">statements</span> \
         <span class=\"key denied\">denied</span> <span class=\"key held\">held or observed</span> \
         <span class=\"key failed\">failed</span></span><span>{}</span></figcaption></figure>\n</section>",
        gathered.timeline.draw(&says),
        Text(&when::clock(first)),
        Text(&when::clock(last)),
    )
}

fn remarkable(gathered: &Gathered, out: &mut dyn Write) -> io::Result<()> {
    if gathered.remarkable.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<section aria-labelledby=\"out-h\">\n<h2 id=\"out-h\">What stands out</h2>\n\
         <div class=\"wide\" role=\"region\" aria-labelledby=\"out-c\" tabindex=\"0\">\n<table>\n\
         <caption id=\"out-c\">Statements that were denied, held, observed or failed</caption>\n\
         <thead><tr><th scope=\"col\">Statement</th><th scope=\"col\">At</th><th scope=\"col\">What</th>\
         <th scope=\"col\">Why</th><th scope=\"col\">Text</th></tr></thead>\n<tbody>"
    )?;
    for one in &gathered.remarkable {
        let (class, place) = match (one.kind, one.seq) {
            (Kind::Failed, seq) => ("failed", format!("n{seq}")),
            (Kind::Ruled(_), 0) => ("denied", "about".to_owned()),
            (Kind::Ruled(ruled), seq) => (ruled.word(), format!("n{seq}")),
        };
        let name = match one.seq {
            0 => "login".to_owned(),
            seq => format!("#{seq}"),
        };
        writeln!(
            out,
            "<tr><td><a href=\"#{place}\">{name}</a></td><td class=\"at\">{}</td>\
             <td><span class=\"badge {class}\">{}</span></td><td>{}</td><td><code>{}</code></td></tr>",
            when::clock(one.at),
            one.kind.word(),
            Text(&one.why),
            Text(&one.text),
        )?;
    }
    writeln!(out, "</tbody>\n</table>\n</div>")?;
    if gathered.more > 0 {
        writeln!(out, "<p>And {} more, below.</p>", gathered.more)?;
    }
    writeln!(out, "</section>")
}

fn about(gathered: &Gathered, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<section id=\"about\" aria-labelledby=\"about-h\">\n<h2 id=\"about-h\">Who and where</h2>\n<dl>"
    )?;
    if let Some(began) = &gathered.began {
        origin(began, out)?;
    }
    if let Some(login) = &gathered.login {
        identity(gathered, login, out)?;
    }
    writeln!(out, "</dl>\n</section>")
}

fn origin(began: &Began, out: &mut dyn Write) -> io::Result<()> {
    let process = &began.process;
    let labels: Vec<String> = began
        .workload
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    fact("Workload", &began.workload.name, "", out)?;
    if !labels.is_empty() {
        fact("Labels", &labels.join(", "), "", out)?;
    }
    let executable = process.executable.as_ref();
    fact(
        "Process",
        &format!(
            "{}, pid {}, uid {}, cgroup {}{}",
            process.comm,
            process.pid,
            process.uid,
            process.cgroup,
            executable.map_or(String::new(), |path| format!(", {path}"))
        ),
        "",
        out,
    )?;
    if let Some(digest) = &process.digest {
        fact("Executable", &digest.to_string(), "", out)?;
    }
    fact(
        "Path",
        &format!("{} → {}", began.client, began.destination),
        "",
        out,
    )?;
    fact(
        "Target",
        &format!("{} ({})", began.target.0, began.dialect),
        "",
        out,
    )?;
    fact("Began", &when::full(began.at), "", out)
}

fn identity(gathered: &Gathered, login: &LoggedIn, out: &mut dyn Write) -> io::Result<()> {
    match &login.login {
        Login::Admitted {
            principal,
            wished_role,
            database,
            role,
            application,
            tls,
            kept,
            settings: _,
            upstream: _,
        } => {
            let user = &principal.user;
            fact("User", &user.subject, "", out)?;
            fact("Issuer", &user.issuer, "", out)?;
            fact("Groups", &user.groups.join(", "), "", out)?;
            for (claim, value) in &user.claims {
                fact("Claim", &format!("{claim} = {value}"), "", out)?;
            }
            fact("Database", database, "", out)?;
            fact(
                "Role",
                &format!("{role} (wished for {wished_role})"),
                "",
                out,
            )?;
            if let Some(application) = application {
                fact("Application", application, "", out)?;
            }
            let leg = if *tls { "TLS" } else { "in clear" };
            fact("Client's leg", leg, "", out)?;
            if let Some(kept) = kept {
                let from = format!(
                    "kept from {}, server process {}",
                    kept.session, kept.process
                );
                fact("Connection", &from, "", out)?;
            }
            Ok(())
        }
        Login::Refused(refusal) => {
            let refused = Refused::of(refusal, gathered.state.session, Default::default());
            fact(
                "Login",
                &format!("refused at {}", when::full(login.at)),
                "",
                out,
            )?;
            fact("As the client saw it", &refused.line(), "denied", out)?;
            fact("Detail", &refused.detail, "", out)?;
            match &refused.hint {
                Some(hint) => fact("Hint", hint, "", out),
                None => Ok(()),
            }
        }
    }
}

/// Which statements to see, without a script: the style sheet looks at what is chosen.
fn filter(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<fieldset class=\"filter\"><legend>Show</legend>")?;
    for (id, name) in [
        ("all", "all"),
        ("judged", "denied and held"),
        ("failed", "failed"),
        ("masked", "with masked columns"),
    ] {
        let checked = if id == "all" { " checked" } else { "" };
        writeln!(
            out,
            "<label><input type=\"radio\" name=\"show\" id=\"show-{}\"{checked}> {name}</label>",
            Attribute(id)
        )?;
    }
    writeln!(
        out,
        "</fieldset>\n<p class=\"filtered\" role=\"note\">Not all statements are shown: see “Show” above.</p>"
    )
}
