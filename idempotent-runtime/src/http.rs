//! What is particular to HTTP and knows no web framework.

pub(crate) mod capture;
pub(crate) mod head;
pub(crate) mod headers;
pub(crate) mod key_header;
pub(crate) mod problem;
pub(crate) mod streams;
