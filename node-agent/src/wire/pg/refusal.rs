//! Pure. Refusals, failures and notices of ours as ErrorResponse and NoticeResponse (protocol 3.0,
//! "Error and Notice Message Fields").

use bytes::{BufMut, BytesMut};

use crate::model::{Refusal, RefusalCode};
use crate::wire::reader::Reader;
use crate::wire::{Garbled, Peer, ServerError};

use super::frame;

/// The one table from our reasons to SQLSTATE.
pub const fn sqlstate(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Policy => "42501",
        RefusalCode::Identity => "28000",
        RefusalCode::Limit => "54000",
        RefusalCode::Approval => "57014",
        RefusalCode::RecordFull => "53100",
        RefusalCode::RecordFault => "58030",
        RefusalCode::Draining => "57P03",
        RefusalCode::Protocol => "08P01",
        RefusalCode::Upstream => "08006",
        RefusalCode::Unsupported => "0A000",
    }
}

/// What each reason means, for the reference.
pub(super) const MEANINGS: &[(RefusalCode, &str)] = &[
    (
        RefusalCode::Policy,
        "policy says no; DETAIL names policy and rule, HINT what is allowed",
    ),
    (RefusalCode::Identity, "identity is missing, wrong or over"),
    (RefusalCode::Limit, "a limit was passed"),
    (
        RefusalCode::Approval,
        "an approval was refused, lapsed, or nobody can give it",
    ),
    (
        RefusalCode::RecordFull,
        "the record cannot be written: no space",
    ),
    (RefusalCode::RecordFault, "the record cannot be written"),
    (RefusalCode::Draining, "the agent is stopping"),
    (RefusalCode::Protocol, "the client broke the protocol"),
    (
        RefusalCode::Upstream,
        "the database cannot be opened; the agent's log says why",
    ),
    (RefusalCode::Unsupported, "the agent does not support this"),
];

/// Appends an ErrorResponse. The first line of its DETAIL ends with the reference that finds the
/// recorded event; the second is for programs.
pub(super) fn refuse(refusal: &Refusal, out: &mut BytesMut) {
    let line = refusal.line();
    let detail = match (&refusal.detail, &refusal.reference) {
        (Some(detail), Some(reference)) => format!("{detail}; reference {reference}\n{line}"),
        (Some(detail), None) => format!("{detail}\n{line}"),
        (None, Some(reference)) => format!("reference {reference}\n{line}"),
        (None, None) => line,
    };
    let severity = if refusal.fatal { "FATAL" } else { "ERROR" };
    write(
        b'E',
        severity,
        sqlstate(refusal.code),
        &refusal.message,
        Some(&detail),
        refusal.hint.as_deref(),
        out,
    );
}

/// Appends an ErrorResponse with these words; a code that is no SQLSTATE becomes XX000.
pub(super) fn failure(severity: &str, code: &str, message: &str, out: &mut BytesMut) {
    let well_formed = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let code = if well_formed { code } else { "XX000" };
    let severity = match severity {
        "FATAL" | "PANIC" => severity,
        _ => "ERROR",
    };
    write(b'E', severity, code, message, None, None, out);
}

/// Appends a NoticeResponse.
pub(super) fn notice(message: &str, detail: Option<&str>, out: &mut BytesMut) {
    write(b'N', "NOTICE", "00000", message, detail, None, out);
}

fn write(
    kind: u8,
    severity: &str,
    code: &str,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
    out: &mut BytesMut,
) {
    frame::message(out, kind, |out| {
        let fields = [
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(code)),
            (b'M', Some(message)),
            (b'D', detail),
            (b'H', hint),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                out.put_u8(field);
                frame::text(out, value);
            }
        }
        out.put_u8(0);
    });
}

/// Reads the fields of an ErrorResponse or NoticeResponse that anybody here needs.
///
/// The words may be in the database's own encoding when it has none (SQL_ASCII): they are shown
/// lossily, and forwarded as they came.
pub(super) fn read(what: &'static str, body: &[u8]) -> Result<ServerError, Garbled> {
    let mut r = Reader::new(Peer::Server, what, body);
    let mut error = ServerError::default();
    let mut localised = None;
    loop {
        let field = r.u8()?;
        if field == 0 {
            break;
        }
        let value = r.text()?;
        match field {
            b'S' => localised = Some(value),
            b'V' => error.severity = String::from_utf8_lossy(value).into_owned(),
            b'C' => error.code = String::from_utf8_lossy(value).into_owned(),
            b'M' => error.message = String::from_utf8_lossy(value).into_owned(),
            // The protocol asks that fields of unknown type are ignored.
            _ => {}
        }
    }
    r.end()?;
    if error.severity.is_empty() {
        // Servers before 9.6 have no 'V'.
        error.severity = String::from_utf8_lossy(localised.unwrap_or_default()).into_owned();
    }
    Ok(error)
}

/// Whether an error ends the session.
pub(super) fn ends_session(error: &ServerError) -> bool {
    error.severity == "FATAL" || error.severity == "PANIC"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reference, SessionId, StatementSeq};

    #[test]
    fn a_refusal_is_a_native_error_with_its_reference_and_a_line_for_programs() {
        let refusal = Refusal::new(RefusalCode::Policy, "DROP is not allowed")
            .detail("policy claude-orders, rule never")
            .hint("SELECT on sales.* is allowed")
            .at(Reference {
                session: SessionId(0xc0ffee),
                seq: StatementSeq(12),
            });
        let mut out = BytesMut::new();
        refuse(&refusal, &mut out);
        let mut expected = BytesMut::new();
        frame::message(&mut expected, b'E', |out| {
            out.put_slice(
                b"SERROR\0VERROR\0C42501\0MDROP is not allowed\0\
                  Dpolicy claude-orders, rule never; reference s-0000000000c0ffee#12\n\
                  {\"node_agent\":1,\"decision\":\"deny\",\"code\":\"policy\",\"reference\":\"s-0000000000c0ffee#12\"}\0\
                  HSELECT on sales.* is allowed\0\0",
            );
        });
        assert_eq!(out, expected);
    }

    #[test]
    fn a_fatal_refusal_says_so() {
        let mut out = BytesMut::new();
        refuse(&Refusal::fatal(RefusalCode::Limit, "too large"), &mut out);
        assert_eq!(
            &out[5..],
            b"SFATAL\0VFATAL\0C54000\0Mtoo large\0\
              D{\"node_agent\":1,\"decision\":\"deny\",\"code\":\"limit\"}\0\0"
        );
    }

    #[test]
    fn what_we_write_reads_back() {
        let mut out = BytesMut::new();
        failure("ERROR", "23505", "duplicate", &mut out);
        let read = read("an error", frame::body(&out)).unwrap();
        assert_eq!(
            (read.severity.as_str(), read.code.as_str()),
            ("ERROR", "23505")
        );
        assert_eq!(read.message, "duplicate");
    }

    #[test]
    fn a_code_that_is_no_sqlstate_is_not_passed_on() {
        let mut out = BytesMut::new();
        failure("whatever", "x\0y", "m", &mut out);
        assert_eq!(&out[5..], b"SERROR\0VERROR\0CXX000\0Mm\0\0");
    }

    #[test]
    fn an_error_without_its_end_is_garbled() {
        assert!(read("an error", b"SERROR\0").is_err());
        assert!(read("an error", b"SERROR\0\0x").is_err());
        assert!(read("an error", b"SERROR").is_err());
    }
}
