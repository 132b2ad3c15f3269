//! What listens: routing by host and path, authentication, forwarding to sandboxes, events.

pub mod origin;
