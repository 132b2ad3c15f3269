//! Small facts that travel through a client's hands and must come back unchanged: JSON and a MAC over it. So the
//! server remembers nothing of people who never sign in.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;

/// A key that lives as long as the server.
pub struct Seal([u8; 32]);

impl Seal {
    pub fn new() -> Seal {
        Seal(rand::random())
    }

    /// `value` as text that is safe in URLs. A `purpose` keeps one kind from being taken for another.
    pub fn close(&self, purpose: &str, value: &impl Serialize) -> String {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("plain data is JSON"));
        let mac = URL_SAFE_NO_PAD.encode(self.mac(purpose, &body).finalize().into_bytes());
        format!("{body}.{mac}")
    }

    /// What [`Seal::close`] was given, if `text` comes from there.
    pub fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Option<T> {
        let (body, mac) = text.split_once('.')?;
        self.mac(purpose, body).verify_slice(&URL_SAFE_NO_PAD.decode(mac).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    fn mac(&self, purpose: &str, body: &str) -> Hmac<Sha256> {
        mac(&self.0, &[purpose, body])
    }
}

/// A MAC over `words`.
pub fn mac(key: &[u8], words: &[&str]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    for word in words {
        mac.update(&(word.len() as u64).to_be_bytes());
        mac.update(word.as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_sealed_comes_back() {
        let seal = Seal::new();
        let text = seal.close("a", &("x", 1));
        assert_eq!(seal.open::<(String, u32)>("a", &text), Some(("x".into(), 1)));
        assert_eq!(seal.open::<(String, u32)>("b", &text), None, "another purpose");
        assert_eq!(Seal::new().open::<(String, u32)>("a", &text), None, "another server");
    }

    proptest! {
        #[test]
        fn nothing_else_opens(text in "[A-Za-z0-9_.-]{0,80}") {
            prop_assert_eq!(Seal([7; 32]).open::<serde_json::Value>("a", &text), None);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..40, to in "[A-Za-z0-9_-]") {
            let seal = Seal([7; 32]);
            let mut text = seal.close("a", &"some text that is long enough");
            if text[at..=at] != to {
                text.replace_range(at..=at, &to);
                prop_assert_eq!(seal.open::<String>("a", &text), None);
            }
        }
    }
}
