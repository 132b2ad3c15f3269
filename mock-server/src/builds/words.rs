//! Variables and quotes in the words of a Dockerfile.

/// Looks a variable up.
pub type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep `${a:-${b:-…}}` may go.
const MAX_DEPTH: usize = 32;

/// Replaces variables and removes quotes, as BuildKit does for words of a Dockerfile.
///
/// # Errors
/// A `${…}` that never ends, nests too deep, whose pattern or modifier is none, or that says itself (`:?`) that it fails.
pub fn word(text: &str, vars: Vars) -> Result<String, String> {
    Lex { vars, quotes: true, depth: 0 }.read(&mut text.chars().peekable(), None, false)
}

/// Replaces variables in a here-document, in which quotes are text like any other.
///
/// # Errors
/// As [`word`].
pub fn document(text: &str, vars: Vars) -> Result<String, String> {
    Lex { vars, quotes: false, depth: 0 }.read(&mut text.chars().peekable(), None, false)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

struct Lex<'a> {
    vars: Vars<'a>,
    quotes: bool,
    depth: usize,
}

impl Lex<'_> {
    /// Up to `stop`, which is taken too, or to the end. `raw`: what is escaped stays so, for a pattern.
    fn read(&self, chars: &mut Chars, stop: Option<char>, raw: bool) -> Result<String, String> {
        let mut out = String::new();
        let mut double = false;
        while let Some(c) = chars.next() {
            match c {
                c if stop == Some(c) && !double => return Ok(out),
                '\'' if self.quotes && !double => out.extend(chars.by_ref().take_while(|c| *c != '\'')),
                '"' if self.quotes => double = !double,
                '\\' => match chars.next() {
                    Some(c) if !raw && (!double || matches!(c, '"' | '$' | '\\')) => out.push(c),
                    Some(c) => out.extend(['\\', c]),
                    None => out.push('\\'),
                },
                '$' => out.push_str(&self.variable(chars)?),
                c => out.push(c),
            }
        }
        if stop.is_some() { Err("a ${…} never ends".into()) } else { Ok(out) }
    }

    fn variable(&self, chars: &mut Chars) -> Result<String, String> {
        let braces = chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if !braces {
            return Ok(if name.is_empty() { "$".into() } else { (self.vars)(&name).unwrap_or_default() });
        }
        if self.depth == MAX_DEPTH {
            return Err(format!("${{{name}…}}: variables are nested too deep"));
        }
        let inner = Lex { depth: self.depth + 1, ..*self };
        let value = (self.vars)(&name);
        match chars.next().ok_or("a ${…} never ends")? {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = chars.next_if(|c| matches!(c, '-' | '+' | '?'));
                let modifier = modifier.ok_or_else(|| format!("${{{name}:…}}: unsupported modifier"))?;
                let other = inner.read(chars, Some('}'), false)?;
                choose(&name, value.filter(|value| !value.is_empty()), (modifier, "empty"), other)
            }
            modifier @ ('-' | '+' | '?') => {
                choose(&name, value, (modifier, "unset"), inner.read(chars, Some('}'), false)?)
            }
            end @ ('#' | '%') => {
                let longest = chars.next_if_eq(&end).is_some();
                let pattern = inner.read(chars, Some('}'), true)?;
                cut(value.unwrap_or_default(), &pattern, end == '%', longest)
            }
            '/' => {
                let all = chars.next_if_eq(&'/').is_some();
                let pattern = expression(&tokens(&inner.read(chars, Some('/'), true)?)?, true)?;
                let by = plain(&inner.read(chars, Some('}'), true)?);
                let value = value.unwrap_or_default();
                let by = regex::NoExpand(&by);
                Ok(if all { pattern.replace_all(&value, by) } else { pattern.replace(&value, by) }.into_owned())
            }
            other => Err(format!("${{{name}{other}…}}: unsupported modifier")),
        }
    }
}

/// `-`, `+` and `?` of a variable that has a value, or none.
fn choose(name: &str, value: Option<String>, (modifier, lack): (char, &str), other: String) -> Result<String, String> {
    match (modifier, value) {
        ('+', Some(_)) => Ok(other),
        ('+', None) => Ok(String::new()),
        (_, Some(value)) => Ok(value),
        ('-', None) => Ok(other),
        _ if other.is_empty() => Err(format!("{name}: is not allowed to be {lack}")),
        _ => Err(format!("{name}: {other}")),
    }
}

/// One part of a pattern in `${name%pattern}`: `*`, `?`, or a character.
enum Token {
    Any,
    One,
    Char(char),
}

fn tokens(pattern: &str) -> Result<Vec<Token>, String> {
    let mut chars = pattern.chars();
    let mut out = Vec::new();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => match chars.next() {
                Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(c),
                other => return Err(format!("{pattern}: invalid escape \\{}", other.unwrap_or_default())),
            },
            c => Token::Char(c),
        });
    }
    Ok(out)
}

fn expression<'a>(tokens: impl IntoIterator<Item = &'a Token>, longest: bool) -> Result<regex::Regex, String> {
    let mut text = String::from("(?s)");
    for token in tokens {
        match token {
            Token::Any => text += if longest { ".*" } else { ".*?" },
            Token::One => text.push('.'),
            Token::Char(c) => text += &regex::escape(c.encode_utf8(&mut [0; 4])),
        }
    }
    regex::Regex::new(&text).map_err(|error| error.to_string())
}

/// Takes what fits the pattern from one end of a value: the shortest that does, or the longest.
fn cut(value: String, pattern: &str, at_end: bool, longest: bool) -> Result<String, String> {
    let tokens = tokens(pattern)?;
    let turned = |text: &str| text.chars().rev().collect::<String>();
    let (pattern, subject) = if at_end {
        (expression(tokens.iter().rev(), longest)?, turned(&value))
    } else {
        (expression(&tokens, longest)?, value.clone())
    };
    let anchored = regex::Regex::new(&format!("^(?:{})", pattern.as_str())).map_err(|error| error.to_string())?;
    let Some(found) = anchored.find(&subject) else { return Ok(value) };
    let rest = &subject[found.end()..];
    Ok(if at_end { turned(rest) } else { rest.to_owned() })
}

/// Without the escapes of `/` and `}`.
fn plain(text: &str) -> String {
    text.replace("\\/", "/").replace("\\}", "}")
}

/// Cuts a text at blanks that are not quoted; quotes stay.
pub fn split(text: &str) -> Vec<String> {
    split_quoted(text).0
}

/// The same; `None` if a quote never ends.
pub fn split_whole(text: &str) -> Option<Vec<String>> {
    Some(split_quoted(text)).filter(|(_, open)| !open).map(|(words, _)| words)
}

fn split_quoted(text: &str) -> (Vec<String>, bool) {
    let (mut words, mut current, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quote != Some('\'') => current.extend([Some(c), chars.next()].into_iter().flatten()),
            c if c.is_whitespace() && quote.is_none() => {
                if !current.is_empty() {
                    words.push(std::mem::take(&mut current));
                }
            }
            c => {
                match quote {
                    None if c == '"' || c == '\'' => quote = Some(c),
                    Some(open) if open == c => quote = None,
                    _ => {}
                }
                current.push(c);
            }
        }
    }
    if !current.is_empty() {
        words.push(current);
    }
    (words, quote.is_some())
}

/// `KEY=value KEY="a b"`, or the old `KEY the rest`.
pub fn pairs(text: &str, vars: Vars) -> Result<Vec<(String, String)>, String> {
    let words = split(text.trim());
    let first = words.first().ok_or("a name is missing")?;
    if !first.contains('=') {
        let (name, rest) = text.trim().split_once(char::is_whitespace).ok_or("a value is missing")?;
        return Ok(vec![(name.to_owned(), word(rest.trim(), vars)?)]);
    }
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text} has no value"))?;
        Ok((word(name, vars)?, word(value, vars)?))
    };
    words.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".into()),
            "E" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (text, expected) in [
            ("$A-${A}b", "a-ab"),
            ("${X:-$A}${X-y}", "ay"),
            ("${A:+yes}${X:+no}${E:+no}${E+set}", "yesset"),
            (r"\$A '$A' \\", r"$A $A \"),
            ("\"a b\" $", "a b $"),
            ("$X$E.", "."),
        ] {
            assert_eq!(word(text, &vars).expect(text), expected);
        }
        for bad in ["${A", "${A!x}", "${A:x}", "${X:?}", "${A/x}", "${A%\\x}", &"${A:-".repeat(100_000)] {
            assert!(word(bad, &vars).is_err(), "{bad:.20}");
        }
        assert_eq!(word("${X:?who $A}", &vars), Err("X: who a".into()));
        assert_eq!(word("${E:?}", &vars), Err("E: is not allowed to be empty".into()));
        assert_eq!(word("${E?}${X:-{}-${X:-\"}\"}", &vars).as_deref(), Ok("{-}"));
    }

    #[test]
    fn values_are_cut_and_replaced() {
        let vars = |name: &str| match name {
            "V" => Some("/usr/lib/a.tar.gz".to_owned()),
            "U" => Some("ä/ö/ü".to_owned()),
            "N" => Some("a{1}b[c]".to_owned()),
            "G" => Some(".gz".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("${V%.gz}", "/usr/lib/a.tar"),
            ("${V%.*}", "/usr/lib/a.tar"),
            ("${V%%.*}", "/usr/lib/a"),
            ("${V#*/}", "usr/lib/a.tar.gz"),
            ("${V##*/}", "a.tar.gz"),
            ("${V%$G}", "/usr/lib/a.tar"),
            ("${V%none}", "/usr/lib/a.tar.gz"),
            ("${V/lib/share}", "/usr/share/a.tar.gz"),
            ("${V//\\//-}", "-usr-lib-a.tar.gz"),
            ("${V/*./x}", "xgz"),
            ("${U#?}${U##*/}${U%/*}", "/ö/üüä/ö"),
            ("${N%[c]}${N#a{1\\}}", "a{1}bb[c]"),
            ("${X%x}${X/a/b}.", "."),
        ] {
            assert_eq!(word(text, &vars).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn quotes_of_documents_stay() {
        assert_eq!(document("{\"a\": '$A'} \\$A \"${X:-y}\"", &vars).as_deref(), Ok("{\"a\": 'a'} $A \"y\""));
    }

    #[test]
    fn words_are_cut_at_blanks() {
        assert_eq!(split_whole("a 'b \\' c\\ d \"e f\"").expect("words"), ["a", "'b \\'", "c\\ d", "\"e f\""]);
        assert_eq!(split_whole("it's"), None);
    }

    #[test]
    fn pairs_are_told_apart() {
        let read = |text| pairs(text, &vars).expect(text);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            read("K=v L=\"a b\" M='$A' N=a\\ b"),
            [pair("K", "v"), pair("L", "a b"), pair("M", "$A"), pair("N", "a b")]
        );
        assert_eq!(read("K  the rest $A"), [pair("K", "the rest a")]);
        assert!(pairs("K", &vars).is_err() && pairs("", &vars).is_err() && pairs("K=v L", &vars).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\\$\\{A[%#/]?[*?]?|[}'\"\\\\]){0,30}") {
            let _ = (word(&text, &vars), document(&text, &vars), pairs(&text, &vars), split(&text));
        }
    }
}
