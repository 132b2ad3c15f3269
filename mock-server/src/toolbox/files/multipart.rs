//! Reading `multipart/form-data` of any size: contents pass through as slices of what arrived, searched with SIMD.
//!
//! [`Parser`] is fed bytes and knows no I/O; [`Multipart`] feeds it a request's body.

use axum::{
    body::BodyDataStream,
    extract::Request,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use memchr::memmem::{self, Finder};

/// Longest headers of one part.
const MAX_HEADERS: usize = 16 << 10;
/// Longest white space after a boundary.
const MAX_PADDING: usize = 64;
/// RFC 2046.
const MAX_BOUNDARY: usize = 70;

/// Why a body isn't the multipart that it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("malformed MIME header")]
    Header,
    #[error("message too large")]
    TooLarge,
}

/// The name of a part's form field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
}

/// What [`Parser::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Part(Part),
    /// Never empty.
    Data(Bytes),
    PartEnd,
    /// The closing boundary; what follows it is ignored.
    End,
    /// Nothing without more input.
    NeedMore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary; what is there is ignored.
    Preamble,
    Headers,
    Data,
    /// A part ended at the closing boundary.
    Closing,
    End,
}

pub struct Parser {
    /// `\r\n--boundary`
    delimiter: Finder<'static>,
    buffer: Bytes,
    state: State,
    parts: usize,
    ended: bool,
}

/// What a delimiter turns out to be, by what follows it.
enum Boundary {
    /// Another part begins after so many bytes.
    Next(usize),
    Closing,
    /// Only looks like one.
    Data,
    Unknown,
}

impl Parser {
    pub fn new(boundary: &str) -> Parser {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        // The first boundary needs no line break before it.
        Parser { delimiter, buffer: Bytes::from_static(b"\r\n"), state: State::Preamble, parts: 0, ended: false }
    }

    pub fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
        } else if !bytes.is_empty() {
            // Rare: something at the end of the last chunk may have been the start of a boundary.
            let mut joined = BytesMut::with_capacity(self.buffer.len() + bytes.len());
            joined.extend_from_slice(&self.buffer);
            joined.extend_from_slice(&bytes);
            self.buffer = joined.freeze();
        }
    }

    /// No more input will come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn next(&mut self) -> Result<Event, MultipartError> {
        let event = match self.state {
            State::Preamble => self.preamble()?,
            State::Headers => self.headers()?,
            State::Data => self.data(),
            State::Closing => {
                self.state = State::End;
                Event::End
            }
            State::End => Event::End,
        };
        match event {
            Event::NeedMore if self.ended => Err(MultipartError::Truncated),
            event => Ok(event),
        }
    }

    fn preamble(&mut self) -> Result<Event, MultipartError> {
        loop {
            match self.delimiter.find(&self.buffer) {
                None => {
                    self.buffer = self.buffer.split_off(self.safe());
                    return Ok(Event::NeedMore);
                }
                Some(at) => _ = self.buffer.split_to(at),
            }
            match self.boundary() {
                Boundary::Next(length) => {
                    _ = self.buffer.split_to(length);
                    self.state = State::Headers;
                    return self.headers();
                }
                Boundary::Closing => {
                    self.state = State::End;
                    return Ok(Event::End);
                }
                Boundary::Data => _ = self.buffer.split_to(self.delimiter.needle().len()),
                Boundary::Unknown => return Ok(Event::NeedMore),
            }
        }
    }

    fn headers(&mut self) -> Result<Event, MultipartError> {
        let block = match self.buffer.starts_with(b"\r\n") {
            true => self.buffer.split_to(2),
            false => match memmem::find(&self.buffer[..self.buffer.len().min(MAX_HEADERS)], b"\r\n\r\n") {
                Some(at) => self.buffer.split_to(at + 4),
                None if self.buffer.len() >= MAX_HEADERS => return Err(MultipartError::TooLarge),
                None => return Ok(Event::NeedMore),
            },
        };
        self.parts += 1;
        if self.parts > crate::limits::inside().parts {
            return Err(MultipartError::TooLarge);
        }
        // The line break before the next boundary belongs to it, also after empty contents.
        self.state = State::Data;
        part_of(&block).map(Event::Part)
    }

    fn data(&mut self) -> Event {
        let found = self.delimiter.find(&self.buffer);
        let plain = match found {
            Some(0) => match self.boundary() {
                Boundary::Next(length) => {
                    _ = self.buffer.split_to(length);
                    self.state = State::Headers;
                    return Event::PartEnd;
                }
                Boundary::Closing => {
                    self.state = State::Closing;
                    return Event::PartEnd;
                }
                Boundary::Unknown => 0,
                Boundary::Data => self.delimiter.needle().len(),
            },
            Some(at) => at,
            None => self.safe(),
        };
        if plain == 0 { Event::NeedMore } else { Event::Data(self.buffer.split_to(plain)) }
    }

    /// The buffer starts with a delimiter: is it one?
    fn boundary(&self) -> Boundary {
        let length = self.delimiter.needle().len();
        let after = &self.buffer[length..];
        if after.starts_with(b"--") {
            return Boundary::Closing;
        }
        let padding = after.iter().take(MAX_PADDING).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match &after[padding..] {
            [b'\r', b'\n', ..] => Boundary::Next(length + padding + 2),
            [] | [b'\r'] if padding < MAX_PADDING => Boundary::Unknown,
            [b'-'] if padding == 0 => Boundary::Unknown,
            _ => Boundary::Data,
        }
    }

    /// How much of a buffer without a delimiter can't be the start of one.
    fn safe(&self) -> usize {
        let (buffer, needle) = (&self.buffer[..], self.delimiter.needle());
        let tail = buffer.len().saturating_sub(needle.len() - 1);
        // Of several line breaks the first counts that fits up to the end.
        let mut starts = memchr::memchr_iter(b'\r', &buffer[tail..]).map(|at| tail + at);
        starts.find(|start| needle.starts_with(&buffer[*start..])).unwrap_or(buffer.len())
    }
}

fn part_of(headers: &[u8]) -> Result<Part, MultipartError> {
    let text = String::from_utf8_lossy(headers);
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        // A folded line goes on with the one before; names are never there.
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            return Ok(Part { name: parameter(value, "name").unwrap_or_default() });
        }
    }
    Ok(Part { name: String::new() })
}

/// A parameter of a header such as `form-data; name="a"; filename="b"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = &header[header.find(';')? + 1..];
    loop {
        let (name, after) = rest.split_once('=')?;
        // A flag without a value before it doesn't matter.
        let name = name.rsplit(';').next().unwrap_or(name).trim();
        let (value, after) = value_of(after.trim_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = &after[after.find(';')? + 1..];
    }
}

/// A token or quoted string, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            // Only quotes and backslashes are escaped: some clients send Windows paths as they are.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// The boundary of a `multipart/form-data` request; `None` when it isn't one.
pub fn boundary(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = header.split(';').next().unwrap_or_default().trim();
    let boundary = parameter(header, "boundary").filter(|_| kind.eq_ignore_ascii_case("multipart/form-data"))?;
    (1..=MAX_BOUNDARY).contains(&boundary.len()).then_some(boundary)
}

/// Whether a request says that it is a form, even a broken one.
pub fn is_multipart(headers: &HeaderMap) -> bool {
    let header = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let kind = header.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data")
}

/// The names of the parts of a form, as far as its first bytes tell.
pub fn names(headers: &HeaderMap, first: Bytes) -> Vec<String> {
    let Some(boundary) = boundary(headers) else { return Vec::new() };
    let mut parser = Parser::new(&boundary);
    parser.push(first);
    let mut names = Vec::new();
    loop {
        match parser.next() {
            Ok(Event::Part(part)) => names.push(part.name),
            Ok(Event::Data(_) | Event::PartEnd) => {}
            Ok(Event::End | Event::NeedMore) | Err(_) => return names,
        }
    }
}

/// A request's body, part by part.
pub struct Multipart {
    body: BodyDataStream,
    parser: Parser,
}

impl Multipart {
    /// `None` when the request is no form.
    pub fn new(request: Request) -> Option<Multipart> {
        let parser = Parser::new(&boundary(request.headers())?);
        Some(Multipart { body: request.into_body().into_data_stream(), parser })
    }

    async fn event(&mut self) -> Result<Event, MultipartError> {
        loop {
            match self.parser.next()? {
                Event::NeedMore => match self.body.next().await {
                    Some(Ok(bytes)) => self.parser.push(bytes),
                    Some(Err(_)) => return Err(MultipartError::Truncated),
                    None => self.parser.end(),
                },
                event => return Ok(event),
            }
        }
    }

    /// The next part; what is left of the current one is skipped.
    pub async fn part(&mut self) -> Result<Option<Part>, MultipartError> {
        loop {
            match self.event().await? {
                Event::Part(part) => return Ok(Some(part)),
                Event::End => return Ok(None),
                _ => {}
            }
        }
    }

    /// More of the current part; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        match self.event().await? {
            Event::Data(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The current part as text of at most `limit` bytes.
    pub async fn text(&mut self, limit: usize) -> Result<String, MultipartError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                return Err(MultipartError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads and forgets what is still to come, so that the client sees the answer and the connection can go on.
    pub async fn drain(&mut self) {
        while let Some(Ok(_)) = self.body.next().await {}
    }
}

#[cfg(test)]
mod tests;
