//! The laboratory of the tests and the demo.
