//! Scenarios that judge a Daytona server over the wire: the mock, the real service, or anyone's.
//!
//! The suite shares no wire types with the mock and knows nothing of its inside. A scenario is a plain async function
//! and one row of a const table ([`scenarios::AREAS`]); the function's doc comment is the rule that it checks.

pub mod cli;
pub mod context;
pub mod scenario;
pub mod scenarios;
