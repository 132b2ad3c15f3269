//! How git gets credentials: from sealed memory files that it inherits, one with configuration, one that a helper reads
//! out. Arguments and variables, which every process list shows, only name the descriptors. Files rather than pipes, as
//! git may ask more than once.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::Command,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{
    command::Call,
    plain,
    url::{Login, Web},
};
use crate::{
    runtime::sys::inherit,
    toolbox::{ToolboxError, go_errors},
};

/// Descriptors in the child. High ones: git and the programs that it starts use the low ones freely.
const CONFIG: i32 = 96;
const LOGIN: i32 = 97;

/// What one run of git may know.
pub struct Secrets {
    config: File,
    login: File,
}

/// A remote's address for one run.
pub struct Remote {
    /// May be an argument.
    pub url: String,
    /// As the client wrote it, which is what the repository keeps.
    pub given: String,
    pub secrets: Option<Secrets>,
}

/// What a request says of credentials. They count only when both are there (observed).
pub fn login(username: String, password: String) -> Option<Login> {
    (!username.is_empty() && !password.is_empty()).then_some(Login { username, password })
}

/// The remote at `url`, with the request's credentials or else those in the URL.
pub async fn remote(call: &Call, url: &str, login: Option<Login>) -> Result<Remote, ToolboxError> {
    plain("repository URL", url)?;
    let given = url.to_owned();
    let Some(web) = Web::parse(url) else { return Ok(Remote { url: given.clone(), given, secrets: None }) };
    let Some(login) = login.or(web.login) else { return Ok(Remote { url: web.clean, given, secrets: None }) };
    let target = if web.clean == url { None } else { Some(resolved(call, &web.clean).await?) };
    let rule = target.as_deref().map(|target| (url, target));
    let secrets = Secrets::new(&web.origin, rule, &login)?;
    Ok(Remote { url: web.clean, given, secrets: Some(secrets) })
}

/// Where git goes for this URL: a mirror, perhaps. A rule of ours would hide the rule for that.
async fn resolved(call: &Call, url: &str) -> Result<String, ToolboxError> {
    let found = call.git(["ls-remote", "--get-url", "--", url]).cwd("/".as_ref()).text().await?;
    Ok(String::from_utf8_lossy(&found).trim_end_matches('\n').to_owned())
}

impl Secrets {
    /// `login` for whatever is at `origin`; a remote whose URL is the first of `rule` is at the second.
    fn new(origin: &str, rule: Option<(&str, &str)>, login: &Login) -> Result<Secrets, ToolboxError> {
        let Login { username, password } = login;
        if [username, password].iter().any(|text| text.contains(['\n', '\r', '\0'])) {
            return Err(ToolboxError::bad_request("invalid credentials"));
        }
        // The empty helper takes away those of other configurations: they'd be asked before, and told afterwards.
        let mut config = format!(
            "[credential {}]\n\thelper =\n\thelper = \"!f() {{ test \\\"$1\\\" = get && cat /proc/self/fd/{LOGIN}; }}; f\"\n",
            quoted(origin)
        );
        if let Some((instead_of, url)) = rule {
            config += &format!("[url {}]\n\tinsteadOf = {}\n", quoted(url), quoted(instead_of));
        }
        let failed = |e: io::Error| ToolboxError::internal(go_errors::text(&e));
        let login = format!("username={username}\npassword={password}\n");
        Ok(Secrets { config: sealed(&config).map_err(failed)?, login: sealed(&login).map_err(failed)? })
    }

    /// Lets the program have them.
    pub fn lend(&self, command: &mut Command) -> io::Result<()> {
        inherit::pass(command, self.config.as_fd(), CONFIG)?;
        inherit::pass(command, self.login.as_fd(), LOGIN)?;
        command.args(["-c", &format!("include.path=/proc/self/fd/{CONFIG}")]);
        Ok(())
    }
}

/// A memory file that nobody can change.
fn sealed(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"git", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(text.as_bytes())?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// As a value or section name of git's configuration. There are no control characters in it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
