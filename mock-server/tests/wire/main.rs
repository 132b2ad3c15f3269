//! Tests at the wire: a server on port 0, spoken to as a client would. A module per area, mirroring the routes.

mod info;
mod routing;
mod support;
