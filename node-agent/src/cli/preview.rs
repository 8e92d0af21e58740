//! `approvals preview`: what a held statement did before it was rolled back.

use node_agent::approval::{Preview, Sample};
use node_agent::record::RecordedCell;
use node_agent::replay::visible;

use super::out;

pub(super) fn told(preview: &Preview) -> anyhow::Result<()> {
    out::line(format!("{}: {}", preview.id, visible(&preview.words())))?;
    for table in &preview.tables {
        let changed = &table.changed;
        out::line("")?;
        out::line(format!(
            "{}: {} inserted, {} updated, {} deleted",
            visible(&changed.table),
            changed.inserted,
            changed.updated,
            changed.deleted
        ))?;
        if changed.updated + changed.deleted > 0 {
            sample("before", &table.before)?;
        }
        if changed.updated + changed.inserted > 0 {
            sample("after", &table.after)?;
        }
    }
    Ok(())
}

fn sample(when: &str, sample: &Sample) -> anyhow::Result<()> {
    out::line(format!("  {when}"))?;
    if !sample.rows.is_empty() {
        let head = sample.columns.iter().map(|name| visible(name).into_owned());
        let mut rows = vec![std::iter::once("   ".to_owned()).chain(head).collect()];
        for row in &sample.rows {
            let cells = row.iter().map(cell);
            rows.push(std::iter::once("   ".to_owned()).chain(cells).collect());
        }
        out::table(&rows)?;
    }
    if !sample.withheld.is_empty() {
        let names = sample.withheld.join(", ");
        let why = "nobody can say whether a mask is on them";
        out::line(format!("    not shown: {} ({why})", visible(&names)))?;
    }
    match &sample.why {
        Some(why) => out::line(format!("    {}", visible(why))),
        None if sample.rows.is_empty() => out::line("    no row is seen"),
        None => Ok(()),
    }
}

fn cell(cell: &RecordedCell) -> String {
    match cell {
        RecordedCell::Null => "NULL".to_owned(),
        RecordedCell::Text(text) => visible(text).into_owned(),
        RecordedCell::Binary(hex) => format!("\\x{hex}"),
        RecordedCell::Begins { text, length } => {
            format!("{}… ({length} bytes in all)", visible(text))
        }
        RecordedCell::Long(bytes) => format!("{bytes} bytes, not shown"),
    }
}
