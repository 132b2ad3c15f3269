//! `--chmod`: octal, or symbolic as `chmod` has it (Dockerfile reference: `u=rwx,go=rx`).

/// A mode that files are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode(Vec<Change>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    /// The bits of whom it is about, those above `rwx` among them.
    who: u32,
    operator: char,
    /// `rwx` for everybody, and the bits above.
    bits: u32,
    /// `X`: to execute what is a directory, or can be executed by somebody.
    maybe_execute: bool,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let bad = || format!("--chmod={text}: neither an octal nor a symbolic mode");
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777).ok_or_else(bad)?;
            return Ok(Mode(vec![Change { who: 0o7777, operator: '=', bits, maybe_execute: false }]));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let (who, mut rest) = clause.split_at(clause.find(['+', '-', '=']).ok_or_else(bad)?);
            let who = people(who).ok_or_else(bad)?;
            while let Some(operator) = rest.chars().next() {
                let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
                let (bits, maybe_execute) = permissions(&rest[1..end], who).ok_or_else(bad)?;
                changes.push(Change { who, operator, bits, maybe_execute });
                rest = &rest[end..];
            }
        }
        Ok(Mode(changes))
    }
}

/// `ugoa`; nobody is everybody.
fn people(text: &str) -> Option<u32> {
    let one = |c| match c {
        'u' => Some(0o4700),
        'g' => Some(0o2070),
        'o' => Some(0o1007),
        'a' => Some(0o7777),
        _ => None,
    };
    let all = text.chars().try_fold(0, |all, c| Some(all | one(c)?))?;
    Some(if text.is_empty() { 0o7777 } else { all })
}

/// `rwxXst`, and whether there is an `X`.
fn permissions(text: &str, who: u32) -> Option<(u32, bool)> {
    let one = |c| match c {
        'r' => Some(0o444),
        'w' => Some(0o222),
        'x' => Some(0o111),
        'X' => Some(0),
        's' => Some(0o6000 & who),
        't' => Some(0o1000),
        _ => None,
    };
    let all = text.chars().try_fold(0, |all, c| Some(all | one(c)?))?;
    Some((all, text.contains('X')))
}

impl Mode {
    /// What becomes of a file's mode.
    pub fn of(&self, mode: u32, is_dir: bool) -> u32 {
        self.0.iter().fold(mode & 0o7777, |mode, change| {
            let execute = change.maybe_execute && (is_dir || mode & 0o111 != 0);
            let bits = (change.bits | if execute { 0o111 } else { 0 }) & (change.who | 0o1000);
            match change.operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !change.who | bits,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_chmod() {
        for (text, mode, is_dir, expected) in [
            ("755", 0o644, false, 0o755),
            ("0600", 0o755, true, 0o600),
            ("u=rwx,go=rx", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("a+rX", 0o600, false, 0o644),
            ("a+rX", 0o600, true, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("+x", 0o644, false, 0o755),
            ("g+s-w,+t", 0o775, true, 0o3755),
            ("u=,o=w", 0o777, false, 0o072),
            ("u+s", 0o755, false, 0o4755),
        ] {
            assert_eq!(text.parse::<Mode>().expect(text).of(mode, is_dir), expected, "{text} of {mode:o}");
        }
        for bad in ["", "8", "77777", "rwx", "u=q", "x+w", "u", "u=r,", "0o7", "-1"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_mode_or_none(text in "[ugoa0-7rwxXst+=,-]{0,12}|\\PC*", mode: u32) {
            if let Ok(parsed) = text.parse::<Mode>() {
                proptest::prop_assert!(parsed.of(mode, mode % 2 == 0) <= 0o7777);
            }
        }
    }
}
