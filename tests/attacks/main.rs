//! The real program before clients that mean harm, and before more of them than it can serve. In a target of its own, so that
//! what they take is not taken by other tests: the loop is to keep its period.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod connections;
mod protocols;
mod reads;
#[path = "../serve/stage.rs"]
#[expect(dead_code, reason = "most of it is for the tests of all else that the program serves")]
mod stage;
#[path = "../serve/standins.rs"]
#[expect(dead_code, reason = "as above")]
mod standins;
mod storm;
