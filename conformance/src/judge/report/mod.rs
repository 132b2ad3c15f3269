//! A verdict for people and for machines.

pub mod console;
pub mod html;
pub mod junit;
