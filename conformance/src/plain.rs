//! Text of others, for terminals and for XML.

/// Without characters that a terminal obeys: they are written as in source text (`\u{1b}`). Lines and tabs stay.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_direction(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn round how what follows is shown.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Without characters that no XML document may have (XML 1.0, production 2), not even escaped.
pub(crate) fn well_formed(text: &str) -> String {
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        assert_eq!(visible("a\u{1b}[31mb\n\tc\r\u{9b}\u{202e}d"), "a\\u{1b}[31mb\n\tc\\u{d}\\u{9b}\\u{202e}d");
    }

    proptest! {
        #[test]
        fn whatever_is_written_can_be_read(text in "\\PC*|.*|[\u{fffe}\u{ffff}\u{0}-\u{1f}]*") {
            let mut report = quick_junit::Report::new("r");
            let mut suite = quick_junit::TestSuite::new("s");
            let mut status = quick_junit::TestCaseStatus::non_success(quick_junit::NonSuccessKind::Failure);
            status.set_message(text.clone()).set_description(text);
            suite.add_test_case(quick_junit::TestCase::new("c", status));
            report.add_test_suite(suite);
            let xml = well_formed(&report.to_string().unwrap());
            prop_assert!(quick_junit::Report::deserialize_from_str(&xml).is_ok());
            let never = ['\u{fffe}', '\u{ffff}'];
            prop_assert!(!xml.contains(never));
        }
    }
}
