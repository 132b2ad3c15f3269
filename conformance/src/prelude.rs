//! What every module of scenarios uses.

pub(crate) use std::time::Duration;

pub(crate) use serde_json::{Value, json};

pub(crate) use crate::{
    context::{Cx, time},
    sandbox::Sandbox,
    scenario::scenarios,
    stop::{Result, Stop},
};
