//! The laboratory of the tests and the demo.

pub mod bind;
