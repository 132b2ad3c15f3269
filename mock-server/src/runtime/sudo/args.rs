//! The command line of `sudo`, as far as programs use it.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    Run(Invocation),
    /// Print this and succeed.
    Say(String),
}

/// A command and whom to run it as.
#[derive(Debug, Default, PartialEq)]
pub struct Invocation {
    /// Name or number.
    pub user: String,
    /// `-g`: name or number.
    pub group: Option<String>,
    pub keep_all: bool,
    pub keep: BTreeSet<String>,
    pub login: bool,
    pub shell: bool,
    pub set_home: bool,
    pub directory: Option<PathBuf>,
    pub assignments: Vec<(OsString, OsString)>,
    /// Empty for a bare `sudo -i` or `sudo -s`.
    pub command: Vec<OsString>,
}

impl Invocation {
    /// What to exec, never empty. `-i` and `-s` hand the command to the shell, escaped as sudo does.
    pub fn command_line(&self, shell: &str) -> Vec<OsString> {
        if !self.login && !self.shell {
            return self.command.clone();
        }
        let mut line = vec![OsString::from(shell)];
        if !self.command.is_empty() {
            let escaped: Vec<_> = self.command.iter().map(escape).collect();
            line.extend(["-c".into(), escaped.join(&OsString::from(" "))]);
        }
        line
    }
}

fn escape(word: &OsString) -> OsString {
    let mut escaped = Vec::new();
    for &byte in word.as_bytes() {
        if !byte.is_ascii_alphanumeric() && !b"_-$".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    OsString::from_vec(escaped)
}

/// Options that take a value in the next argument, and mean nothing here.
const IGNORED_WITH_VALUE: &[&str] = &["-p", "--prompt", "-C", "--close-from", "-T", "--command-timeout", "-r", "-t"];

const USAGE: &str = "usage: sudo [-EHnis] [-u user] [-g gid] [-D directory] [VAR=value] [command [arg ...]]";

/// # Errors
/// A usage message.
pub fn parse(args: Vec<OsString>) -> Result<Action, String> {
    let mut run = Invocation { user: "root".into(), ..Default::default() };
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next_if(|arg| arg.as_bytes().starts_with(b"-")) {
        let arg = arg.to_string_lossy().into_owned();
        if arg == "--" {
            break;
        }
        let (name, mut value) = match arg.split_once('=').filter(|_| arg.starts_with("--")) {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let is_last = args.peek().is_none();
        let mut next = || {
            let given = value.take().or_else(|| args.next().map(|arg| arg.to_string_lossy().into_owned()));
            given.ok_or_else(|| format!("{name} needs a value\n{USAGE}"))
        };
        match name.as_str() {
            "-u" | "--user" => run.user = next()?.trim_start_matches('#').to_owned(),
            "-g" | "--group" => run.group = Some(next()?.trim_start_matches('#').to_owned()),
            "-D" | "--chdir" => run.directory = Some(next()?.into()),
            "--preserve-env" => match value {
                Some(names) => run.keep.extend(names.split(',').map(str::to_owned)),
                None => run.keep_all = true,
            },
            "--login" => run.login = true,
            "--shell" => run.shell = true,
            "--set-home" => run.set_home = true,
            "--version" | "-V" => return Ok(Action::Say("Sudo version 1.9 (daytona-mock)\n".into())),
            "--help" | "-h" => return Ok(Action::Say(format!("{USAGE}\n"))),
            "--list" | "-l" => return Ok(Action::Say("    (ALL) NOPASSWD: ALL\n".into())),
            "--validate" | "-v" | "--reset-timestamp" | "-k" | "--remove-timestamp" | "-K" if is_last => {
                return Ok(Action::Say(String::new()));
            }
            "--non-interactive" | "--stdin" | "--askpass" | "--reset-timestamp" | "--background" | "--bell" => {}
            name if IGNORED_WITH_VALUE.contains(&name) => drop(next()?),
            // `sudo -nv` asks whether a password would be needed.
            name if is_last && !name.starts_with("--") && name.ends_with(['v', 'l', 'k', 'K']) => {
                flags(&mut run, &name[..name.len() - 1], &mut next)?;
                return Ok(Action::Say(String::new()));
            }
            name if !name.starts_with("--") => flags(&mut run, name, &mut next)?,
            name => return Err(format!("unrecognized option {name}\n{USAGE}")),
        }
    }
    while let Some(assignment) = args.next_if(is_assignment) {
        let text = assignment.into_vec();
        let at = text.iter().position(|&byte| byte == b'=').expect("is_assignment saw it");
        run.assignments.push((OsString::from_vec(text[..at].to_vec()), OsString::from_vec(text[at + 1..].to_vec())));
    }
    run.command = args.collect();
    if run.command.is_empty() && !run.login && !run.shell {
        return Err(USAGE.to_owned());
    }
    Ok(Action::Run(run))
}

/// Joined short flags: `-nE`, `-Hu root`, `-uroot`.
fn flags(run: &mut Invocation, flags: &str, next: &mut impl FnMut() -> Result<String, String>) -> Result<(), String> {
    for (at, flag) in flags.char_indices().skip(1) {
        match flag {
            'E' => run.keep_all = true,
            'H' => run.set_home = true,
            'i' => run.login = true,
            's' => run.shell = true,
            'n' | 'S' | 'A' | 'k' | 'b' | 'B' => {}
            'u' | 'g' => {
                let rest = &flags[at + 1..];
                let name = if rest.is_empty() { next()? } else { rest.to_owned() };
                let name = name.trim_start_matches('#').to_owned();
                if flag == 'u' {
                    run.user = name;
                } else {
                    run.group = Some(name);
                }
                return Ok(());
            }
            _ => return Err(format!("invalid option -- '{flag}'\n{USAGE}")),
        }
    }
    Ok(())
}

fn is_assignment(arg: &OsString) -> bool {
    arg.as_bytes().iter().position(|&byte| byte == b'=').is_some_and(|at| at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Invocation {
        match parse(line.split_whitespace().map(OsString::from).collect()) {
            Ok(Action::Run(run)) => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn common_lines() {
        let plain = run("apt-get install -y x");
        assert_eq!((plain.user.as_str(), plain.command.len()), ("root", 4));
        let env = run("-nE -u daytona A=1 B= -- not parsed");
        assert!(env.keep_all);
        assert_eq!(env.user, "daytona");
        assert_eq!(env.assignments.len(), 2);
        assert_eq!(env.command[0], "--");
        assert_eq!(run("-- ls -la").command, ["ls", "-la"]);
        assert_eq!(run("-Hu www-data id").user, "www-data");
        assert_eq!(run("-u#33 id").user, "33");
        assert_eq!(run("--preserve-env=A,B id").keep.len(), 2);
        assert_eq!(run("--user=daytona id").user, "daytona");
        for line in ["-g nogroup id", "-Hg nogroup id", "-gnogroup id", "--group=nogroup id"] {
            assert_eq!(run(line).group.as_deref(), Some("nogroup"), "{line}");
        }
        assert_eq!(run("-uval id").user, "val");
    }

    #[test]
    fn a_shell_gets_an_escaped_command() {
        assert_eq!(run("-i").command_line("/bin/bash"), ["/bin/bash"]);
        assert_eq!(run("-s echo a;b").command_line("/bin/sh"), ["/bin/sh", "-c", r"echo a\;b"]);
    }

    #[test]
    fn bad_lines_are_told() {
        for line in ["", "-u", "--what id", "-Z id", "-Zv", "-g"] {
            assert!(parse(line.split_whitespace().map(OsString::from).collect()).is_err(), "{line}");
        }
        for line in ["-v", "-nv", "-nk", "-nl"] {
            assert_eq!(parse(vec![line.into()]), Ok(Action::Say(String::new())), "{line}");
        }
    }
}
