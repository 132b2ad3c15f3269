//! File modes as Go writes and reads them.

/// Go's mode string: a type letter, prefixed set-id and sticky letters, nine permission letters.
/// A plain file is `-rw-r--r--`, a set-uid one `urwxr-xr-x`, a sticky directory `dtrwxrwxrwx` (observed).
pub fn string(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => "d",
        libc::S_IFLNK => "L",
        libc::S_IFBLK => "D",
        libc::S_IFCHR => "Dc",
        libc::S_IFIFO => "p",
        libc::S_IFSOCK => "S",
        _ => "",
    };
    let mut out = String::with_capacity(12);
    // Go's order of letters: d…L D p S u g c t; only `c` and the set-id letters can meet.
    out.push_str(&kind[..kind.len().min(1)]);
    for (bit, letter) in [(libc::S_ISUID, 'u'), (libc::S_ISGID, 'g')] {
        if mode & bit != 0 {
            out.push(letter);
        }
    }
    out.push_str(&kind[kind.len().min(1)..]);
    if mode & libc::S_ISVTX != 0 {
        out.push('t');
    }
    if out.is_empty() {
        out.push('-');
    }
    out.extend("rwxrwxrwx".chars().enumerate().map(|(bit, c)| if mode & (0o400 >> bit) != 0 { c } else { '-' }));
    out
}

/// Reads `755` or `0755`; only the low nine bits count (observed). `None` when it isn't octal.
pub fn parse(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().map(|mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let cases = [
            (0o100644, "-rw-r--r--"),
            (0o040755, "drwxr-xr-x"),
            (0o104755, "urwxr-xr-x"),
            (0o102755, "grwxr-xr-x"),
            (0o106755, "ugrwxr-xr-x"),
            (0o041777, "dtrwxrwxrwx"),
            (0o020666, "Dcrw-rw-rw-"),
            (0o060660, "Drw-rw----"),
            (0o010600, "prw-------"),
            (0o140777, "Srwxrwxrwx"),
            (0o100000, "----------"),
        ];
        for (mode, text) in cases {
            assert_eq!(string(mode), text);
        }
    }

    #[test]
    fn octal() {
        assert_eq!(parse("0755"), Some(0o755));
        assert_eq!(parse("4755"), Some(0o755));
        for bad in ["", "999", "abc", "-1", "+7", "0o755", "77777777777777"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
