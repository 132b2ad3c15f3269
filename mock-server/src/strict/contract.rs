//! The contract's side of requests as data: `api.contract` and `toolbox.contract` beside this file. A line declares an
//! operation (`op createSandbox deprecated path { port: number } query { limit?: number } body CreateSandbox`; of its path only
//! what isn't text; a `?` after a body that may be left out) or a type (`type Name = shape`).
//! Shapes: `any`, `bool`, `integer`, `number`, `string`, `[shape]` a list, `<shape>` a map, `(a b)` one of these words,
//! `{ name?: shape }` an object (`?`: may be left out), a type's name. `?` after a shape: null is fine. Indented lines go on.
//! What the newest SDKs send beyond the published documents is in `newer.contract`, which says how it is written.

use std::{collections::HashMap, sync::LazyLock};

use super::parser::parse;
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
    pub path: Fields,
    pub query: Fields,
    pub body: Option<Shape>,
    /// The newest SDK sends its JSON without a content type.
    pub untyped: bool,
}

/// An operation that no published document has.
#[derive(Debug)]
pub struct Route {
    pub id: &'static str,
    pub method: &'static str,
    /// Parameters in braces.
    pub path: String,
    pub operation: Operation,
}

#[derive(Debug, Default)]
pub struct Contract {
    pub operations: HashMap<&'static str, Operation>,
    pub types: HashMap<&'static str, Shape>,
    pub routes: Vec<Route>,
}

const API_TEXT: &str = include_str!("api.contract");
const TOOLBOX_TEXT: &str = include_str!("toolbox.contract");
const NEWER: &str = include_str!("newer.contract");

static API: LazyLock<Contract> = LazyLock::new(|| whole(API_TEXT, "api"));
static TOOLBOX: LazyLock<Contract> = LazyLock::new(|| whole(TOOLBOX_TEXT, "toolbox"));

/// What requests of a plane may have; planes without a contract have an empty one.
pub fn of(plane: Plane) -> Option<&'static Contract> {
    match plane {
        Plane::Api => Some(&API),
        Plane::Toolbox => Some(&TOOLBOX),
        _ => None,
    }
}

impl Contract {
    /// What was added since the documents for a request.
    pub fn route(&self, method: &str, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.method == method && fits(&route.path, path))
    }

    /// A shape without its name, and whether it may be null.
    pub fn plain<'a>(&'a self, shape: &'a Shape) -> &'a Shape {
        match shape {
            Shape::Nullable(of) => self.plain(of),
            Shape::Named(name) => self.types.get(name).map_or(shape, |shape| self.plain(shape)),
            shape => shape,
        }
    }

    pub fn more_fields(&mut self, name: &str, more: Fields) {
        match self.types.get_mut(name) {
            Some(Shape::Object(fields)) => fields.extend(more),
            _ => panic!("{name} is no object"),
        }
    }

    pub fn more_words(&mut self, name: &str, field: &str, more: Shape) {
        let Some(Shape::Object(fields)) = self.types.get_mut(name) else { panic!("{name} is no object") };
        let field = fields.iter_mut().find(|own| own.name == field);
        match (field.map(|field| field.shape.innermost()), more) {
            (Some(Shape::Words(words)), Shape::Words(more)) => words.extend(more),
            _ => panic!("words of {name}"),
        }
    }
}

impl Shape {
    fn innermost(&mut self) -> &mut Shape {
        match self {
            Shape::List(of) | Shape::Map(of) | Shape::Nullable(of) => of.innermost(),
            shape => shape,
        }
    }
}

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let (mut own, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (own.next(), given.next()) {
            (None, None) => return true,
            (Some(own), Some(given)) if own == given || own.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

/// The documents' side and what came since.
///
/// # Panics
/// Where the texts are not of that form. They are part of the program, and a test reads them.
fn whole(text: &'static str, plane: &str) -> Contract {
    let mut contract = Contract::default();
    parse(text, "", &mut contract);
    parse(NEWER, plane, &mut contract);
    contract
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
            let declared = ids.iter().map(|id| contract.operations.get(id).unwrap_or_else(|| panic!("no {id}")));
            for operation in declared.chain(contract.routes.iter().map(|route| &route.operation)) {
                let fields = operation.query.iter().chain(&operation.path).map(|field| &field.shape);
                operation.body.iter().chain(fields).for_each(|s| known(contract, s));
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

    #[test]
    fn what_came_since_is_added() {
        let (api, toolbox) = (of(Plane::Api).expect("a contract"), of(Plane::Toolbox).expect("a contract"));
        let Shape::Object(fields) = &api.types["CreateSandbox"] else { panic!("an object") };
        assert!(fields.iter().any(|field| field.name == "kvm" && field.optional));
        assert!(toolbox.operations["UpdateEnv"].untyped && !toolbox.operations["Click"].untyped);
        assert_eq!(toolbox.route("POST", "/computeruse/mouse/up").map(|route| route.id), Some("MouseUp"));
        assert_eq!(api.route("GET", "/organizations/x/gpu-capacity").map(|route| route.id), Some("getGpuCapacity"));
        assert!(api.route("GET", "/organizations//gpu-capacity").is_none() && toolbox.route("GET", "/x").is_none());
    }

    /// Where the official documents are at hand, fields and parameters are theirs.
    #[test]
    fn it_says_what_the_official_documents_say() {
        for (own, file) in [(API_TEXT, "api.json"), (TOOLBOX_TEXT, "toolbox.json")] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/openapi").join(file);
            let Ok(text) = std::fs::read_to_string(&path) else {
                println!("SKIPPED: no {}", path.display());
                continue;
            };
            let document: Value = serde_json::from_str(&text).expect("JSON");
            let mut published = Contract::default();
            parse(own, "", &mut published);
            let contract = &published;
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
        let is_text = |p: &&Value| resolve(document, &p["schema"])["enum"].is_null() && kind_of(p) == "string";
        let mut path: Vec<&str> =
            parameters.iter().filter(|p| p["in"] == "path" && !is_text(p)).filter_map(|p| p["name"].as_str()).collect();
        path.sort_unstable();
        let mut ours: Vec<&str> = own.path.iter().map(|field| field.name).collect();
        ours.sort_unstable();
        assert_eq!(ours, path, "path of {id}");
        assert_eq!(own.deprecated, official["deprecated"] == true, "{id}");
        let modern = &official["requestBody"]["content"]["application/json"]["schema"];
        let body = parameters.iter().find(|p| p["in"] == "body").unwrap_or(&official["requestBody"]);
        let old = &body["schema"];
        let schema = resolve(document, if modern.is_null() { old } else { modern });
        let Some(properties) = schema["properties"].as_object() else { return };
        let mut fields: Vec<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(matches!(own.body, Some(Shape::Nullable(_))), body["required"] != true, "whether {id} needs a body");
        let mut ours: Vec<&str> = match own.body.as_ref().map(|shape| contract.plain(shape)) {
            Some(Shape::Object(fields)) => fields.iter().map(|field| field.name).collect(),
            _ => Vec::new(),
        };
        fields.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, fields, "body of {id}");
    }

    /// Both forms of the documents say it at their own place.
    fn kind_of(parameter: &Value) -> &str {
        parameter["type"].as_str().or_else(|| parameter["schema"]["type"].as_str()).unwrap_or_default()
    }

    fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
    }
}
