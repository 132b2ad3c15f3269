//! The little of DNS messages that a forwarder needs: the question, addresses in an answer, and short replies.
//!
//! By hand: hickory-proto would bring some twenty crates and decode every record of every message, where this reads
//! one name and steps over records by their lengths. Shapes are of RFC 1035, section 4.

use std::{net::Ipv4Addr, time::Duration};

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
/// Longest name on the wire.
const MAX_NAME: usize = 255;

/// The codes that this server answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    Malformed = 1,
    ServerFailure = 2,
    NoSuchName = 3,
}

/// The one question of a query.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// Lower-case, dotted, without a dot at the end.
    pub name: String,
    kind: u16,
    class: u16,
    /// Where the question ends in its message.
    end: usize,
}

impl Question {
    /// Whether IPv4 addresses answer it.
    pub fn wants_addresses(&self) -> bool {
        [TYPE_A, TYPE_ANY].contains(&self.kind) && self.class == CLASS_IN
    }
}

/// The question of a standard query; `None` if the message is something else.
pub fn question(query: &[u8]) -> Option<Question> {
    let flags = u16_at(query, 2)?;
    // A query (QR = 0) of the standard kind (opcode = 0) with the one question that everybody sends.
    if flags & 0xf800 != 0 || u16_at(query, 4)? != 1 {
        return None;
    }
    read_question(query)
}

/// Whether a message is an answer to this query: same number, same question.
pub fn answers(query: &[u8], answer: &[u8]) -> bool {
    let is_response = u16_at(answer, 2).is_some_and(|flags| flags & 0x8000 != 0);
    let same_number = u16_at(query, 0).is_some() && u16_at(query, 0) == u16_at(answer, 0);
    // Some servers leave the question out of an error.
    let same_question = u16_at(answer, 4) == Some(0) || read_question(query) == read_question(answer);
    is_response && same_number && same_question
}

/// The IPv4 addresses of an answer's answer section, with their lives. Stops at what doesn't make sense.
pub fn addresses(answer: &[u8]) -> Vec<(Ipv4Addr, Duration)> {
    let mut found = Vec::new();
    let count = u16_at(answer, 6).unwrap_or(0);
    let start = match u16_at(answer, 4) {
        Some(1) => read_question(answer).map(|question| question.end),
        Some(0) => Some(HEADER),
        _ => None,
    };
    let Some(mut at) = start else { return found };
    for _ in 0..count {
        let Some((address, next)) = record(answer, at) else { break };
        found.extend(address);
        at = next;
    }
    found
}

/// A reply of our own to a query, with these addresses.
pub fn reply(query: &[u8], question: &Question, code: Code, addresses: &[(Ipv4Addr, Duration)]) -> Vec<u8> {
    let mut message = header(query, code, 1, addresses.len() as u16);
    message.extend_from_slice(&query[HEADER..question.end]);
    for (address, ttl) in addresses {
        message.extend_from_slice(&[0xc0, HEADER as u8]); // the question's name
        message.extend_from_slice(&TYPE_A.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        message.extend_from_slice(&(ttl.as_secs() as u32).to_be_bytes());
        message.extend_from_slice(&4u16.to_be_bytes());
        message.extend_from_slice(&address.octets());
    }
    message
}

/// The reply to a query without a question that we understand; `None` if it isn't even a query.
pub fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let is_query = query.len() >= HEADER && query[2] & 0x80 == 0;
    is_query.then(|| header(query, Code::Malformed, 0, 0))
}

fn header(query: &[u8], code: Code, questions: u16, answers: u16) -> Vec<u8> {
    // Response, with the query's opcode and "recursion desired"; recursion is available.
    let flags = [0x80 | (query[2] & 0x79), 0x80 | code as u8];
    let counts = [questions, answers, 0, 0].map(u16::to_be_bytes).concat();
    [&query[..2], &flags, &counts].concat()
}

fn read_question(message: &[u8]) -> Option<Question> {
    let (name, at) = read_name(message)?;
    Some(Question { name, kind: u16_at(message, at)?, class: u16_at(message, at + 2)?, end: at + 4 })
}

/// The first name of a message, which nothing comes before that it could point to.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((name, at + 1));
        }
        if length > 63 || at + length - HEADER > MAX_NAME {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let label = message.get(at + 1..at + 1 + length)?;
        // A dot or a byte beyond ASCII inside a label must not make the name look like another one.
        name.extend(
            label.iter().map(|&b| if b.is_ascii_graphic() && b != b'.' { b.to_ascii_lowercase() as char } else { '?' }),
        );
        at += 1 + length;
    }
}

/// A record's address, if it is one, and where the next record begins.
fn record(message: &[u8], at: usize) -> Option<(Option<(Ipv4Addr, Duration)>, usize)> {
    let at = skip_name(message, at)?;
    let (kind, class) = (u16_at(message, at)?, u16_at(message, at + 2)?);
    let ttl = u32::from_be_bytes(message.get(at + 4..at + 8)?.try_into().ok()?);
    let length = usize::from(u16_at(message, at + 8)?);
    let data = message.get(at + 10..at + 10 + length)?;
    let octets = <[u8; 4]>::try_from(data).ok().filter(|_| kind == TYPE_A && class == CLASS_IN);
    Some((octets.map(|octets| (octets.into(), Duration::from_secs(ttl.into()))), at + 10 + length))
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends a name.
            0xc0.. => return Some(at + 2),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(label.len() as u8);
            message.extend_from_slice(label);
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        message
    }

    #[test]
    fn a_question_is_read() {
        let asked = query(&[b"API", b"Example"], TYPE_A);
        let read = question(&asked).expect("a question");
        assert_eq!(read.name, "api.example");
        assert!(read.wants_addresses());
        assert!(!question(&query(&[b"a"], 28)).expect("a question").wants_addresses());
        assert_eq!(question(&query(&[b"a.b", b"\xff"], TYPE_A)).expect("a question").name, "a?b.?");
        let mut response = asked.clone();
        response[2] |= 0x80;
        assert_eq!(question(&response), None);
    }

    #[test]
    fn a_reply_answers_its_query_and_carries_addresses() {
        let asked = query(&[b"api", b"example"], TYPE_A);
        let read = question(&asked).expect("a question");
        let records = [(Ipv4Addr::new(203, 0, 113, 9), Duration::from_secs(60)), (Ipv4Addr::LOCALHOST, Duration::ZERO)];
        let answer = reply(&asked, &read, Code::NoError, &records);
        assert!(answers(&asked, &answer));
        assert!(!answers(&query(&[b"other"], TYPE_A), &answer));
        assert_eq!(addresses(&answer), records);
        let none = reply(&asked, &read, Code::NoSuchName, &[]);
        assert_eq!((none[3] & 15, addresses(&none)), (3, vec![]));
    }

    #[test]
    fn garbage_gets_the_format_error_or_nothing() {
        assert_eq!(malformed(b"short"), None);
        let mut no_question = query(&[b"a"], TYPE_A);
        no_question[5] = 0;
        assert_eq!(question(&no_question), None);
        assert_eq!(malformed(&no_question).expect("a reply")[3] & 15, 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), other in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (addresses(&bytes), malformed(&bytes), answers(&bytes, &other), answers(&other, &bytes));
            if let Some(read) = question(&bytes) {
                prop_assert!(answers(&bytes, &reply(&bytes, &read, Code::NoError, &[])));
            }
        }

        #[test]
        fn damaged_answers_never_panic(at in 0usize..60, byte: u8, cut in 0usize..60) {
            let asked = query(&[b"api", b"example"], TYPE_A);
            let read = question(&asked).expect("a question");
            let mut answer = reply(&asked, &read, Code::NoError, &[(Ipv4Addr::LOCALHOST, Duration::ZERO); 2]);
            if let Some(place) = answer.get_mut(at) { *place = byte; }
            answer.truncate(cut);
            let _ = (addresses(&answer), answers(&asked, &answer));
        }
    }
}
