//! Which shell and which programs.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const PREFERRED: [&str; 4] = ["/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"];

/// The shell of every process feature, decided anew for each call (observed): the first of [`PREFERRED`] that
/// `/etc/shells` lists, else `$SHELL`, else `sh`; `sh` too when the list can't be read.
pub fn user_shell(env: &BTreeMap<String, String>) -> String {
    // A page or less from the page cache: cheaper here than handed to a thread.
    let listed = std::fs::read_to_string("/etc/shells");
    choose(listed.as_deref().ok(), env.get("SHELL").map(String::as_str)).to_owned()
}

fn choose<'a>(listed: Option<&str>, variable: Option<&'a str>) -> &'a str {
    let Some(listed) = listed else { return "sh" };
    let lines: Vec<_> = listed.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    match PREFERRED.into_iter().find(|shell| lines.contains(shell)) {
        Some(shell) => shell,
        None => variable.filter(|shell| !shell.is_empty()).unwrap_or("sh"),
    }
}

/// Looks a program up in the `PATH` of `env`, so that starting it needs no `fork` (std uses `posix_spawn` for
/// paths only). `None` when nothing executable is there.
pub fn find_program(name: &str, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_shells_win_in_order_of_preference() {
        assert_eq!(choose(Some("/bin/bash\n/usr/bin/bash\n"), Some("/bin/fish")), "/usr/bin/bash");
        assert_eq!(choose(Some("# x\n/bin/sh\n /bin/zsh\n/usr/bin/bash"), None), "/bin/zsh");
        assert_eq!(choose(Some("#/bin/bash\n/bin/sh\n"), Some("/bin/fish")), "/bin/fish");
        assert_eq!(choose(Some("/bin/sh"), None), "sh");
        assert_eq!(choose(None, Some("/bin/fish")), "sh");
    }
}
