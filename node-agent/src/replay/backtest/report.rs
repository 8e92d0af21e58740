//! IO. A backtest, told.

use std::io::{self, Write};

use super::super::{Style, json, visible, when};
use super::tally::{Example, Group, Key, Tally, kind, ordered};
use super::turn::Word;

impl Tally {
    /// Prints it: for people, or as one JSON object.
    pub fn print(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        match style {
            Style::Json => json::line(self, out)?,
            Style::Text => self.text(out)?,
        }
        out.flush()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        groups(&ordered(&self.flips), "", out)?;
        groups(&ordered(&self.observed), "if enforced, ", out)?;
        groups(&ordered(&self.others), "the same decision: ", out)?;
        for (title, reasons) in [
            ("cannot be judged", &self.unjudged),
            ("refused then, and by no policy", &self.not_policy),
        ] {
            if reasons.is_empty() {
                continue;
            }
            writeln!(out, "{title}:")?;
            for (why, reason) in reasons {
                write!(out, "  {:>6}  {}", reason.count, visible(why))?;
                for spot in &reason.references {
                    write!(out, "  {spot}")?;
                }
                writeln!(out)?;
            }
            writeln!(out)?;
        }
        for (path, why) in &self.unreadable {
            writeln!(
                out,
                "NOT READ TO ITS END  {}: {}",
                visible(path),
                visible(why)
            )?;
        }
        writeln!(out, "{}", self.sentence())
    }

    fn sentence(&self) -> String {
        let summary = &self.summary;
        let mut text = format!(
            "{} in {} judged by policies of version {}: ",
            many(summary.judged, "decision"),
            many(summary.sessions, "session"),
            self.policy_version,
        );
        match summary.flips {
            0 => text.push_str("none flips"),
            1 => text.push_str("1 flips"),
            flips => text.push_str(&format!("{flips} flip")),
        }
        if summary.flips > 0 {
            let (stricter, freer) = (summary.stricter, summary.freer);
            text.push_str(&format!(" ({stricter} stricter, {freer} freer)"));
        }
        for (count, what) in [
            (
                summary.observed,
                "would if observing policies were enforced",
            ),
            (
                summary.others,
                "the same by another rule, or with other masks or limits",
            ),
            (summary.unjudged, "cannot be judged"),
            (summary.not_policy, "refused by no policy"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {count} {what}"));
            }
        }
        text
    }
}

fn groups(groups: &[(&Key, &Group)], before: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut last = None;
    for (key, group) in groups {
        if last != Some(kind(key)) {
            last = Some(kind(key));
            let (from, to) = kind(key);
            let all = groups.iter().filter(|(one, _)| kind(one) == (from, to));
            let statements = all.map(|(_, group)| group.statements).sum();
            writeln!(
                out,
                "{before}{} -> {}: {}",
                from.word(),
                to.word(),
                many(statements, "statement")
            )?;
        }
        let what = match key.what() {
            [] => String::new(),
            what => format!(" (other: {})", what.join(", ")),
        };
        writeln!(
            out,
            "  {} -> {}{what}, workload {}: {} in {}",
            by(key.from()),
            by(key.to()),
            visible(key.workload()),
            many(group.statements, "statement"),
            many(group.sessions.len() as u64, "session"),
        )?;
        for example in &group.examples {
            self::example(example, out)?;
        }
    }
    if last.is_some() {
        writeln!(out)?;
    }
    Ok(())
}

fn example(example: &Example, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "    {}  {}  {}  {}",
        example.reference,
        when::short(example.at),
        visible(&example.user),
        visible(&example.statement)
    )?;
    match &example.reason {
        Some(reason) => writeln!(out, "        {}", visible(reason)),
        None => Ok(()),
    }
}

fn by(word: &Word) -> String {
    visible(&word.by).into_owned()
}

fn many(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
