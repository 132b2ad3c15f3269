//! Reads the texts that [`super::contract`] describes. They are part of the program: what is wrong with one is a panic, and
//! a test reads them.

use super::contract::{Contract, Field, Fields, Operation, Route, Shape};

/// Adds what is said of a plane; what comes before the first `plane` is said of the plane without a name.
pub fn parse(text: &'static str, wanted: &str, contract: &mut Contract) {
    let mut parser = Parser { rest: text };
    let (mut nowhere, mut plane) = (Contract::default(), "");
    while let Some(word) = parser.try_word() {
        match word {
            "#" => parser.skip_line(),
            "plane" => plane = parser.word(),
            // Not ours: read, so that the parser knows where it ends, and changing nothing.
            _ if plane != wanted => parser.declaration(word, &mut nowhere, false),
            _ => parser.declaration(word, contract, true),
        }
    }
}

struct Parser {
    rest: &'static str,
}

impl Parser {
    fn declaration(&mut self, word: &str, contract: &mut Contract, ours: bool) {
        let name = self.word();
        match word {
            "op" => {
                let operation = self.operation();
                contract.operations.insert(name, operation);
            }
            "type" => {
                self.expect("=");
                let shape = self.shape();
                contract.types.insert(name, shape);
            }
            "route" => {
                let path: Vec<String> = self.word().split('/').map(braced).collect();
                let id = self.word();
                let route = Route { id, method: name, path: path.join("/"), operation: self.operation() };
                contract.routes.push(route);
            }
            "query" => {
                let more = self.fields();
                if let Some(operation) = contract.operations.get_mut(name) {
                    operation.query.extend(more);
                } else {
                    assert!(!ours, "{name} is no operation");
                }
            }
            "fields" => {
                let more = self.fields();
                if ours {
                    contract.more_fields(name, more);
                }
            }
            "words" => {
                let (field, more) = (self.word(), self.shape());
                if ours {
                    contract.more_words(name, field, more);
                }
            }
            "untyped" => match contract.operations.get_mut(name) {
                Some(operation) => operation.untyped = true,
                None => assert!(!ours, "{name} is no operation"),
            },
            other => panic!("a declaration, not {other}"),
        }
    }

    fn operation(&mut self) -> Operation {
        let mut operation = Operation { deprecated: self.take("deprecated"), ..Operation::default() };
        if self.take("path") {
            operation.path = self.fields();
        }
        if self.take("query") {
            operation.query = self.fields();
        }
        if self.take("body") {
            operation.body = Some(self.shape());
        }
        operation
    }

    fn shape(&mut self) -> Shape {
        let shape = if self.peek("{") {
            Shape::Object(self.fields())
        } else if self.take("[") {
            let of = self.shape();
            self.expect("]");
            Shape::List(Box::new(of))
        } else if self.take("<") {
            let of = self.shape();
            self.expect(">");
            Shape::Map(Box::new(of))
        } else if self.take("(") {
            let mut words = Vec::new();
            while !self.take(")") {
                words.push(self.word());
            }
            Shape::Words(words)
        } else {
            match self.word() {
                "any" => Shape::Any,
                "bool" => Shape::Bool,
                "integer" => Shape::Integer,
                "number" => Shape::Number,
                "string" => Shape::Text,
                name => Shape::Named(name),
            }
        };
        if self.take("?") { Shape::Nullable(Box::new(shape)) } else { shape }
    }

    fn fields(&mut self) -> Fields {
        self.expect("{");
        let mut fields = Vec::new();
        while !self.take("}") {
            let name = self.word();
            let optional = self.take("?");
            // A word takes its colon along where members have one.
            if !name.ends_with(':') {
                self.expect(":");
            }
            fields.push(Field { name: name.trim_end_matches(':'), optional, shape: self.shape() });
            self.take(",");
        }
        fields
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&mut self, token: &str) -> bool {
        self.space();
        self.rest.starts_with(token)
    }

    /// A token of letters must end there.
    fn take(&mut self, token: &str) -> bool {
        if !self.peek(token) {
            return false;
        }
        let after = &self.rest[token.len()..];
        let is_word = token.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_word && !after.starts_with(char::is_whitespace) {
            return false;
        }
        self.rest = after;
        true
    }

    fn expect(&mut self, token: &str) {
        assert!(self.take(token), "{token} before {:?}", &self.rest[..self.rest.len().min(40)]);
    }

    fn try_word(&mut self) -> Option<&'static str> {
        self.space();
        let end = self.rest.find(|c: char| c.is_whitespace() || "?,{}[]<>()=".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn word(&mut self) -> &'static str {
        self.try_word().unwrap_or_else(|| panic!("a word before {:?}", &self.rest[..self.rest.len().min(40)]))
    }

    fn skip_line(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }
}

/// A part of a path, whose parameters begin with a colon, as elsewhere.
fn braced(part: &str) -> String {
    part.strip_prefix(':').map_or_else(|| part.to_owned(), |name| format!("{{{name}}}"))
}
