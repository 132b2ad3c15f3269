//! Variables and quotes in the words of a Dockerfile.

/// Looks a variable up.
pub type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables and removes quotes.
///
/// # Errors
/// A `${…}` that never ends, or with a modifier other than `:-`, `:+`, `-` and `+`.
pub fn word(text: &str, vars: Vars) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !double => out.extend(chars.by_ref().take_while(|c| *c != '\'')),
            '"' => double = !double,
            '\\' => match chars.next() {
                Some(c) if !double || matches!(c, '"' | '$' | '\\') => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            '$' => out.push_str(&variable(&mut chars, vars)?),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn variable(chars: &mut std::iter::Peekable<std::str::Chars>, vars: Vars) -> Result<String, String> {
    let name_char = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if chars.next_if_eq(&'{').is_none() {
        let mut name = String::new();
        while let Some(c) = chars.next_if(name_char) {
            name.push(c);
        }
        return Ok(if name.is_empty() { "$".into() } else { vars(&name).unwrap_or_default() });
    }
    let (mut inner, mut depth) = (String::new(), 1);
    loop {
        let c = chars.next().ok_or("a ${…} never ends")?;
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        inner.push(c);
    }
    let end = inner.find(|c: char| !name_char(&c)).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let value = vars(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    match rest {
        "" => Ok(value.unwrap_or_default()),
        _ if rest.starts_with(":-") => filled.map_or_else(|| word(&rest[2..], vars), Ok),
        _ if rest.starts_with(":+") => filled.map_or(Ok(String::new()), |_| word(&rest[2..], vars)),
        _ if rest.starts_with('-') => value.map_or_else(|| word(&rest[1..], vars), Ok),
        _ if rest.starts_with('+') => value.map_or(Ok(String::new()), |_| word(&rest[1..], vars)),
        _ => Err(format!("${{{inner}}}: unsupported modifier")),
    }
}

/// Cuts a text at blanks that are not quoted; quotes stay.
pub fn split(text: &str) -> Vec<String> {
    let (mut words, mut current, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => current.extend([Some(c), chars.next()].into_iter().flatten()),
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
    words
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
        assert!(word("${A", &vars).is_err() && word("${A%x}", &vars).is_err());
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
        fn any_text_is_read_or_refused(text: String) {
            let _ = (word(&text, &vars), pairs(&text, &vars), split(&text));
        }
    }
}
