//! Terminal modes as SSH clients send them (RFC 4254, section 8): the client's own, so that its keys mean the same here.

use std::{io, os::fd::AsFd};

use nix::sys::termios::{
    self, ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Key, Termios,
};

/// Sets those that Linux knows. Speeds mean nothing to a pseudo-terminal.
pub fn apply(terminal: impl AsFd, modes: &[(u8, u32)]) -> io::Result<()> {
    if modes.is_empty() {
        return Ok(());
    }
    let mut termios = termios::tcgetattr(&terminal)?;
    for &(code, value) in modes {
        set(&mut termios, code, value);
    }
    Ok(termios::tcsetattr(&terminal, SetArg::TCSANOW, &termios)?)
}

fn set(termios: &mut Termios, code: u8, value: u32) {
    if let Some(key) = key(code) {
        // 255 is no key.
        termios.control_chars[key as usize] = if value == 255 { 0 } else { value as u8 };
        return;
    }
    let on = value != 0;
    if let Some(flag) = input(code) {
        termios.input_flags.set(flag, on);
    } else if let Some(flag) = local(code) {
        termios.local_flags.set(flag, on);
    } else if let Some(flag) = output(code) {
        termios.output_flags.set(flag, on);
    } else if let Some(flag) = control(code) {
        termios.control_flags.set(flag, on);
    }
}

fn key(code: u8) -> Option<Key> {
    Some(match code {
        1 => Key::VINTR,
        2 => Key::VQUIT,
        3 => Key::VERASE,
        4 => Key::VKILL,
        5 => Key::VEOF,
        6 => Key::VEOL,
        7 => Key::VEOL2,
        8 => Key::VSTART,
        9 => Key::VSTOP,
        10 => Key::VSUSP,
        12 => Key::VREPRINT,
        13 => Key::VWERASE,
        14 => Key::VLNEXT,
        16 => Key::VSWTC,
        18 => Key::VDISCARD,
        _ => return None,
    })
}

fn input(code: u8) -> Option<InputFlags> {
    Some(match code {
        30 => InputFlags::IGNPAR,
        31 => InputFlags::PARMRK,
        32 => InputFlags::INPCK,
        33 => InputFlags::ISTRIP,
        34 => InputFlags::INLCR,
        35 => InputFlags::IGNCR,
        36 => InputFlags::ICRNL,
        38 => InputFlags::IXON,
        39 => InputFlags::IXANY,
        40 => InputFlags::IXOFF,
        41 => InputFlags::IMAXBEL,
        42 => InputFlags::IUTF8,
        _ => return None,
    })
}

fn local(code: u8) -> Option<LocalFlags> {
    Some(match code {
        50 => LocalFlags::ISIG,
        51 => LocalFlags::ICANON,
        53 => LocalFlags::ECHO,
        54 => LocalFlags::ECHOE,
        55 => LocalFlags::ECHOK,
        56 => LocalFlags::ECHONL,
        57 => LocalFlags::NOFLSH,
        58 => LocalFlags::TOSTOP,
        59 => LocalFlags::IEXTEN,
        60 => LocalFlags::ECHOCTL,
        61 => LocalFlags::ECHOKE,
        62 => LocalFlags::PENDIN,
        _ => return None,
    })
}

fn output(code: u8) -> Option<OutputFlags> {
    Some(match code {
        70 => OutputFlags::OPOST,
        71 => OutputFlags::OLCUC,
        72 => OutputFlags::ONLCR,
        73 => OutputFlags::OCRNL,
        74 => OutputFlags::ONOCR,
        75 => OutputFlags::ONLRET,
        _ => return None,
    })
}

fn control(code: u8) -> Option<ControlFlags> {
    Some(match code {
        92 => ControlFlags::PARENB,
        93 => ControlFlags::PARODD,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_flags_are_set_and_the_unknown_is_left() {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        apply(&pty.master, &[(1, 7), (3, 255), (53, 0), (36, 0), (72, 0), (128, 38400), (77, 1), (0, 0)]).expect("set");
        let termios = termios::tcgetattr(&pty.slave).expect("modes");
        assert_eq!(termios.control_chars[Key::VINTR as usize], 7);
        assert_eq!(termios.control_chars[Key::VERASE as usize], 0);
        assert!(!termios.local_flags.contains(LocalFlags::ECHO) && termios.local_flags.contains(LocalFlags::ICANON));
        assert!(!termios.input_flags.contains(InputFlags::ICRNL) && !termios.output_flags.contains(OutputFlags::ONLCR));
    }
}
