//! The system calls that have no safe wrapper elsewhere. The only place with `unsafe`; every function here is safe to
//! call and owns the descriptors that it makes.
#![allow(unsafe_code)]

pub mod fdpass;
pub mod files;
pub mod inherit;
pub mod loops;
pub mod memory;
pub mod mounts;
pub mod net;
pub mod process;
pub mod rlimits;
pub mod seccomp;
mod singly;
pub mod spread;
pub mod stream;
pub mod worker;
pub mod xattr;
