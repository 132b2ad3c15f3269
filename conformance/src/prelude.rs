//! What every module of scenarios uses.

pub(crate) use std::time::Duration;

pub(crate) use serde_json::json;

pub(crate) use crate::{context::Cx, scenario::scenarios, stop::Result};
