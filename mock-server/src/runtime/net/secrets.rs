//! A sandbox's secrets on their way out: programs inside know placeholders, and only servers that a secret may go to get
//! its value instead. That is in values of request headers; placeholders in URLs, bodies, WebSocket frames and encoded
//! credentials (`Basic`) stay as they are.
//!
//! A server is what it says it is if its certificate proves the name (HTTPS), or if the name resolved to its address by
//! the gateway's own DNS (plain HTTP): a program that dials some other address and sends a `Host` of the list gets nothing.

use std::{fmt, io, sync::Arc};

use http::{HeaderMap, HeaderValue, header};
use parking_lot::RwLock;

use super::{
    certificates::{Certificates, Trust},
    policy::matches,
};

/// A secret as the gateway knows it. Its value is in no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboundSecret {
    pub placeholder: String,
    pub value: String,
    /// Names in lower case, possibly with `*.` in front; empty: any server.
    pub hosts: Vec<String>,
}

impl fmt::Debug for OutboundSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSecret").field("placeholder", &self.placeholder).finish_non_exhaustive()
    }
}

impl OutboundSecret {
    /// Whether a server of this name may have the value.
    pub fn may_go_to(&self, name: &str) -> bool {
        self.is_for_all() || self.hosts.iter().any(|pattern| matches(pattern, name))
    }

    pub fn is_for_all(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// One sandbox's secrets, which may change at any time, and what HTTPS is intercepted with.
pub struct Secrets {
    all: RwLock<Arc<[OutboundSecret]>>,
    pub certificates: Certificates,
    pub trust: Arc<Trust>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// With an authority of its own, which the sandbox has to trust: the second is its certificate, as PEM.
    pub fn new(all: Vec<OutboundSecret>, trust: Arc<Trust>) -> io::Result<(Secrets, String)> {
        let (certificates, authority) = Certificates::new()?;
        Ok((Secrets { all: RwLock::new(all.into()), certificates, trust }, authority))
    }

    pub fn set(&self, all: Vec<OutboundSecret>) {
        *self.all.write() = all.into();
    }

    pub fn now(&self) -> Arc<[OutboundSecret]> {
        self.all.read().clone()
    }

    /// Whether any may go to a server of this name, once it has proved that this is its name.
    pub fn concern(&self, name: &str) -> bool {
        self.now().iter().any(|secret| secret.may_go_to(name))
    }
}

/// Puts values in the place of placeholders, of those secrets that `may` go.
pub fn swap(headers: &mut HeaderMap, secrets: &[OutboundSecret], may: impl Fn(&OutboundSecret) -> bool) {
    for (name, text) in headers.iter_mut().filter(|(name, _)| *name != header::HOST) {
        for secret in secrets.iter().filter(|secret| may(secret)) {
            let Some(swapped) = replace(text.as_bytes(), secret) else { continue };
            match HeaderValue::from_bytes(&swapped) {
                Ok(mut swapped) => {
                    swapped.set_sensitive(true);
                    *text = swapped;
                }
                // New ones are refused when they are made; this one is older.
                Err(_) => tracing::warn!(%name, "a secret's value can't be in a header: the placeholder stays"),
            }
        }
    }
}

/// `None` without the placeholder.
fn replace(text: &[u8], secret: &OutboundSecret) -> Option<Vec<u8>> {
    let finder = memchr::memmem::Finder::new(&secret.placeholder);
    let (mut swapped, mut at) = (Vec::new(), 0);
    for start in finder.find_iter(text) {
        swapped.extend_from_slice(&text[at..start]);
        swapped.extend_from_slice(secret.value.as_bytes());
        at = start + secret.placeholder.len();
    }
    (at > 0).then(|| [&swapped, &text[at..]].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(number: u8, value: &str, hosts: &[&str]) -> OutboundSecret {
        let hosts = hosts.iter().map(|&host| host.into()).collect();
        OutboundSecret { placeholder: format!("dtn_secret_{number:032}"), value: value.into(), hosts }
    }

    fn swapped(text: &str, secrets: &[OutboundSecret], name: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(text).expect("a value"));
        headers.insert("host", HeaderValue::from_str(text).expect("a value"));
        swap(&mut headers, secrets, |secret| secret.may_go_to(name));
        assert_eq!(headers["host"].as_bytes(), text.as_bytes());
        String::from_utf8(headers["authorization"].as_bytes().to_vec()).expect("text")
    }

    #[test]
    fn values_take_the_place_of_placeholders_for_their_servers_only() {
        let secrets = [secret(1, "one", &["a.example"]), secret(2, "two", &["*.example"]), secret(3, "three", &[])];
        let text = format!("x {} {}{} y", secrets[0].placeholder, secrets[1].placeholder, secrets[2].placeholder);
        assert_eq!(swapped(&text, &secrets, "a.example"), "x one twothree y");
        assert_eq!(swapped(&text, &secrets, "b.example"), format!("x {} twothree y", secrets[0].placeholder));
        assert_eq!(swapped("nothing", &secrets, "a.example"), "nothing");
    }

    #[test]
    fn values_that_no_header_can_have_stay_away() {
        for value in ["a\r\nX: y", "a\nb", "a\0b"] {
            let secrets = [secret(1, value, &[])];
            assert_eq!(swapped(&secrets[0].placeholder, &secrets, "a.example"), secrets[0].placeholder);
        }
    }

    #[test]
    fn values_are_in_no_debug_output() {
        let secrets = vec![secret(1, "the-value", &["a.example"])];
        assert!(!format!("{secrets:?}").contains("the-value"));
        let (all, authority) = Secrets::new(secrets, Arc::default()).expect("an authority");
        assert!(!format!("{all:?}").contains("the-value"));
        assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"), "{authority}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: Vec<u8>, value: String) {
            let secret = OutboundSecret { placeholder: "dtn_secret_1".into(), value, hosts: vec![] };
            let whole = [&text[..], b"dtn_secret_1", &text[..]].concat();
            let swapped = replace(&whole, &secret).expect("it is in there");
            prop_assert!(memchr::memmem::find(&swapped, secret.value.as_bytes()).is_some());
        }
    }
}
