//! Patterns of `COPY` sources and of `.dockerignore`.

use regex::Regex;

/// A pattern as Go's `filepath.Match` has them, with `**` for any number of directories.
pub fn pattern(glob: &str) -> Option<Regex> {
    let mut regex = String::from("^");
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                    regex.push_str("(.*/)?");
                } else {
                    regex.push_str(".*");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => class(&mut chars, &mut regex)?,
            '\\' => regex.push_str(&regex::escape(&chars.next()?.to_string())),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Regex::new(&regex).ok()
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars>, regex: &mut String) -> Option<()> {
    regex.push('[');
    if chars.next_if(|c| *c == '^' || *c == '!').is_some() {
        regex.push('^');
    }
    loop {
        match chars.next()? {
            ']' => break,
            '-' => regex.push('-'),
            '\\' => regex.push_str(&regex::escape(&chars.next()?.to_string())),
            c if c.is_alphanumeric() => regex.push(c),
            c => {
                regex.push('\\');
                regex.push(c);
            }
        }
    }
    regex.push(']');
    Some(())
}

/// What `.dockerignore` leaves out of the context.
pub struct Ignore(Vec<(Regex, bool)>);

impl Ignore {
    /// Patterns that are none are left out.
    pub fn parse(text: &str) -> Ignore {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rule = |line: &str| {
            let (line, keep) = line.strip_prefix('!').map_or((line, false), |rest| (rest.trim(), true));
            let clean = line.trim_start_matches("./").trim_matches('/');
            Some((pattern(clean)?, keep))
        };
        Ignore(lines.filter_map(rule).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path from the context's root is left out: the last pattern that fits it, or a directory above, decides.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for (pattern, keep) in &self.0 {
            let above = path.match_indices('/').map(|(end, _)| &path[..end]);
            if above.chain([path]).any(|part| pattern.is_match(part)) {
                out = !keep;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        for (glob, yes, no) in [
            ("*.py", "a.py", "d/a.py"),
            ("**/*.py", "d/e/a.py", "a.pyc"),
            ("a?c", "abc", "a/c"),
            ("[a-c]x", "bx", "dx"),
            ("[^a]x", "bx", "ax"),
            ("a\\*", "a*", "ab"),
            ("a.b", "a.b", "axb"),
        ] {
            let pattern = pattern(glob).expect(glob);
            assert!(pattern.is_match(yes) && !pattern.is_match(no), "{glob}");
        }
    }

    #[test]
    fn the_last_pattern_decides() {
        let ignore = Ignore::parse("# comment\n*.md\n!README.md\nnode_modules\n/build/\n**/secret\n");
        for out in ["a.md", "node_modules/x/y", "build/a", "a/b/secret"] {
            assert!(ignore.leaves_out(out), "{out}");
        }
        for kept in ["README.md", "d/a.md", "src/node_modules", "builder"] {
            assert!(!ignore.leaves_out(kept), "{kept}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_one_or_none(glob: String, path: String) {
            if let Some(pattern) = pattern(&glob) { pattern.is_match(&path); }
            Ignore::parse(&glob).leaves_out(&path);
        }
    }
}
