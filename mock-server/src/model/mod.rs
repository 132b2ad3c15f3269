//! The control plane without HTTP: state machine, rules, ids, clock, store.

pub mod clock;
