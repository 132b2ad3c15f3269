//! What official SDKs send by themselves although the contract says otherwise. Whoever uses them can't mend it.

use crate::judge::{Call, call::Violation};

/// Rules of strict mode about what programs give no SDK: names of query parameters and headers are the SDK's own, and so is the
/// form of a body. Those before 0.113 delete with `force`, for example, and update_env() of the Python SDK says no content type.
const FORM: [&str; 4] = ["unknown-parameter", "missing-header", "body-on-get", "bad-json"];

/// (operation, rule of strict mode, part of its message). All else is a value or an object of the program, which the SDK hands on.
const KNOWN: &[(&str, &str, &str)] = &[
    // There is no other route by which to follow the log of a sandbox's build.
    ("getBuildLogs", "deprecated-route", ""),
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
    is_an_sdks(call) && (FORM.contains(&&*violation.rule) || KNOWN.iter().any(fits))
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
        assert!(!is_the_sdks_own(&from(None), &violation("unknown-parameter")));
        assert!(
            is_the_sdks_own(&from(Some("python-sdk")), &violation("unknown-parameter")),
            "the SDK names parameters"
        );
        let field = call(json!({"operationId": "Click", "client": {"source": "typescript-sdk"}}));
        assert!(is_the_sdks_own(&field, &violation("unknown-field")), "the contract doesn't have it yet");
        assert!(!is_the_sdks_own(&from(Some("typescript-sdk")), &violation("unknown-field")), "the program's object");
    }
}
