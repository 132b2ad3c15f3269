//! The general snapshots: what the cloud offers everybody, with the resources it gives them.

/// A snapshot that every organisation can use and nobody can change.
#[derive(Debug, PartialEq, Eq)]
pub struct GeneralSnapshot {
    pub id: &'static str,
    pub name: &'static str,
    pub cpu: u32,
    /// GiB.
    pub memory: u32,
    /// GiB.
    pub disk: u32,
}

/// Names and resources as documented by the cloud.
pub const GENERAL: [GeneralSnapshot; 3] = [
    GeneralSnapshot { id: "5d2f6b0a-0001-4d61-8f00-da7700000001", name: "daytona-small", cpu: 1, memory: 1, disk: 3 },
    GeneralSnapshot { id: "5d2f6b0a-0002-4d61-8f00-da7700000002", name: "daytona-medium", cpu: 2, memory: 4, disk: 8 },
    GeneralSnapshot { id: "5d2f6b0a-0003-4d61-8f00-da7700000003", name: "daytona-large", cpu: 4, memory: 8, disk: 10 },
];

/// What a sandbox is made from when nobody says (`/config.defaultSnapshot`).
pub const DEFAULT: &str = "daytona-small";

/// A general snapshot by id or name.
pub fn general(id_or_name: &str) -> Option<&'static GeneralSnapshot> {
    GENERAL.iter().find(|snapshot| snapshot.id == id_or_name || snapshot.name == id_or_name)
}
