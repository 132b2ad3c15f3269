//! Organisations. Every key minted from outside has one of its own.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    store::{Kind, Write},
    tokens,
};

/// An organisation as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    pub id: String,
    pub name: String,
    /// User id of its owner; its keys act as this user.
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

impl Organization {
    pub fn new(now: DateTime<Utc>) -> Organization {
        Organization { id: tokens::uuid(), name: "Personal".into(), created_by: tokens::uuid(), created_at: now }
    }

    /// Its record in the store's form.
    pub(super) fn put(&self) -> Write {
        let record = serde_json::to_string(self).expect("an organisation is JSON");
        Write::Put { kind: Kind::Organization, key: self.id.clone(), organization: String::new(), record }
    }
}
