//! Tests that compare executed FLOPs. The process counts them all, so these tests run apart from those that train beside them,
//! and train one at a time (`support::alone`).

mod compare;
mod edge;
mod executed_flops;
#[path = "../it/support.rs"]
mod support;
