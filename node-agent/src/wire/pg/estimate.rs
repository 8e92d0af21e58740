//! Pure. How many rows the server expects a statement to change, by EXPLAIN. A guess: it refuses what
//! is far beyond a limit before it runs, and lets nothing pass that the count does not.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::model::Format;
use crate::wire::{Params, Text};

/// What stands before the statement.
pub(super) const EXPLAIN: &str = "explain (format json) ";

/// What is to be estimated.
#[derive(Debug)]
pub(super) struct Estimate {
    /// One statement.
    pub(super) text: Text,
    /// The types of its parameters, as its own Parse fixed them.
    pub(super) types: Bytes,
    /// Its parameters.
    pub(super) params: Params,
}

/// Writes parameters as Bind carries them: formats, then values.
pub(super) fn put_params(params: &Params, up: &mut BytesMut) {
    // They came in one Bind, which counts them in sixteen bits.
    let count = u16::try_from(params.values.len()).unwrap_or(u16::MAX);
    up.put_u16(count);
    for (format, _) in &params.values {
        up.put_u16(match format {
            Format::Text => 0,
            Format::Binary => 1,
        });
    }
    up.put_u16(count);
    for (_, value) in &params.values {
        match value {
            None => up.put_i32(-1),
            Some(value) => {
                up.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                up.put_slice(value);
            }
        }
    }
}

/// The rows that a plan in JSON changes. `None`: it does not say.
pub(super) fn rows(plan: &[u8]) -> Option<u64> {
    let plan: Value = serde_json::from_slice(plan).ok()?;
    let plans = plan.as_array()?.iter().filter_map(|one| one.get("Plan"));
    let mut sum = None;
    for node in plans {
        changes(node, &mut sum);
    }
    sum
}

/// The rows that a plan in JSON changes or, if it changes none, gives. `None`: it does not say.
pub fn expected(plan: &[u8]) -> Option<u64> {
    rows(plan).or_else(|| {
        let plan: Value = serde_json::from_slice(plan).ok()?;
        plan.get(0)?.get("Plan")?.get("Plan Rows")?.as_u64()
    })
}

/// A node that changes rows changes those that its inputs give. Such nodes stand at the top and in
/// WITH. The parser bounds how deep a plan can be.
fn changes(node: &Value, sum: &mut Option<u64>) {
    let word =
        |node: &Value, key: &str, value: &str| node.get(key).and_then(Value::as_str) == Some(value);
    let inputs = node.get("Plans").and_then(Value::as_array);
    for input in inputs.into_iter().flatten() {
        let feeds = ["Outer", "Member"];
        let feeds = feeds
            .iter()
            .any(|kind| word(input, "Parent Relationship", kind));
        if feeds && word(node, "Node Type", "ModifyTable") {
            let rows = input.get("Plan Rows").and_then(Value::as_u64).unwrap_or(0);
            *sum = Some(sum.unwrap_or(0).saturating_add(rows));
        }
        changes(input, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_changes_is_what_flows_into_its_changing_nodes() {
        let table = [
            ("", None),
            ("[]", None),
            ("{}", None),
            (
                r#"[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 9}}]"#,
                None,
            ),
            (
                r#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [
                    {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 100}]}}]"#,
                Some(100),
            ),
            (
                r#"[{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [
                    {"Node Type": "ModifyTable", "Parent Relationship": "InitPlan", "Plan Rows": 5, "Plans": [
                        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 5}]},
                    {"Node Type": "Hash Join", "Parent Relationship": "Outer", "Plan Rows": 70, "Plans": [
                        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 100000}]}]}}]"#,
                Some(75),
            ),
            (
                r#"[{"Plan": {"Node Type": "CTE Scan", "Plan Rows": 1, "Plans": [
                    {"Node Type": "ModifyTable", "Parent Relationship": "InitPlan", "Plans": [
                        {"Node Type": "Result", "Parent Relationship": "Member", "Plan Rows": 3},
                        {"Node Type": "Result", "Parent Relationship": "Member", "Plan Rows": 4}]}]}}]"#,
                Some(7),
            ),
        ];
        for (plan, wanted) in table {
            assert_eq!(rows(plan.as_bytes()), wanted, "{plan}");
            let given = (plan.contains("Seq Scan") && wanted.is_none()).then_some(9);
            assert_eq!(expected(plan.as_bytes()), wanted.or(given), "{plan}");
        }
    }

    #[test]
    fn parameters_are_written_as_a_bind_carries_them() {
        let mut up = BytesMut::new();
        put_params(
            &Params {
                values: vec![
                    (Format::Text, Some(Bytes::from_static(b"hi"))),
                    (Format::Binary, None),
                ],
                types: Bytes::new(),
            },
            &mut up,
        );
        assert_eq!(
            &up[..],
            b"\0\x02\0\0\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff"
        );
        up.clear();
        put_params(&Params::default(), &mut up);
        assert_eq!(&up[..], [0; 4]);
    }
}
