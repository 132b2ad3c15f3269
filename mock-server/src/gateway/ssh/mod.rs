//! SSH: one port for all sandboxes, the token of `createSshAccess` is the user name. Here SSH is spoken; what happens in
//! the sandbox is the agent's ([`crate::toolbox::ssh`]), with one connection to it per channel.
//!
//! Different from the original: who is refused is told so instead of being dropped, global requests are answered, and
//! any other way of authentication is as good as none, for clients that insist on one.

mod channels;
mod forwards;
mod handler;
mod host_key;
mod inbox;
mod listen;
mod process;
mod raw;
mod spool;
mod stream;

pub use self::listen::{PORT, Ssh, serve};

/// What clients of the API are told about SSH.
#[derive(Clone, Debug, Default)]
pub struct Public {
    /// Where it listens; `None` if it is switched off.
    pub port: Option<u16>,
    /// Its host key as `known_hosts` has it, in Base64 once more (the contract's form).
    pub host_key: String,
}
