//! vCPUs: what they report about themselves, how they start, and the loop that
//! runs them.

pub(crate) mod cpuid;
pub(crate) mod registers;
pub(crate) mod vcpu;
