//! `/__control`: what a test needs and a cloud doesn't have (keys, reset, operations, clock).
