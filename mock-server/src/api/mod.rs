//! Control-plane handlers and their wire types, a file per resource.
