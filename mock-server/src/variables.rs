//! Environment variables that a process can be given.

/// Bytes of one with its name, `=` and end: Linux' `MAX_ARG_STRLEN`.
const LONGEST: usize = 128 << 10;

/// Why no process can have this one, if so.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(format!("invalid environment variable: '{name}'"));
    }
    if name.len() + value.len() + 2 > LONGEST {
        let start: String = name.chars().take(64).collect();
        return Err(format!("environment variable '{start}' is too long"));
    }
    Ok(())
}

/// The same for a whole environment, of at most so many bytes.
pub fn check_all<'a>(all: impl Iterator<Item = (&'a str, &'a str)>, most: usize) -> Result<(), String> {
    let mut size = 0;
    for (name, value) in all {
        check(name, value)?;
        size += name.len() + value.len() + 2;
    }
    if size > most { Err("environment is too large".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_process_can_have_is_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0"), ("A", &"x".repeat(LONGEST))] {
            assert!(check(name, value).is_err(), "{name:?}");
        }
        assert_eq!(check("1 a.b", "one\ntwo=3"), Ok(()));
        assert_eq!(check("A", &"x".repeat(LONGEST - 3)), Ok(()));
        assert!(check_all([("A", "1"), ("B", "2")].into_iter(), 7).is_err());
        assert_eq!(check_all([("A", "1"), ("B", "2")].into_iter(), 8), Ok(()));
    }

    #[test]
    fn the_longest_is_what_linux_takes() {
        let run = |length| std::process::Command::new("/bin/true").env_clear().env("A", "x".repeat(length)).status();
        assert!(run(LONGEST - 3).is_ok_and(|status| status.success()));
        assert!(run(LONGEST - 2).is_err());
    }
}
