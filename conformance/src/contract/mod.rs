//! The suite's own declarations of the contract: operations, and the shapes of their answers.
//!
//! They are text (`api.contract`, `toolbox.contract`), because a thousand fields read best as a list:
//!
//! ```text
//! op getSandbox GET /sandbox/{sandboxIdOrName} → Sandbox
//! type Sandbox = { id: string, snapshot?: string, labels: <string>, volumes?: [SandboxVolume], state?: (started …) }
//! ```
//!
//! `name?` may be absent or null, `type?` may be null, `<T>` is a map, `(a b "c d")` an enumeration; `date`, `url` and `uuid`
//! are strings of that format. Fields that the contract doesn't know are allowed in every answer, and listed by the report.
//! A test compares all of it with the official OpenAPI documents where they are at hand; what differs on purpose is listed
//! there.

mod envelope;
mod judge;
mod parse;
mod undeclared;

use std::{collections::HashMap, sync::LazyLock};

use serde::Serialize;

pub use envelope::envelope;
pub use judge::{Finding, findings};
pub use undeclared::undeclared;

/// Which of the two services an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The control plane.
    Api,
    /// The toolbox of a sandbox.
    Toolbox,
}

/// One operation of the contract.
#[derive(Debug)]
pub struct Operation {
    pub plane: Plane,
    /// The operationId of the official documents.
    pub id: &'static str,
    pub method: &'static str,
    /// Below the plane's base URL, with `{parameters}`.
    pub path: &'static str,
    /// Of a successful JSON answer; `None` where there is none, or it is no JSON.
    pub answer: Option<Shape>,
}

/// What a value must be.
#[derive(Debug, PartialEq)]
pub struct Shape {
    pub kind: Kind,
    pub nullable: bool,
}

/// See the module's text.
#[derive(Debug, PartialEq)]
pub enum Kind {
    Any,
    Bool,
    Integer,
    Number,
    String,
    Bytes,
    Date,
    Url,
    Uuid,
    Enum(Vec<&'static str>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Object(Vec<Field>),
    Named(&'static str),
}

/// A field of an object.
#[derive(Debug, PartialEq)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape,
}

/// The declarations of one plane.
pub struct Contract {
    pub operations: Vec<Operation>,
    pub types: HashMap<&'static str, Shape>,
}

/// Logs are plain text for some clients, bulk downloads are parts.
const IN_OTHER_FORMS: [&str; 3] = ["DownloadFiles", "GetEntrypointLogs", "GetSessionCommandLogs"];

impl Operation {
    /// Is an answer without `application/json` wrong? Lone values are sent as text by some (signing keys, `true`,
    /// counts; observed).
    pub fn answers_json(&self) -> bool {
        let lone = |kind: &Kind| {
            matches!(kind, Kind::Any | Kind::Bytes | Kind::String | Kind::Bool | Kind::Integer | Kind::Number)
        };
        self.answer.as_ref().is_some_and(|shape| !lone(&shape.kind)) && !IN_OTHER_FORMS.contains(&self.id)
    }

    /// Whether its requests have a body of JSON.
    pub fn has_body(&self) -> bool {
        !self.names("body").is_empty()
    }

    /// Whether its requests may have this field (`body`), or this parameter (`query`).
    pub fn may_have(&self, kind: &str, name: &str) -> bool {
        self.names(kind).iter().any(|own| *own == name || *own == "*")
    }

    /// Names of a request's fields (`body`) or parameters (`query`), sorted; `*` alone: any.
    pub fn names(&self, kind: &str) -> &'static [&'static str] {
        REQUESTS.get(format!("{} {kind}", self.id).as_str()).map_or(&[][..], Vec::as_slice)
    }
}

/// The fields of JSON bodies and the parameters of queries, by operation and kind: `createSandbox body`.
static REQUESTS: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let lines = include_str!("requests.contract").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| {
        let (second, _) = line.match_indices(' ').nth(1)?;
        Some((&line[..second], line[second + 1..].split(' ').collect()))
    };
    lines.filter_map(row).collect()
});

static API: LazyLock<Contract> = LazyLock::new(|| parse::parse(Plane::Api, include_str!("api.contract")));
static TOOLBOX: LazyLock<Contract> = LazyLock::new(|| parse::parse(Plane::Toolbox, include_str!("toolbox.contract")));

impl Plane {
    /// What is declared for this plane.
    pub fn contract(self) -> &'static Contract {
        match self {
            Plane::Api => &API,
            Plane::Toolbox => &TOOLBOX,
        }
    }
}

/// Every operation of both planes.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    API.operations.iter().chain(&TOOLBOX.operations)
}

/// The operation with this id.
pub fn operation(id: &str) -> Option<&'static Operation> {
    operations().find(|operation| operation.id == id)
}

/// The operation that a request means: literal segments win over parameters. `path` is below the plane's base URL.
pub fn resolve(plane: Plane, method: &str, path: &str) -> Option<&'static Operation> {
    let path = path.split('?').next().unwrap_or_default();
    let of_method = plane.contract().operations.iter().filter(|operation| operation.method == method);
    of_method.filter(|operation| fits(operation.path, path)).min_by_key(|operation| operation.path.matches('{').count())
}

fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.trim_end_matches('/').split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            // `/proxy/{port}/{path}`: the last parameter takes what is left.
            (Some("{path}"), Some(_)) => return true,
            (Some(w), Some(g)) if w == g || (w.starts_with('{') && !g.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_declared() {
        fn names(shape: &Shape, found: &mut Vec<&'static str>) {
            match &shape.kind {
                Kind::Named(name) => found.push(name),
                Kind::Array(inner) | Kind::Map(inner) => names(inner, found),
                Kind::Object(fields) => fields.iter().for_each(|field| names(&field.shape, found)),
                _ => {}
            }
        }
        for plane in [Plane::Api, Plane::Toolbox] {
            let contract = plane.contract();
            let mut used = Vec::new();
            contract.types.values().for_each(|shape| names(shape, &mut used));
            contract.operations.iter().filter_map(|o| o.answer.as_ref()).for_each(|shape| names(shape, &mut used));
            for name in used {
                assert!(contract.types.contains_key(name), "{name} is used and not declared");
            }
        }
        assert_eq!((API.operations.len(), TOOLBOX.operations.len()), (196, 103));
    }

    #[test]
    fn answers_that_are_never_json_are_exceptions() {
        let json = |id| operation(id).is_some_and(Operation::answers_json);
        assert!(json("getSandbox") && json("ExecuteCommand") && json("listVolumes"));
        let texts = ["rotateSigningKey", "hasSandboxAccess", "DownloadFile", "updateLastActivity"];
        assert!(!texts.into_iter().chain(IN_OTHER_FORMS).any(json));
        assert!(IN_OTHER_FORMS.into_iter().all(|id| operation(id).is_some()));
    }

    #[test]
    fn requests_find_their_operation() {
        let id = |plane, method, path| resolve(plane, method, path).map(|operation| operation.id);
        assert_eq!(id(Plane::Api, "GET", "/sandbox?limit=1"), Some("listSandboxes"));
        assert_eq!(id(Plane::Api, "GET", "/sandbox/paginated"), Some("listSandboxesPaginated_deprecated"));
        assert_eq!(id(Plane::Api, "GET", "/sandbox/some-name"), Some("getSandbox"));
        assert_eq!(id(Plane::Api, "GET", "/sandbox/x/nothing"), None);
        assert_eq!(id(Plane::Toolbox, "GET", "/files/"), Some("ListFiles"));
        assert_eq!(id(Plane::Toolbox, "PATCH", "/files"), None);
    }
}
