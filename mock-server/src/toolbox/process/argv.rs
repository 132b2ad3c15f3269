//! The way commands were run for SDKs before 0.156: no shell, the text split into words.
//!
//! Those SDKs quote for exactly this splitter (`sh -c "export K=$(echo '…' | base64 -d); …"`). Fed to a shell, the
//! outer shell would expand `$(…)` inside the double quotes and *execute* environment values (tested).

/// Splits as the old daemon did: single or double quotes group and vanish, the other kind inside is literal,
/// unquoted spaces separate. No escapes, no expansion. An unclosed quote reaches to the end.
pub fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => push(&mut words, &mut word),
            _ => word.push(c),
        }
    }
    push(&mut words, &mut word);
    words
}

fn push(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_group_and_the_other_kind_is_literal() {
        assert_eq!(split("echo 'a b' \"c 'd' e\""), ["echo", "a b", "c 'd' e"]);
        assert_eq!(split("  ls   -l "), ["ls", "-l"]);
        assert_eq!(split(r"a\ b $HOME *"), [r"a\", "b", "$HOME", "*"]);
        assert_eq!(split("x'y z"), ["xy z"]);
        assert_eq!(split("''").len(), 0);
    }

    #[test]
    fn an_old_sdk_wrapper_keeps_its_environment_values_inert() {
        let sent = r#"sh -c "export K=$(echo 'YSBiOyBlY2hvIFg=' | base64 -d); echo 'bHM=' | base64 -d | sh""#;
        let words = split(sent);
        assert_eq!(words[..2], ["sh", "-c"]);
        assert!(words[2].contains("$(echo 'YSBiOyBlY2hvIFg=' | base64 -d)"));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[^']{1,12}", 1..6)) {
            let line = words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&line), words);
        }

        #[test]
        fn without_quotes_it_is_splitting_at_spaces(line in "[^'\"]*") {
            let expected: Vec<_> = line.split(' ').filter(|w| !w.is_empty()).collect();
            prop_assert_eq!(split(&line), expected);
        }

        #[test]
        fn nothing_is_invented(line in ".*") {
            prop_assert!(split(&line).concat().chars().all(|c| line.contains(c)));
        }
    }
}
