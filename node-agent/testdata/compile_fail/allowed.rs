//! ok: the same names, used as they are meant to be.
use std::sync::Arc;

use node_agent::approval::Grant;
use node_agent::mask::MaskedRows;
use node_agent::model::Reference;
use node_agent::permit::{Cleared, NotCleared, Permit};
use node_agent::policy::{Obligations, RuleRef};
use node_agent::record::{Decided, Delivered, Receipt, RecordError, SessionRecorder, Stepped};

pub fn execute(_: Permit) {}

pub async fn run(record: &SessionRecorder, decided: Decided) -> Result<Receipt, RecordError> {
    record.decided(decided).await
}

pub fn once(cleared: Cleared, receipt: Receipt) -> Result<Reference, NotCleared> {
    let permit = Permit::new(cleared, receipt)?;
    let _: &Arc<Obligations> = permit.obligations();
    let reference = permit.reference();
    execute(permit);
    Ok(reference)
}

pub fn granted(grant: Grant, recorded: Stepped) -> (RuleRef, Cleared) {
    (grant.rule().clone(), Cleared::Granted(grant, recorded))
}

pub fn rows(delivered: &Delivered) -> MaskedRows {
    delivered.rows.clone()
}
