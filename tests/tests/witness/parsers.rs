//! Both parsers over the whole suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use node_agent::model::Dialect;
use node_agent::sql::{Second, Sureness, analyze, second_opinion};
use node_agent_tests::parts;

use super::listed::{Listed, shown};
use super::split::split;

/// Fewer statements than this, and the suite was not read.
const LEAST: usize = 38_000;
/// Both must have an opinion of at least so many in a hundred.
const HEARD: usize = 85;

#[test]
fn the_two_parsers_differ_only_where_it_is_listed() -> Result<()> {
    let mut listed = Listed::read()?;
    let mut files: Vec<_> = fs::read_dir(parts::part("regress/sql")?)?
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sql"))
        .collect();
    files.sort();
    let (mut understood, mut agreed, mut opaque, mut skipped) =
        (0_usize, 0_usize, 0_usize, 0_usize);
    let mut alone: BTreeMap<String, usize> = BTreeMap::new();
    let mut unlisted = String::new();
    let (mut differing, mut refused) = (0, 0);
    for path in &files {
        let bytes = fs::read(path)?;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (statements, variables) = split(&String::from_utf8_lossy(&bytes));
        skipped += variables;
        for statement in statements {
            let analysis = analyze(Dialect::Postgres, &statement.text);
            if analysis.sureness != Sureness::Complete {
                opaque += 1;
                continue;
            }
            understood += 1;
            let opinion = match analysis.second {
                Second::Alone(why) => {
                    *alone.entry(why.into_owned()).or_default() += 1;
                    // What is known to be misread is listed too.
                    second_opinion(&statement.text)
                }
                heard => {
                    agreed += usize::from(heard == Second::Agrees);
                    refused += usize::from(matches!(heard, Second::Differs(_)));
                    heard
                }
            };
            match opinion {
                Second::Agrees | Second::Alone(_) => {}
                Second::Unasked => panic!("nobody asked about {}", statement.text),
                Second::Differs(differs) => {
                    differing += 1;
                    let text = shown(&statement.text);
                    if !listed.take(&name, &text) {
                        let about: Vec<_> =
                            differs.about.iter().map(|about| about.word()).collect();
                        writeln!(
                            unlisted,
                            "| {name}:{} | {}: {} | `{}` |",
                            statement.line,
                            about.join("+"),
                            differs.what,
                            text.replace('|', "\\|")
                        )?;
                    }
                }
            }
        }
    }
    println!(
        "{} files: {understood} statements understood, {opaque} not, {skipped} left out; {agreed} \
         agreed on, {differing} not, of which {refused} count",
        files.len()
    );
    for (why, count) in &alone {
        println!("{count:6} {why}");
    }
    assert!(
        unlisted.is_empty() && listed.left().is_empty(),
        "not listed:\n{unlisted}\nlisted, and agreed on now:\n{:#?}",
        listed.left()
    );
    assert!(understood >= LEAST, "only {understood} statements");
    assert!(
        agreed * 100 >= understood * HEARD,
        "only {agreed} are agreed on"
    );
    Ok(())
}
