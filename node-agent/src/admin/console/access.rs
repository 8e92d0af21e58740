//! Access on the console's pages: what is asked for, for how long it may be given, and what is in force.

use std::fmt::Write as _;

use super::case::{pair, statement};
use crate::approval::{Case, Scope, State, Terms, Wanted, time as words};
use crate::clock;
use crate::replay::{Text, moment};

/// What is asked for.
pub(super) fn wanted(out: &mut String, wanted: &Wanted) {
    out.push_str("<section>\n<h2>What would be in force</h2>\n<dl>\n");
    pair(out, "Policy", &wanted.policy);
    for rule in &wanted.rules {
        pair(out, "It", rule);
    }
    pair(
        out,
        "Where",
        &match &wanted.workload {
            Some(workload) => format!("workload {workload} only"),
            None => "every workload of this user".to_owned(),
        },
    );
    pair(out, "For at most", &words(wanted.longest));
    if let Some(by) = &wanted.by {
        pair(out, "Given by", by);
    }
    out.push_str("</dl>\n</section>\n");
    if wanted.refused.is_none() && wanted.unshown.is_none() {
        return;
    }
    out.push_str("<section>\n<h2>What was refused without it</h2>\n");
    if let Some(shown) = &wanted.refused {
        statement(out, shown, 3);
    }
    if let Some(why) = &wanted.unshown {
        let _ = writeln!(out, "<p>It is not shown: {}.</p>", Text(why));
    }
    out.push_str("</section>\n");
}

/// For how long, as a part of the form that approves.
pub(super) fn terms(out: &mut String, wanted: &Wanted, agreed: Option<Terms>) {
    if let Some(agreed) = agreed {
        let _ = writeln!(
            out,
            "<p>Reviewers before you agreed on: {}. You agree to the same.</p>\n\
             <input type=\"hidden\" name=\"scope\" value=\"once\">",
            Text(&agreed.to_string())
        );
        return;
    }
    let minutes = |time: u64| (time / 60_000).max(1);
    let _ = writeln!(
        out,
        "<input type=\"hidden\" name=\"scope\" value=\"access\">\n\
         <label for=\"minutes\">For so many minutes (1 to {})</label>\n\
         <input id=\"minutes\" name=\"minutes\" type=\"number\" inputmode=\"numeric\" min=\"1\" max=\"{}\" \
         value=\"{}\" required>",
        minutes(wanted.longest),
        minutes(wanted.longest),
        minutes(wanted.usual)
    );
}

/// The time that a form grants.
pub(super) fn time(minutes: &str) -> Result<Scope, &'static str> {
    let minutes: u64 = minutes
        .trim()
        .parse()
        .map_err(|_| "Write for how many minutes the policy is to be in force.")?;
    minutes
        .checked_mul(60_000)
        .map(Scope::Access)
        .ok_or("Nobody waits so long.")
}

/// What is in force, a list with links.
pub(super) fn in_force(cases: &[Case]) -> String {
    let now = clock::now();
    let mut list = String::new();
    for case in cases {
        let (Some(wanted), State::Approved { until }) = (case.request.access(), &case.state) else {
            continue;
        };
        if now >= *until {
            continue;
        }
        let whom = &case.request.requester;
        let _ = writeln!(
            list,
            "<li class=\"st\">\n<h2><a href=\"/console/requests/{}\">{} · policy {}</a></h2>\n\
             <p class=\"when\">{} · until {} · {}</p>\n</li>",
            case.request.id,
            Text(&whom.subject),
            Text(&wanted.policy),
            Text(&match &wanted.workload {
                Some(workload) => format!("workload {workload}"),
                None => "every workload".to_owned(),
            }),
            moment(*until),
            Text(&case.told()),
        );
    }
    match list.is_empty() {
        true => list,
        false => format!("<h2>Access in force</h2>\n<ol class=\"cases\">\n{list}</ol>\n"),
    }
}
