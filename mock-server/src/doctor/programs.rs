//! Which programs a base should have, and the command that brings each.

use crate::packages::{Manager, sudo};

/// One line of the doctor's table.
pub struct Program {
    pub name: &'static str,
    pub kind: Kind,
    /// What doesn't work without it.
    pub needed_for: &'static str,
    pub mend: Mend,
}

/// How to find it inside.
pub enum Kind {
    Command,
    /// A Python module that `python3` can import.
    Module(&'static str),
    /// Any of these commands.
    OneOf(&'static [&'static str]),
    /// A directory or file.
    File(&'static str),
}

/// What brings it.
pub enum Mend {
    /// Names of the package with apt, dnf, pacman and apk.
    Package([&'static str; 4]),
    Npm(&'static str),
}

const fn command(name: &'static str, needed_for: &'static str, packages: [&'static str; 4]) -> Program {
    Program { name, kind: Kind::Command, needed_for, mend: Mend::Package(packages) }
}

const fn module(name: &'static str, module: &'static str, packages: [&'static str; 4]) -> Program {
    Program {
        name,
        kind: Kind::Module(module),
        needed_for: "code run with charts and data",
        mend: Mend::Package(packages),
    }
}

const fn npm(name: &'static str, needed_for: &'static str, package: &'static str) -> Program {
    Program { name, kind: Kind::Command, needed_for, mend: Mend::Npm(package) }
}

/// In the order in which they are shown.
pub const PROGRAMS: &[Program] = &[
    command("bash", "sessions and PTYs", ["bash", "bash", "bash", "bash"]),
    command("python3", "Python code run and the interpreter", ["python3", "python3", "python", "python3"]),
    command("pip3", "installing Python packages", ["python3-pip", "python3-pip", "python-pip", "py3-pip"]),
    Program {
        name: "venv",
        kind: Kind::Module("ensurepip"),
        needed_for: "Python virtual environments",
        mend: Mend::Package(["python3-venv", "python3", "python", "python3"]),
    },
    module("numpy", "numpy", ["python3-numpy", "python3-numpy", "python-numpy", "py3-numpy"]),
    module("pandas", "pandas", ["python3-pandas", "python3-pandas", "python-pandas", "py3-pandas"]),
    module(
        "matplotlib",
        "matplotlib",
        ["python3-matplotlib", "python3-matplotlib", "python-matplotlib", "py3-matplotlib"],
    ),
    command("node", "JavaScript and TypeScript code run", ["nodejs", "nodejs", "nodejs", "nodejs"]),
    command("npm", "installing Node packages", ["npm", "npm", "npm", "npm"]),
    npm("ts-node", "programs that call it by name (code run does without)", "ts-node typescript"),
    command("git", "git operations", ["git", "git", "git", "git"]),
    command("curl", "fetching", ["curl", "curl", "curl", "curl"]),
    command("rg", "searching by hand", ["ripgrep", "ripgrep", "ripgrep", "ripgrep"]),
    command("sudo", "root inside", ["sudo", "sudo", "sudo", "sudo"]),
    command("ps", "listing processes", ["procps", "procps-ng", "procps-ng", "procps"]),
    command(
        "pylsp",
        "language server for Python",
        ["python3-pylsp", "python3-lsp-server", "python-lsp-server", "py3-lsp-server"],
    ),
    npm(
        "typescript-language-server",
        "language server for TypeScript and JavaScript",
        "typescript-language-server typescript@5",
    ),
    command("Xvfb", "computer use", ["xvfb", "xorg-x11-server-Xvfb", "xorg-server-xvfb", "xvfb"]),
    Program {
        name: "window manager",
        kind: Kind::OneOf(&["xfwm4", "openbox", "icewm", "fluxbox", "matchbox-window-manager"]),
        needed_for: "computer use",
        mend: Mend::Package(["openbox", "openbox", "openbox", "openbox"]),
    },
    command("ffmpeg", "screen recordings", ["ffmpeg", "ffmpeg-free", "ffmpeg", "ffmpeg"]),
    command("x11vnc", "the desktop over VNC", ["x11vnc", "x11vnc", "x11vnc", "x11vnc"]),
    Program {
        name: "noVNC",
        kind: Kind::File("/usr/share/novnc"),
        needed_for: "the desktop in a browser",
        mend: Mend::Package(["novnc", "novnc", "novnc", "novnc"]),
    },
    command("websockify", "the desktop in a browser", ["websockify", "python3-websockify", "websockify", "websockify"]),
    command("dbus-daemon", "the accessibility tree", ["dbus", "dbus-daemon", "dbus", "dbus"]),
    Program {
        name: "at-spi2-core",
        kind: Kind::File("/usr/libexec/at-spi-bus-launcher"),
        needed_for: "the accessibility tree",
        mend: Mend::Package(["at-spi2-core", "at-spi2-core", "at-spi2-core", "at-spi2-core"]),
    },
];

impl Program {
    /// A shell command that prints where it is, or nothing.
    pub fn probe(&self) -> String {
        match self.kind {
            Kind::Command => format!("command -v {}", self.name),
            Kind::Module(module) => format!(
                "python3 -c 'import importlib.util as u; s = u.find_spec(\"{module}\"); print(s.origin if s else \"\")'"
            ),
            Kind::OneOf(names) => {
                format!("for c in {}; do command -v $c && break; done", names.join(" "))
            }
            Kind::File(path) => format!("test -e {path} && echo {path}"),
        }
    }

    /// The command that brings it to this machine.
    pub fn mend(&self, manager: Manager) -> String {
        match self.mend {
            // Not into a prefix below somebody's home, which no base has.
            Mend::Npm(packages) => format!("{}npm install --global --prefix /usr/local {packages}", sudo()),
            Mend::Package(names) => manager.install(names),
        }
    }
}
