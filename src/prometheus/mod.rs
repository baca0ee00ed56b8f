//! Asks Prometheus: every server each question, all servers at once.
//!
//! An answer says how old its samples are. `timestamp(Q)` is asked at the same instant as `Q`; for a plain selector
//! (and the recording rules that ship are made to be selected so) Prometheus returns the time at which the sample was
//! recorded. For any other expression it returns the instant of the question, and a stale input goes unnoticed until
//! Prometheus drops it after its look-back of five minutes.

mod client;
mod servers;

pub use client::{Client, Error, Series, Vector, read_vector};
pub use servers::Servers;
