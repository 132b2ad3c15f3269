//! The suite's declarations against the official documents, which are not part of this repository: only where they
//! are at hand.

use daytona_conformance::contract::{self, Kind, Plane, Shape};
use serde_json::Value;

/// Where the declarations differ from the documents on purpose, and how we know better.
const ON_PURPOSE: &[(&str, &str)] = &[
    ("suspendedAt: nullable", "null where the organisation isn't suspended: observed"),
    ("suspensionReason: nullable", "the same"),
    ("suspendedUntil: nullable", "the same"),
];

fn document(name: &str) -> Option<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/openapi").to_owned();
    let dir = std::env::var("DAYTONA_OPENAPI_DIR").unwrap_or(beside);
    let text = std::fs::read_to_string(std::path::Path::new(&dir).join(name)).ok();
    if text.is_none() {
        eprintln!("skipped: no {name} in {dir}");
    }
    text.map(|text| serde_json::from_str(&text).expect("the document is JSON"))
}

#[test]
fn declarations_are_those_of_the_documents() {
    let mut differences = Vec::new();
    for (plane, name) in [(Plane::Api, "api.json"), (Plane::Toolbox, "toolbox.json")] {
        let Some(document) = document(name) else { continue };
        let comparison = Comparison { document: &document, plane };
        differences.extend(comparison.operations());
    }
    differences.retain(|difference| !ON_PURPOSE.iter().any(|(known, _)| difference.contains(known)));
    differences.dedup();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

struct Comparison<'a> {
    document: &'a Value,
    plane: Plane,
}

impl Comparison<'_> {
    fn operations(&self) -> Vec<String> {
        let mut differences = Vec::new();
        let paths = self.document["paths"].as_object().expect("paths");
        for (path, methods) in paths {
            for (method, declared) in methods.as_object().expect("methods") {
                let Some(id) = declared["operationId"].as_str() else { continue };
                match contract::operation(id) {
                    Some(own) if own.method == method.to_uppercase() && own.path == path => {
                        self.answer(own, declared, &mut differences);
                        self.request(own, declared, &mut differences);
                    }
                    Some(own) => differences.push(format!("{id}: {} {} is {method} {path}", own.method, own.path)),
                    None => differences.push(format!("{id} is not declared")),
                }
            }
        }
        for own in self.plane.contract().operations.iter() {
            let there = paths.get(own.path).and_then(|methods| methods.get(own.method.to_lowercase()));
            if there.is_none() {
                differences.push(format!("{}: no {} {}", own.id, own.method, own.path));
            }
        }
        differences
    }

    /// The names of what a request may have.
    fn request(&self, own: &contract::Operation, declared: &Value, differences: &mut Vec<String>) {
        let parameters = declared["parameters"].as_array().into_iter().flatten();
        let of = |place: &'static str| parameters.clone().filter(move |parameter| parameter["in"] == place);
        let mut query: Vec<&str> = of("query").filter_map(|parameter| parameter["name"].as_str()).collect();
        query.sort_unstable();
        let schema = declared["requestBody"]["content"]["application/json"].get("schema");
        let schema = schema.or_else(|| of("body").find_map(|parameter| parameter.get("schema")));
        let schema = schema.map(|schema| self.resolved(schema));
        let mut body: Vec<&str> = schema.map_or(vec![], |schema| {
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| &**name).collect()
        });
        body.sort_unstable();
        if schema.is_some() && body.is_empty() {
            body.push("*");
        }
        for (kind, names) in [("body", body), ("query", query)] {
            if own.names(kind) != names {
                differences.push(format!("{}: its {kind} has {names:?}, not {:?}", own.id, own.names(kind)));
            }
        }
    }

    fn answer(&self, own: &contract::Operation, declared: &Value, differences: &mut Vec<String>) {
        let answers = declared["responses"].as_object().expect("responses");
        let good = answers.iter().filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| answer);
        let schema = good.into_iter().find_map(|answer| {
            let of_content = answer["content"].as_object().and_then(|content| content.values().next());
            answer.get("schema").or_else(|| of_content.and_then(|content| content.get("schema")))
        });
        match (schema, &own.answer) {
            (Some(schema), Some(shape)) => self.shape(own.id, schema, shape, 0, differences),
            (None, None) => {}
            (schema, _) => differences.push(format!("{}: answers {schema:?}", own.id)),
        }
    }

    fn shape(&self, at: &str, schema: &Value, shape: &Shape, depth: usize, differences: &mut Vec<String>) {
        // Deeper than anything but recursion.
        if depth > 12 {
            return;
        }
        let nullable = schema["nullable"] == true;
        if nullable != shape.nullable {
            differences.push(format!("{at}: nullable is {nullable}"));
        }
        let schema = self.resolved(schema);
        let shape = self.named(shape);
        let kind = schema["type"].as_str().unwrap_or(if schema.get("properties").is_some() { "object" } else { "" });
        match (&shape.kind, kind) {
            (Kind::Object(fields), "object") => {
                let required = |name: &str| {
                    schema["required"].as_array().is_some_and(|required| required.iter().any(|known| known == name))
                };
                let properties = schema["properties"].as_object().cloned().unwrap_or_default();
                for (name, schema) in &properties {
                    let at = format!("{at}.{name}");
                    match fields.iter().find(|field| field.name == name) {
                        None => differences.push(format!("{at} is not declared")),
                        Some(field) if field.required != required(name) => {
                            differences.push(format!("{at}: required is {}", required(name)));
                        }
                        Some(field) => self.shape(&at, schema, &field.shape, depth + 1, differences),
                    }
                }
                let unknown = fields.iter().filter(|field| !properties.contains_key(field.name));
                differences.extend(unknown.map(|field| format!("{at}.{} is not in the document", field.name)));
            }
            (Kind::Array(item), "array") => {
                self.shape(&format!("{at}[]"), &schema["items"], item, depth + 1, differences);
            }
            (Kind::Map(item), "object") => match schema.get("additionalProperties").filter(|any| any.is_object()) {
                Some(inner) if inner.as_object().is_some_and(|inner| !inner.is_empty()) => {
                    self.shape(&format!("{at}<>"), inner, item, depth + 1, differences);
                }
                _ => {}
            },
            (Kind::Enum(members), "string") => {
                let declared: Vec<&str> =
                    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if &declared != members {
                    differences.push(format!("{at}: members are {declared:?}"));
                }
            }
            (Kind::String | Kind::Date | Kind::Url | Kind::Uuid | Kind::Bytes, "string")
                if schema.get("enum").is_none() => {}
            (Kind::Bytes | Kind::Any, "file" | "") => {}
            (Kind::Number, "number") | (Kind::Integer, "integer") | (Kind::Bool, "boolean") => {}
            (kind, declared) => differences.push(format!("{at}: {kind:?} is {declared:?}")),
        }
    }

    fn named<'s>(&self, shape: &'s Shape) -> &'s Shape
    where
        'static: 's,
    {
        match &shape.kind {
            Kind::Named(name) => &self.plane.contract().types[name],
            _ => shape,
        }
    }

    fn resolved<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let alone = schema["allOf"].as_array().filter(|all| all.len() == 1).map(|all| &all[0]);
        let schema = alone.unwrap_or(schema);
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.document.pointer(pointer).expect("the reference leads somewhere"),
            None => schema,
        }
    }
}
