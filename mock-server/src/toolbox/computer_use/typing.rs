//! Typing: which key makes a character, and keys for characters that the layout doesn't have.
//!
//! A character without a key gets one that the layout leaves unused. Programs learn of that before they learn that the
//! key was pressed, and ask then what it means; so a key gets another meaning only after they have seen it
//! (`Desktop::settle`). With some hundred unused keys that happens only in texts with as many characters that no key has.

use std::collections::BTreeMap;

use x11rb::{
    connection::Connection,
    protocol::{
        xproto::{BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ConnectionExt as _, KEY_PRESS_EVENT, KEY_RELEASE_EVENT},
        xtest::ConnectionExt as _,
    },
};

use super::{
    display::{Display, Trouble},
    keys::Keysym,
};

const SHIFT: Keysym = 0xffe1;

/// How to press a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    code: u8,
    shift: bool,
}

/// The layout in force.
pub struct Keymap {
    strokes: BTreeMap<Keysym, Stroke>,
    /// Keys without a meaning.
    unused: Vec<u8>,
    /// Keys that were given one, which may be given another.
    given: Vec<(Keysym, u8)>,
    shift: u8,
}

impl Keymap {
    /// From the answer of the server.
    fn new(first: u8, per_key: usize, symbols: &[Keysym]) -> Keymap {
        let mut map = Keymap { strokes: BTreeMap::new(), unused: Vec::new(), given: Vec::new(), shift: 50 };
        for (code, symbols) in (first..=u8::MAX).zip(symbols.chunks_exact(per_key.max(1))) {
            // Only what the key makes by itself and with Shift: other levels need keys that may not be there.
            let (plain, shifted) = (symbols[0], symbols.get(1).copied().unwrap_or_default());
            if symbols.iter().all(|&symbol| symbol == 0) {
                map.unused.push(code);
                continue;
            }
            for (symbol, shift) in [(plain, false), (shifted, true)] {
                map.strokes.entry(symbol).or_insert(Stroke { code, shift });
            }
            // No layout has a Unicode symbol twice on a key; we do.
            if plain == shifted && (plain >> 24 == 1 || (0xa0..=0xff).contains(&plain)) {
                map.given.push((plain, code));
            }
        }
        map.strokes.remove(&0);
        map.shift = map.strokes.get(&SHIFT).map_or(50, |stroke| stroke.code);
        map
    }

    /// How many more characters can get a key, when all that were given are taken back.
    fn room(&self) -> usize {
        self.unused.len() + self.given.len()
    }

    fn knows(&self, symbol: Keysym) -> bool {
        self.strokes.contains_key(&symbol)
    }
}

/// The length of the longest beginning of `text` that can be typed with `unused` keys, and what needs one.
fn fitting(text: &[Keysym], map: &Keymap, unused: usize) -> (usize, Vec<Keysym>) {
    let mut foreign = Vec::new();
    for (at, &symbol) in text.iter().enumerate() {
        if map.knows(symbol) || foreign.contains(&symbol) {
            continue;
        }
        if foreign.len() == unused {
            return (at, foreign);
        }
        foreign.push(symbol);
    }
    (text.len(), foreign)
}

/// The beginning of a text, ready to be typed.
pub struct Prepared {
    pub strokes: Vec<Stroke>,
    shift: u8,
}

impl Display {
    fn keymap(&self) -> Result<Keymap, Trouble> {
        let setup = self.conn.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let mapping = self.conn.get_keyboard_mapping(first, last - first + 1)?.reply()?;
        Ok(Keymap::new(first, mapping.keysyms_per_keycode.into(), &mapping.keysyms))
    }

    /// Gets keys for as much of a text as there are keys for. `paused` says that nobody looks at old ones any more.
    /// `None` means: pause, and ask again.
    pub fn prepare(&self, text: &[Keysym], paused: bool) -> Result<Option<Prepared>, Trouble> {
        let mut map = self.keymap()?;
        let (mut length, mut foreign) = fitting(text, &map, map.unused.len());
        if length == 0 && !text.is_empty() {
            if map.room() == 0 {
                return Err(Trouble::Refused("the keyboard has no key left for that character".into()));
            }
            if !paused {
                return Ok(None);
            }
            for (symbol, code) in std::mem::take(&mut map.given) {
                map.strokes.remove(&symbol);
                map.unused.push(code);
            }
            (length, foreign) = fitting(text, &map, map.unused.len());
        }
        for symbol in foreign {
            let code = map.unused.pop().expect("as many as fit");
            self.conn.change_keyboard_mapping(1, code, 2, &[symbol, symbol])?.check()?;
            map.strokes.insert(symbol, Stroke { code, shift: false });
        }
        self.drain()?;
        let strokes = text[..length].iter().filter_map(|symbol| map.strokes.get(symbol)).copied().collect();
        Ok(Some(Prepared { strokes, shift: map.shift }))
    }

    /// Presses and releases keys, one after the other.
    pub fn strike(&self, keys: &Prepared, strokes: &[Stroke]) -> Result<(), Trouble> {
        for &Stroke { code, shift } in strokes {
            let with = if shift { vec![keys.shift, code] } else { vec![code] };
            self.press(&with, true)?;
            self.press(&with, false)?;
        }
        self.settled()
    }

    /// Keys down in order, or up in the opposite one.
    pub fn press(&self, codes: &[u8], down: bool) -> Result<(), Trouble> {
        let key = |event, code: u8| self.conn.xtest_fake_input(event, code, 0, self.root, 0, 0, 0).map(drop);
        match down {
            true => codes.iter().try_for_each(|&code| key(KEY_PRESS_EVENT, code))?,
            false => codes.iter().rev().try_for_each(|&code| key(KEY_RELEASE_EVENT, code))?,
        }
        Ok(())
    }

    /// The keys to hold down for a chord; those of a character that needs Shift have it before them.
    pub fn codes(&self, chord: &[Keysym]) -> Result<Vec<u8>, Trouble> {
        let mut codes = Vec::with_capacity(chord.len() + 1);
        for symbol in chord {
            let keys = match self.prepare(&[*symbol], false)? {
                Some(keys) => keys,
                None => self.prepare(&[*symbol], true)?.ok_or_else(|| Trouble::Refused("no key is free".into()))?,
            };
            for stroke in &keys.strokes {
                codes.extend(stroke.shift.then_some(keys.shift).filter(|shift| !codes.contains(shift)));
                codes.push(stroke.code);
            }
        }
        Ok(codes)
    }

    pub fn button(&self, button: u8, down: bool) -> Result<(), Trouble> {
        let event = if down { BUTTON_PRESS_EVENT } else { BUTTON_RELEASE_EVENT };
        self.conn.xtest_fake_input(event, button, 0, self.root, 0, 0, 0)?;
        Ok(())
    }

    /// Waits until the server has done all that it was told.
    pub fn settled(&self) -> Result<(), Trouble> {
        self.conn.get_input_focus()?.reply()?;
        self.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys 8 to 12: a/A, Shift, two unused, and é as we give it.
    fn map() -> Keymap {
        Keymap::new(8, 2, &[0x61, 0x41, SHIFT, 0, 0, 0, 0, 0, 0xe9, 0xe9])
    }

    #[test]
    fn keys_have_meanings() {
        let map = map();
        assert_eq!(map.strokes[&0x61], Stroke { code: 8, shift: false });
        assert_eq!(map.strokes[&0x41], Stroke { code: 8, shift: true });
        assert_eq!((map.shift, &map.unused[..], &map.given[..]), (9, &[10, 11][..], &[(0xe9, 12)][..]));
    }

    #[test]
    fn a_text_is_cut_where_keys_run_out() {
        let (map, three) = (map(), [0x0100_6f22, 0x61, 0x0100_6f22, 0x0101_f600, 0xe9, 0x0100_3042, 0x61]);
        assert_eq!(fitting(&three, &map, 2), (5, vec![0x0100_6f22, 0x0101_f600]));
        assert_eq!(fitting(&three, &map, 3).0, 7);
        assert_eq!(fitting(&three, &map, 0), (0, vec![]));
        assert_eq!(fitting(&[], &map, 0), (0, vec![]));
    }
}
