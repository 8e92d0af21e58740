//! The body of the fuzz target.

use bytes::BytesMut;

use super::{Desk, Finds, Look, Seen};
use crate::mask::MaskKey;
use crate::model::{Format, Secret};
use crate::policy::{ContentMasker, ContentMode, ContentRule, Detector, RuleRef};

/// Types and formats of every reading.
const TYPES: &[(u32, Format)] = &[
    (25, Format::Text),
    (1009, Format::Text),
    (199, Format::Text),
    (114, Format::Text),
    (3802, Format::Binary),
    (1009, Format::Binary),
    (2249, Format::Binary),
    (16_400, Format::Binary),
];

/// Everything is looked for in any bytes as a cell of any type: no panic; what was JSON stays it; what was UTF-8
/// stays it.
pub fn fuzz_content_net(bytes: &[u8]) {
    let _ = look_once(bytes);
}

/// The same; gives how it was looked into and what came out, where that is an edited cell of its type.
pub(super) fn look_once(bytes: &[u8]) -> Option<(Look, BytesMut)> {
    let (choice, cell) = bytes.split_first()?;
    let kind = usize::from(*choice) % TYPES.len();
    let (type_id, format) = TYPES.get(kind).copied()?;
    let rule = ContentRule {
        rule: RuleRef {
            policy: "p".into(),
            rule: "r".into(),
        },
        detect: Detector::ALL.to_vec(),
        columns: Vec::new(),
        except: Vec::new(),
        with: if *choice < 128 {
            ContentMasker::Redact
        } else {
            ContentMasker::KeepLast(4)
        },
        mode: ContentMode::Mask,
    };
    let key = MaskKey::new(&Secret::new([7; 32]));
    let look = Look::of(std::iter::once(&rule), type_id, format, &key)?;
    let mut finds = Finds::default();
    let mut out = BytesMut::new();
    let mut desk = Desk::new(&mut finds);
    match desk.examine(&look, 0, cell) {
        Seen::Same | Seen::Cell => return None,
        Seen::Edited => desk.write(cell, &mut out),
    }
    assert!(!finds.is_empty(), "what is changed is counted");
    if std::str::from_utf8(cell).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok(), "{cell:?} became {out:?}");
    }
    let is_json = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).is_ok();
    match (type_id, cell) {
        (114, json) | (3802, [_, json @ ..]) if !is_json(json) => return None,
        (114, _) => assert!(is_json(&out), "{cell:?} became {out:?}"),
        _ => {}
    }
    Some((look, out))
}
