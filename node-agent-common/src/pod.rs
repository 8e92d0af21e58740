//! The user side's promise that the shared records are plain old data.
#![expect(
    unsafe_code,
    reason = "aya asks for `Pod`; the layouts are asserted beside the types"
)]

use crate::flow::{Address, FlowEvent, FlowKey, OriginRecord, Share, SocketState, Wire};
use crate::layer::UnixName;
use crate::sighting::Sighting;
use crate::watch::Watch;

macro_rules! pod {
    ($($name:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), Copy, integers only, no padding (asserted where it is declared), so
        // every bit pattern is a value and every byte is initialised.
        unsafe impl aya::Pod for $name {}
    )+};
}

pod!(
    Address,
    FlowKey,
    OriginRecord,
    SocketState,
    FlowEvent,
    Share,
    Sighting,
    Wire,
    Watch,
    UnixName
);
