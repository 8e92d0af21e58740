//! E0277: a copy of a permit.
use node_agent::permit::Permit;

pub fn copy(permit: &Permit) -> Permit {
    Permit::clone(permit)
}
