//! The contract's side of requests as data: `api.contract` and `toolbox.contract` beside this file. A line declares an
//! operation (`op createSandbox deprecated query { limit?: number } body CreateSandbox`) or a type (`type Name = shape`).
//! Shapes: `any`, `bool`, `integer`, `number`, `string`, `[shape]` a list, `<shape>` a map, `(a b)` one of these words,
//! `{ name?: shape }` an object (`?`: may be left out), a type's name. `?` after a shape: null is fine. Indented lines go on.

use std::{collections::HashMap, sync::LazyLock};

use crate::journal::Plane;

pub type Fields = Vec<Field>;

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub optional: bool,
    pub shape: Shape,
}

#[derive(Debug)]
pub enum Shape {
    Any,
    Bool,
    Integer,
    Number,
    Text,
    List(Box<Shape>),
    Map(Box<Shape>),
    Words(Vec<&'static str>),
    Object(Fields),
    Named(&'static str),
    Nullable(Box<Shape>),
}

#[derive(Debug, Default)]
pub struct Operation {
    pub deprecated: bool,
    pub query: Fields,
    pub body: Option<Shape>,
}

#[derive(Debug)]
pub struct Contract {
    pub operations: HashMap<&'static str, Operation>,
    pub types: HashMap<&'static str, Shape>,
}

static API: LazyLock<Contract> = LazyLock::new(|| parse(include_str!("api.contract")));
static TOOLBOX: LazyLock<Contract> = LazyLock::new(|| parse(include_str!("toolbox.contract")));

/// What requests of a plane may have; planes without a contract have an empty one.
pub fn of(plane: Plane) -> Option<&'static Contract> {
    match plane {
        Plane::Api => Some(&API),
        Plane::Toolbox => Some(&TOOLBOX),
        _ => None,
    }
}

/// # Panics
/// Where the text is not of that form. The texts are part of the program, and a test reads them.
fn parse(text: &'static str) -> Contract {
    let mut parser = Parser { rest: text };
    let mut contract = Contract { operations: HashMap::new(), types: HashMap::new() };
    while let Some(word) = parser.try_word() {
        match word {
            "#" => parser.skip_line(),
            "op" => {
                let name = parser.word();
                let operation = parser.operation();
                contract.operations.insert(name, operation);
            }
            "type" => {
                let name = parser.word();
                parser.expect("=");
                let shape = parser.shape();
                contract.types.insert(name, shape);
            }
            other => panic!("a declaration, not {other}"),
        }
    }
    contract
}

struct Parser {
    rest: &'static str,
}

impl Parser {
    fn operation(&mut self) -> Operation {
        let mut operation = Operation { deprecated: self.take("deprecated"), ..Operation::default() };
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_operation_of_both_planes_is_declared_and_every_name_is_known() {
        let api: Vec<&str> = crate::api::operations::OPERATIONS.iter().map(|op| op.id).collect();
        let toolbox: Vec<&str> = crate::toolbox::operations::OPERATIONS.iter().map(|op| op.id).collect();
        for (plane, ids) in [(Plane::Api, api), (Plane::Toolbox, toolbox)] {
            let contract = of(plane).expect("a contract");
            assert_eq!(contract.operations.len(), ids.len());
            for id in ids {
                let operation = contract.operations.get(id).unwrap_or_else(|| panic!("{id} is not declared"));
                operation
                    .body
                    .iter()
                    .chain(operation.query.iter().map(|field| &field.shape))
                    .for_each(|s| known(contract, s));
            }
            contract.types.values().for_each(|shape| known(contract, shape));
        }
    }

    fn known(contract: &Contract, shape: &Shape) {
        match shape {
            Shape::Named(name) => assert!(contract.types.contains_key(name), "{name} is no type"),
            Shape::List(of) | Shape::Map(of) | Shape::Nullable(of) => known(contract, of),
            Shape::Object(fields) => fields.iter().for_each(|field| known(contract, &field.shape)),
            _ => {}
        }
    }

    /// Where the official documents are at hand, fields and parameters are theirs.
    #[test]
    fn it_says_what_the_official_documents_say() {
        for (plane, file) in [(Plane::Api, "api.json"), (Plane::Toolbox, "toolbox.json")] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/openapi").join(file);
            let Ok(text) = std::fs::read_to_string(&path) else {
                println!("SKIPPED: no {}", path.display());
                continue;
            };
            let document: Value = serde_json::from_str(&text).expect("JSON");
            let contract = of(plane).expect("a contract");
            for methods in document["paths"].as_object().expect("paths").values() {
                for operation in methods.as_object().expect("methods").values() {
                    let Some(id) = operation["operationId"].as_str() else { continue };
                    let own = contract.operations.get(id).unwrap_or_else(|| panic!("{id} is not declared"));
                    compare(&document, contract, id, operation, own);
                }
            }
        }
    }

    fn compare(document: &Value, contract: &Contract, id: &str, official: &Value, own: &Operation) {
        let none = Vec::new();
        let parameters = official["parameters"].as_array().unwrap_or(&none);
        let mut query: Vec<&str> =
            parameters.iter().filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str()).collect();
        let mut ours: Vec<&str> = own.query.iter().map(|field| field.name).collect();
        query.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, query, "query of {id}");
        assert_eq!(own.deprecated, official["deprecated"] == true, "{id}");
        let modern = &official["requestBody"]["content"]["application/json"]["schema"];
        let old = parameters.iter().find(|p| p["in"] == "body").map_or(&Value::Null, |p| &p["schema"]);
        let schema = resolve(document, if modern.is_null() { old } else { modern });
        let Some(properties) = schema["properties"].as_object() else { return };
        let mut fields: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut ours: Vec<&str> = match own.body.as_ref() {
            Some(Shape::Named(name)) => match &contract.types[name] {
                Shape::Object(fields) => fields.iter().map(|field| field.name).collect(),
                _ => Vec::new(),
            },
            Some(Shape::Object(fields)) => fields.iter().map(|field| field.name).collect(),
            _ => Vec::new(),
        };
        fields.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, fields, "body of {id}");
    }

    fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
    }
}
