//! Reads the contract's text form, which is described at the top of [`super`].

use std::{collections::HashMap, iter::Peekable, str::CharIndices};

use super::{Contract, Field, Kind, Operation, Plane, Shape};

/// # Panics
/// Where the text is not of that form. The texts are part of the program, and a test reads them.
pub(super) fn parse(plane: Plane, text: &'static str) -> Contract {
    let mut parser = Parser { text, rest: text.char_indices().peekable() };
    let (mut operations, mut types) = (Vec::new(), HashMap::new());
    while let Some(word) = parser.try_word() {
        match word {
            "op" => operations.push(parser.operation(plane)),
            "type" => {
                let name = parser.word();
                parser.expect('=');
                types.insert(name, parser.shape());
            }
            other => parser.fail(&format!("`op` or `type`, not `{other}`")),
        }
    }
    Contract { operations, types }
}

struct Parser {
    text: &'static str,
    rest: Peekable<CharIndices<'static>>,
}

impl Parser {
    fn operation(&mut self, plane: Plane) -> Operation {
        let (id, method, path) = (self.word(), self.word(), self.path());
        let answer = self.take('→').then(|| self.shape());
        Operation { plane, id, method, path, answer }
    }

    fn shape(&mut self) -> Shape {
        let kind = match self.peek() {
            Some('{') => self.object(),
            Some('[') => Kind::Array(Box::new(self.between('[', ']', Self::shape))),
            Some('<') => Kind::Map(Box::new(self.between('<', '>', Self::shape))),
            Some('(') => self.members(),
            _ => match self.word() {
                "any" => Kind::Any,
                "bool" => Kind::Bool,
                "bytes" => Kind::Bytes,
                "date" => Kind::Date,
                "integer" => Kind::Integer,
                "number" => Kind::Number,
                "string" => Kind::String,
                "url" => Kind::Url,
                "uuid" => Kind::Uuid,
                name => Kind::Named(name),
            },
        };
        Shape { kind, nullable: self.take('?') }
    }

    fn object(&mut self) -> Kind {
        self.between('{', '}', |this| {
            let mut fields = Vec::new();
            while this.peek() != Some('}') {
                let name = this.word();
                let required = !this.take('?');
                this.expect(':');
                fields.push(Field { name, required, shape: this.shape() });
                this.take(',');
            }
            Kind::Object(fields)
        })
    }

    fn members(&mut self) -> Kind {
        self.between('(', ')', |this| {
            let mut members = Vec::new();
            while this.peek() != Some(')') {
                // Those of several words stand in quotes.
                members.push(if this.take('"') {
                    let member = this.until(|c| c == '"');
                    this.expect('"');
                    member
                } else {
                    this.until(|c| c.is_whitespace() || c == ')')
                });
            }
            Kind::Enum(members)
        })
    }

    fn between<T>(&mut self, open: char, close: char, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.expect(open);
        let value = inner(self);
        self.expect(close);
        value
    }

    /// Skips spaces and comments.
    fn peek(&mut self) -> Option<char> {
        while let Some(&(_, next)) = self.rest.peek() {
            if next == '#' {
                while self.rest.next_if(|&(_, c)| c != '\n').is_some() {}
            } else if next.is_whitespace() {
                self.rest.next();
            } else {
                return Some(next);
            }
        }
        None
    }

    fn take(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.rest.next().is_some()
    }

    fn expect(&mut self, wanted: char) {
        if !self.take(wanted) {
            self.fail(&format!("`{wanted}`"));
        }
    }

    fn try_word(&mut self) -> Option<&'static str> {
        self.peek().map(|_| self.word())
    }

    fn word(&mut self) -> &'static str {
        self.until(|c| !(c.is_alphanumeric() || "_-$".contains(c)))
    }

    fn path(&mut self) -> &'static str {
        self.until(char::is_whitespace)
    }

    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'static str {
        self.peek();
        let start = self.offset();
        while self.rest.next_if(|&(_, c)| !ends(c)).is_some() {}
        let found = &self.text[start..self.offset()];
        if found.is_empty() {
            self.fail("a word");
        }
        found
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |&(at, _)| at)
    }

    fn fail(&mut self, wanted: &str) -> ! {
        let at = self.offset();
        let line = self.text[..at].lines().count();
        panic!("the contract's line {line}: expected {wanted}")
    }
}
