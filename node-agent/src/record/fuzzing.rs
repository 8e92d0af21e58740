//! Pure. The fuzz body of the recording's reader.

use super::{Blocks, Decoder, Identities, Step};

/// Reads any bytes as a recording: no panic, no endless loop, memory within the caps.
pub fn fuzz_recording(bytes: &[u8]) {
    // As a file …
    if let Ok(mut blocks) = Blocks::open(bytes, Identities::none()) {
        let mut decoder = Decoder::default();
        while let Ok(Step::Block(_, lines)) = blocks.next() {
            for line in lines.split(|byte| *byte == b'\n') {
                let _ = decoder.read(line);
            }
        }
    }
    // … and as what a block unpacks to, which the chain otherwise keeps a fuzzer from reaching.
    let mut decoder = Decoder::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = decoder.read(line);
    }
}
