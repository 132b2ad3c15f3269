//! Names of keys.

use super::display::Trouble;

/// A keysym of the X protocol.
pub type Keysym = u32;

/// X's number for a character (Unicode, or Latin-1 as it always was).
pub fn of_char(character: char) -> Keysym {
    match u32::from(character) {
        latin @ (0x20..=0x7e | 0xa0..=0xff) => latin,
        other => 0x0100_0000 | other,
    }
}

/// Names of keys, all in lower case, canonical ones first.
const NAMED: &[(&[&str], Keysym)] = &[
    (&["enter", "return"], 0xff0d),
    (&["escape", "esc"], 0xff1b),
    (&["tab"], 0xff09),
    (&["space", "spacebar"], 0x20),
    (&["backspace"], 0xff08),
    (&["delete", "del"], 0xffff),
    (&["insert", "ins"], 0xff63),
    (&["home"], 0xff50),
    (&["end"], 0xff57),
    (&["pageup", "page_up", "pgup", "prior"], 0xff55),
    (&["pagedown", "page_down", "pgdn", "next"], 0xff56),
    (&["left", "arrowleft", "arrow_left"], 0xff51),
    (&["up", "arrowup", "arrow_up"], 0xff52),
    (&["right", "arrowright", "arrow_right"], 0xff53),
    (&["down", "arrowdown", "arrow_down"], 0xff54),
    (&["capslock", "caps_lock"], 0xffe5),
    (&["num_lock", "numlock"], 0xff7f),
    (&["scrolllock", "scroll_lock"], 0xff14),
    (&["printscreen", "print_screen", "print"], 0xff61),
    (&["pause"], 0xff13),
    (&["menu"], 0xff67),
    (&["plus"], 0x2b),
    (&["minus"], 0x2d),
    (&["num_plus", "num_add", "num+"], 0xffab),
    (&["num_minus", "num_subtract", "num-"], 0xffad),
    (&["num_multiply", "num_asterisk", "num*"], 0xffaa),
    (&["num_divide", "num_slash", "num/"], 0xffaf),
    (&["num_decimal", "num_period", "num."], 0xffae),
    (&["num_enter"], 0xff8d),
    (&["num_equal", "num_equals", "num="], 0xffbd),
    (&["num_clear"], 0xff0b),
    (&["audio_mute"], 0x1008_ff12),
    (&["audio_vol_down"], 0x1008_ff11),
    (&["audio_vol_up"], 0x1008_ff13),
];

/// Modifiers; the second of a kind is the one on the right.
const MODIFIERS: &[(&[&str], Keysym)] = &[
    (&["ctrl", "control", "lctrl", "ctrl_l", "control_l"], 0xffe3),
    (&["rctrl", "ctrl_r", "control_r"], 0xffe4),
    (&["alt", "option", "lalt", "alt_l"], 0xffe9),
    (&["ralt", "alt_r"], 0xffea),
    (&["shift", "lshift", "shift_l"], 0xffe1),
    (&["rshift", "shift_r"], 0xffe2),
    (&["cmd", "command", "meta", "win", "windows", "super", "lcmd", "super_l", "meta_l"], 0xffeb),
    (&["rcmd", "super_r", "meta_r"], 0xffec),
];

/// A key by its name, in any case; a character is its own name. Letters are those without Shift.
pub fn key(name: &str) -> Result<Keysym, Trouble> {
    let trimmed = if name.chars().count() == 1 { name } else { name.trim() };
    let lower = trimmed.to_lowercase();
    let mut characters = lower.chars();
    if let (Some(character), None) = (characters.next(), characters.next()) {
        return match character {
            '\n' | '\r' => Ok(0xff0d),
            '\t' => Ok(0xff09),
            control if control.is_control() => Err(unknown(name)),
            character => Ok(of_char(character)),
        };
    }
    let numbered = |prefix: &str, first: Keysym, numbers: std::ops::RangeInclusive<u32>| {
        let number = lower.strip_prefix(prefix)?.parse().ok()?;
        numbers.contains(&number).then(|| first + number - numbers.start())
    };
    lookup(NAMED, &lower)
        .or_else(|| lookup(MODIFIERS, &lower))
        .or_else(|| numbered("f", 0xffbe, 1..=24))
        .or_else(|| numbered("num_", 0xffb0, 0..=9))
        .or_else(|| numbered("num", 0xffb0, 0..=9))
        .ok_or_else(|| unknown(name))
}

/// A modifier by its name.
pub fn modifier(name: &str) -> Result<Keysym, Trouble> {
    let lower = name.trim().to_lowercase();
    lookup(MODIFIERS, &lower).ok_or_else(|| {
        Trouble::Refused(format!("unsupported modifier {name:?}: expected one of ctrl, alt, shift, cmd"))
    })
}

/// The keys of a chord such as `ctrl+shift+t`, in the order in which they go down. One that isn't a modifier comes last.
pub fn chord(keys: &str) -> Result<Vec<Keysym>, Trouble> {
    if keys.trim().is_empty() {
        return Err(Trouble::Refused("hotkey cannot be empty".into()));
    }
    let names: Vec<&str> = keys.split('+').map(str::trim).collect();
    if names.contains(&"") {
        return Err(Trouble::Refused(format!("invalid hotkey {keys:?}: a key is missing (\"plus\" is +)")));
    }
    let (last, before) = names.split_last().expect("a split has a part");
    let mut chord = before.iter().map(|name| modifier(name)).collect::<Result<Vec<_>, _>>()?;
    chord.push(key(last)?);
    Ok(chord)
}

fn lookup(table: &[(&[&str], Keysym)], name: &str) -> Option<Keysym> {
    table.iter().find(|(names, _)| names.contains(&name)).map(|(_, keysym)| *keysym)
}

fn unknown(name: &str) -> Trouble {
    Trouble::Refused(format!("unsupported key {name:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_aliases() {
        for (name, keysym) in [
            ("enter", 0xff0d),
            ("Return", 0xff0d),
            ("ESCAPE", 0xff1b),
            ("a", 0x61),
            ("A", 0x61),
            (";", 0x3b),
            (" ", 0x20),
            ("f1", 0xffbe),
            ("F24", 0xffd5),
            ("num_plus", 0xffab),
            ("num7", 0xffb7),
            ("num_0", 0xffb0),
            ("é", 0xe9),
            ("漢", 0x0100_6f22),
            ("shift", 0xffe1),
        ] {
            assert_eq!(key(name).expect(name), keysym, "{name}");
        }
        for name in ["", "f0", "f25", "num10", "foo", "\u{7}", "ctrl+c"] {
            assert!(key(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn chords() {
        assert_eq!(chord("ctrl + C").expect("a chord"), [0xffe3, 0x63]);
        assert_eq!(chord("cmd+shift+t").expect("a chord"), [0xffeb, 0xffe1, 0x74]);
        assert_eq!(chord("Shift").expect("a chord"), [0xffe1]);
        assert_eq!(chord("ctrl+plus").expect("a chord"), [0xffe3, 0x2b]);
        for bad in ["", " ", "+", "ctrl+", "ctrl++", "a+b", "ctrl+foo"] {
            assert!(chord(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,12}") {
            _ = (chord(&text), key(&text), modifier(&text));
        }
    }
}
