//! Shell patterns of one path segment, as Go's `filepath.Match` reads them: `*`, `?`, `[a-c]`, `[^x]`, `\` escapes.
//! No `**`, no braces. A malformed pattern matches nothing (observed).

/// A pattern ready to match names.
pub struct Glob(Option<Vec<Token>>);

enum Token {
    Star,
    /// Any one character.
    Any,
    Byte(u8),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    pub fn new(pattern: &[u8]) -> Glob {
        Glob(parse(pattern))
    }

    /// Whether the whole of a base name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some(tokens) = &self.0 else { return false };
        let (mut token, mut at) = (0, 0);
        // Where to go on after the last star when what follows it doesn't fit.
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() || token < tokens.len() {
            let step = match tokens.get(token) {
                Some(Token::Star) => {
                    retry = Some((token + 1, at));
                    Some(0)
                }
                Some(single) => single.accepts(&name[at..]),
                None => None,
            };
            match (step, &mut retry) {
                (Some(length), _) => (token, at) = (token + 1, at + length),
                (None, Some((after_star, start))) if *start < name.len() => {
                    *start += 1;
                    (token, at) = (*after_star, *start);
                }
                _ => return false,
            }
        }
        true
    }
}

impl Token {
    /// How many bytes of `rest` this token takes.
    fn accepts(&self, rest: &[u8]) -> Option<usize> {
        let first = *rest.first()?;
        match self {
            Token::Byte(byte) => (*byte == first).then_some(1),
            Token::Any => Some(character(rest).1),
            Token::Class { negated, ranges } => {
                let (c, length) = character(rest);
                let inside = ranges.iter().any(|(low, high)| *low <= c && c <= *high);
                (inside != *negated).then_some(length)
            }
            Token::Star => None,
        }
    }
}

fn parse(mut pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = pattern.split_first() {
        pattern = rest;
        tokens.push(match first {
            b'*' if matches!(tokens.last(), Some(Token::Star)) => continue,
            b'*' => Token::Star,
            b'?' => Token::Any,
            b'[' => class(&mut pattern)?,
            b'\\' => {
                let (&escaped, rest) = pattern.split_first()?;
                pattern = rest;
                Token::Byte(escaped)
            }
            byte => Token::Byte(byte),
        });
    }
    Some(tokens)
}

/// What follows a `[`, up to and with its `]`.
fn class(pattern: &mut &[u8]) -> Option<Token> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        *pattern = &pattern[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if let ([b']', rest @ ..], false) = (*pattern, ranges.is_empty()) {
            *pattern = rest;
            return Some(Token::Class { negated, ranges });
        }
        let low = class_member(pattern)?;
        let high = match pattern {
            [b'-', rest @ ..] => {
                *pattern = rest;
                class_member(pattern)?
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

fn class_member(pattern: &mut &[u8]) -> Option<char> {
    match pattern.first()? {
        b'-' | b']' => return None,
        b'\\' => *pattern = &pattern[1..],
        _ => {}
    }
    pattern.first()?;
    let (c, length) = character(pattern);
    // Bytes that are no character are malformed in a class.
    if c == char::REPLACEMENT_CHARACTER && length == 1 {
        return None;
    }
    *pattern = &pattern[length..];
    Some(c)
}

/// The first character and its length; a byte that starts none is U+FFFD. `bytes` isn't empty.
fn character(bytes: &[u8]) -> (char, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn go_examples() {
        let yes = [
            ("abc", "abc"),
            ("*", ""),
            ("*", "abc"),
            ("*c", "abc"),
            ("a*", "abc"),
            ("**", "x"),
            ("a*b*c*d*e*", "axbxcxdxexxx"),
            ("ab[c]", "abc"),
            ("ab[b-d]", "abc"),
            ("ab[^e-g]", "abc"),
            ("a\\*b", "a*b"),
            ("a?b", "a☺b"),
            ("a[^a]b", "a☺b"),
            ("[\\]a]", "]"),
            ("[\\-]", "-"),
            ("[x\\-]", "x"),
            ("[x\\-]", "-"),
            ("[\\-x]", "x"),
            ("*x", "xxx"),
            ("a*ab", "aabab"),
            ("[!x]", "!"),
            ("f7*.txt", "f70.txt"),
            ("*.py", ".py"),
        ];
        let no = [
            ("a*", "ba"),
            ("ab[e-g]", "abc"),
            ("ab[^c]", "abc"),
            ("a???b", "a☺b"),
            ("a[^a][^a][^a]b", "a☺b"),
            ("[a-ζ]*", "A"),
            ("a?b", "ab"),
            ("*/x", "x"),
            ("", "x"),
            ("A", "a"),
            ("{a,b}", "a"),
            // Malformed.
            ("[]a]", "]"),
            ("[-]", "-"),
            ("[x-]", "x"),
            ("[-x]", "x"),
            ("\\", "\\"),
            ("[a-b-c]", "a"),
            ("[", "a"),
            ("[^", "a"),
            ("[^bc", "a"),
            ("a[", "a"),
            ("a[", "ab"),
            ("[a", "a"),
            ("[\\", "a"),
        ];
        for (pattern, name) in yes {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in no {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    /// The definition, without cleverness: only literals, `?` and `*`.
    fn reference(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => reference(rest, name) || (!name.is_empty() && reference(pattern, &name[1..])),
            (['?', rest @ ..], [_, more @ ..]) => reference(rest, more),
            ([p, rest @ ..], [n, more @ ..]) => p == n && reference(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn like_the_definition(pattern in "[abé*?]{0,8}", name in "[abé]{0,10}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(matches(&pattern, &name), reference(&p, &n));
        }

        #[test]
        fn never_panics(pattern in proptest::collection::vec(any::<u8>(), 0..20), name in proptest::collection::vec(any::<u8>(), 0..20)) {
            Glob::new(&pattern).matches(&name);
        }
    }
}
