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

/// Everything is looked for in any bytes as a cell of any type: no panic; what is found is not found again; what
/// was JSON stays it; what was UTF-8 stays it.
pub fn fuzz_content_net(bytes: &[u8]) {
    let Some((choice, cell)) = bytes.split_first() else {
        return;
    };
    let kind = usize::from(*choice) % TYPES.len();
    let Some((type_id, format)) = TYPES.get(kind).copied() else {
        return;
    };
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
    let Some(look) = Look::of(std::iter::once(&rule), type_id, format, &key) else {
        return;
    };
    let mut finds = Finds::default();
    let mut out = BytesMut::new();
    let mut desk = Desk::new(&mut finds);
    match desk.examine(&look, 0, cell) {
        Seen::Same | Seen::Cell => return,
        Seen::Edited => desk.write(cell, &mut out),
    }
    assert!(!finds.is_empty(), "what is changed is counted");
    let mut again = Finds::default();
    let seen = Desk::new(&mut again).examine(&look, 0, &out);
    assert_eq!(seen, Seen::Same, "{cell:?} became {out:?}: {again:?}");
    if std::str::from_utf8(cell).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok(), "{cell:?} became {out:?}");
    }
    let is_json = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).is_ok();
    if type_id == 114 && is_json(cell) {
        assert!(is_json(&out), "{cell:?} became {out:?}");
    }
}
