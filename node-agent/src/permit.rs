//! Pure. `Permit`: made only from a clearance and a receipt.
