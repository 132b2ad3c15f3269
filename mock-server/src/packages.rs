//! This machine's package manager, for commands that people are told.

use std::path::Path;

/// Package managers, in the order of names of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Apt,
    Dnf,
    Pacman,
    Apk,
}

impl Manager {
    /// This machine's; apt when it is unknown, for its package names are the best known.
    pub fn of_host() -> Manager {
        let known = [("dnf", Manager::Dnf), ("pacman", Manager::Pacman), ("apk", Manager::Apk)];
        let has = |name: &str| ["/usr/bin", "/sbin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(name).exists());
        if has("apt-get") {
            return Manager::Apt;
        }
        known.into_iter().find(|(name, _)| has(name)).map_or(Manager::Apt, |(_, manager)| manager)
    }

    /// The command that brings a package, which is called so with apt, dnf, pacman and apk.
    pub fn install(self, names: [&str; 4]) -> String {
        let install = match self {
            Manager::Apt => "apt-get install -y",
            Manager::Dnf => "dnf install -y",
            Manager::Pacman => "pacman -S --noconfirm",
            Manager::Apk => "apk add",
        };
        format!("{}{install} {}", sudo(), names[self as usize])
    }
}

/// What commands for root begin with.
pub fn sudo() -> &'static str {
    if nix::unistd::geteuid().is_root() { "" } else { "sudo " }
}
