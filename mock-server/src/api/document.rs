//! `/api-json`: an OpenAPI document of this server's own, made from its table of operations. It says which there are and
//! what they are called; what they take and answer is in the official document.

use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation, Support};

/// The document for an API of this version.
pub fn document(api_version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(format!("/api{}", operation.path)).or_insert_with(|| json!({}));
        path[operation.method.to_ascii_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.0.0",
        "info": {
            "title": "Daytona API, as daytona-mock has it",
            "description": "The operations by their official names. Bodies and answers are in the official document.",
            "version": api_version,
        },
        "paths": paths,
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearer": []}],
    })
}

fn described(operation: &Operation) -> Value {
    let names = operation.arguments(operation.path).into_iter().map(|(name, _)| name);
    let parameters =
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    json!({
        "operationId": operation.id,
        "parameters": parameters.collect::<Vec<_>>(),
        "responses": {"default": {"description": support(operation.support)}},
    })
}

fn support(support: Support) -> &'static str {
    match support {
        Support::Emulated => "as the official document says",
        Support::Later => "501: not emulated yet",
        Support::Internal => "403: for the parts of the real product among themselves",
        Support::Refused => "refused as the original refuses it",
    }
}
