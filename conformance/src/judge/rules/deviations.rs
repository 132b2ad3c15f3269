//! What official SDKs send by themselves although the contract says otherwise. Whoever uses them can't mend it.

use crate::judge::{Call, call::Violation};

/// (operation, rule of strict mode, part of its message), each with the reason below.
const KNOWN: &[(&str, &str, &str)] = &[
    // There is no other route by which to follow the log of a sandbox's build.
    ("getBuildLogs", "deprecated-route", ""),
    // The Python SDK's update_env() says no content type.
    ("UpdateEnv", "missing-header", ""),
    // SDKs have clicks and modifiers, mouse.down() and keyboard.down(); the published contract not yet.
    ("Click", "unknown-field", ""),
    ("", "unknown-operation", "/computeruse/"),
];

/// An SDK names itself (X-Daytona-Source); who writes requests of their own doesn't.
pub fn is_an_sdks(call: &Call) -> bool {
    call.client.source.is_some()
}

/// Whether the SDK did it, not the program that uses the SDK.
pub fn is_the_sdks_own(call: &Call, violation: &Violation) -> bool {
    let fits = |(operation, rule, part): &(&str, &str, &str)| {
        call.op() == *operation && violation.rule == *rule && violation.message.contains(part)
    };
    is_an_sdks(call) && KNOWN.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::judge::call::tests::call;

    #[test]
    fn only_what_an_sdk_is_known_for_is_its_own() {
        let from = |source: Option<&str>| call(json!({"operationId": "UpdateEnv", "client": {"source": source}}));
        let violation = |rule: &str| Violation { rule: rule.to_owned(), ..Violation::default() };
        assert!(is_the_sdks_own(&from(Some("python-sdk")), &violation("missing-header")));
        assert!(!is_the_sdks_own(&from(Some("python-sdk")), &violation("wrong-type")), "the program gave the value");
        assert!(!is_the_sdks_own(&from(None), &violation("missing-header")), "no SDK sent it");
    }
}
