//! The variables that stand for flags.

use std::ffi::OsStr;

use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};

use super::values::on_or_off;
use crate::strict::nearest;

/// A command that takes variables that say nothing for unset: empty ones, as scripts have them for what they leave out, and
/// those that leave a switch off, which else would be at odds with the flags that the switch excludes.
pub fn without_unset(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        match value {
            Some(value) if says_nothing(&value, is_switch) => arg.env(None::<&'static str>),
            _ => arg,
        }
    });
    command.mut_subcommands(without_unset)
}

/// What all of them begin with.
const PREFIX: &str = "DAYTONA_MOCK_";

/// Variables that are nobody's, and whose was meant: an environment says nothing of its mistakes.
pub fn misspelt(command: &Command) -> Vec<(String, String)> {
    let commands = || std::iter::once(command).chain(command.get_subcommands());
    let all =
        commands().flat_map(Command::get_arguments).filter_map(|arg| arg.get_env()?.to_str()?.strip_prefix(PREFIX));
    let known: Vec<&str> = all.collect();
    let given = std::env::vars_os().filter_map(|(name, _)| name.to_str()?.strip_prefix(PREFIX).map(str::to_owned));
    let strange = given.filter(|name| !known.contains(&name.as_str()));
    let meant = strange.filter_map(|name| Some((nearest(&name, known.iter().copied())?.to_owned(), name)));
    meant.map(|(meant, name)| (format!("{PREFIX}{name}"), format!("{PREFIX}{meant}"))).collect()
}

/// Whether a command has an argument by its variable.
pub fn gave(matches: &ArgMatches, id: &str) -> bool {
    matches.ids().any(|given| given == id) && matches.value_source(id) == Some(ValueSource::EnvVariable)
}

fn says_nothing(value: &OsStr, is_switch: bool) -> bool {
    value.is_empty() || is_switch && value.to_str().and_then(on_or_off) == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing() {
        for off in ["", "0", "no", "False", "OFF"] {
            assert!(says_nothing(OsStr::new(off), true), "{off}");
        }
        assert!(!says_nothing(OsStr::new("1"), true) && !says_nothing(OsStr::new("maybe"), true));
        assert!(says_nothing(OsStr::new(""), false) && !says_nothing(OsStr::new("0"), false));
    }
}
