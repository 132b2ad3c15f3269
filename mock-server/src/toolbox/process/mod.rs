//! Commands that run once: `ExecuteCommand`, and what code runs and sessions share with it.

pub mod argv;
pub mod execute;
pub mod group;
pub mod output;
pub mod run;
pub mod shell;
pub mod table;
pub mod tail;
