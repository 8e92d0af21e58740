//! Pure. The signature of a delivery, by which a receiver knows whose it is and when it was sent.

use std::fmt::Write as _;

use aws_lc_rs::hmac;

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 (RFC 2104) of the time in digits, a dot and the body.
pub(super) fn signature(key: &[u8], seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        let _ = write!(text, "{byte:02x}"); // a String takes all that is written to it
    }
    text
}
