//! Signatures as in Standard Webhooks, which are Svix's: HMAC-SHA256 over `id.timestamp.body`, base64, with a version.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The three facts under both of their names: receivers look for either.
pub fn headers(key: &[u8], id: &str, at: DateTime<Utc>, body: &str) -> [(&'static str, String); 6] {
    let at = at.timestamp().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    [
        ("svix-id", id.to_owned()),
        ("svix-timestamp", at.clone()),
        ("svix-signature", signature.clone()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at),
        ("webhook-signature", signature),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification and of Svix's documentation.
    #[test]
    fn the_documented_example() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let at = DateTime::from_timestamp(1_614_265_330, 0).expect("a time");
        let all = headers(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, "{\"test\": 2432232314}");
        assert_eq!(all[2], ("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()));
    }
}
