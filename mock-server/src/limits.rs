//! What bounds the server and its sandboxes, and how to set it: `--limit NAME=VALUE`.
//!
//! Nothing that a client can make more or larger of is unbounded. What bounds time, or what the contract fixes, is a
//! constant where it is used; time of processors is here.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// One limit, for the command line and its help.
pub struct Limit {
    /// As in `--limit NAME=VALUE`, with `_` or `-`.
    pub name: &'static str,
    pub default: usize,
    pub doc: &'static str,
    set: fn(&mut Limits, usize),
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr;)+) => {
        /// The limits in force.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: usize,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)+ }
            }
        }

        /// Every limit.
        pub const TABLE: &[Limit] = &[
            $(Limit {
                name: stringify!($name),
                default: $default,
                doc: concat!($($doc,)+).trim_ascii_start(),
                set: |limits, value| limits.$name = value,
            },)+
        ];
    };
}

limits! {
    /// Client connections open at once; more wait.
    connections = 16 << 10;
    /// SSH connections open at once; more wait.
    ssh_connections = 1_000;
    /// Channels of one SSH connection.
    ssh_channels = 1_000;
    /// Listeners of one SSH connection, for remote and agent forwarding.
    ssh_listeners = 64;
    /// Bytes of SSH clients' input that nobody has read, on disk; a connection with more is cut.
    ssh_unread = 16 << 30;
    /// Bytes of a control plane request's body.
    api_body = 10 << 20;
    /// Sandboxes of one server; more are told that there are no available runners.
    sandboxes = 10_000;
    /// Processes and threads of one sandbox, where control groups can bound them.
    processes = 16 << 10;
    /// Samples of one sandbox's metrics; when there are more, every other one goes.
    metric_samples = 500;
    /// Snapshots of one organisation.
    snapshots = 1_000;
    /// Volumes of one organisation, besides deleted ones.
    volumes = 100;
    /// Bytes of a world that is restored, packed, and unpacked with holes.
    world_size = 64 << 30;
    /// Files in it.
    world_entries = 10_000_000;
    /// Objects of one organisation in the object storage.
    objects = 100_000;
    /// Bytes of one object.
    object_size = 16 << 30;
    /// Layers and configurations of images that one organisation pushed.
    registry_blobs = 10_000;
    /// Multipart uploads of one organisation at a time.
    uploads = 1_000;
    /// Bytes of one build's log; what comes after is left out.
    build_log = 64 << 20;
    /// Bytes that one ADD of a Dockerfile may download.
    build_download = 4 << 30;
    /// Organisations of one server, one for each minted key.
    organizations = 100_000;
    /// Sandboxes that wait in an organisation's warm pools.
    warm_sandboxes = 50;
    /// Webhook endpoints of one organisation.
    webhooks = 50;
    /// Messages to one webhook endpoint that are kept.
    webhook_deliveries = 200;
    /// Regions of one organisation.
    regions = 100;
    /// Roles of one organisation, besides the global ones.
    organization_roles = 100;
    /// Invitations that one organisation keeps.
    invitations = 1_000;
    /// Entries that one organisation's audit log keeps.
    audit_entries = 10_000;
    /// Entries that all audit logs keep.
    all_audit_entries = 200_000;
    /// API keys of one organisation.
    api_keys = 1_000;
    /// Signed preview links of one sandbox; the one that ends first makes room.
    signed_previews = 1_000;
    /// Journal entries of one organisation in memory; the oldest go first.
    journal_entries = 20_000;
    /// Bytes of all journal entries in memory, about.
    journal_memory = 16 << 20;
    /// Bytes of one organisation's journal file, of which there are two: the one in use and the one before it.
    journal_file = 16 << 20;
    /// TCP flows of one sandbox to the outside; more wait.
    tcp_flows = 1_024;
    /// TCP flows of all sandboxes.
    all_tcp_flows = 16 << 10;
    /// UDP flows of one sandbox; the longest idle one makes room.
    udp_flows = 256;
    /// UDP flows of all sandboxes.
    all_udp_flows = 8 << 10;
    /// Bytes of a toolbox request's JSON body.
    json_body = 64 << 20;
    /// Bytes of one command's output.
    output = 256 << 20;
    /// Bytes of a toolbox's environment.
    environment = 1 << 20;
    /// Entries that one listing, search or find answers with.
    entries = 1_000_000;
    /// Paths in one bulk download or replace.
    bulk_paths = 100_000;
    /// Bytes of a file that replace takes.
    replace_size = 256 << 20;
    /// Bytes of memory of each git program that works on a request.
    git_memory = 4 << 30;
    /// Bytes of each file that git writes for a request: a pack, or one that is checked out.
    git_file = 16 << 30;
    /// Bytes that all git programs of a request write, to files (4K at least for each) and to each other, which is about
    /// three times what a remote sends.
    git_written = 32 << 30;
    /// Seconds that all git programs of a request compute.
    git_cpu = 900;
    /// Parts of one multipart upload.
    parts = 200_000;
    /// Sessions of one sandbox.
    sessions = 1_000;
    /// Commands of one session.
    session_commands = 100_000;
    /// Bytes of one session command's log.
    session_log = 256 << 20;
    /// Terminals of one sandbox.
    ptys = 1_024;
    /// Clients of one terminal.
    pty_clients = 256;
    /// Interpreter contexts of one sandbox, besides the default one.
    contexts = 256;
    /// Executions of one interpreter context that run or wait.
    context_queue = 256;
    /// Language servers of one sandbox.
    language_servers = 32;
    /// Documents that one language server has open.
    lsp_documents = 10_000;
    /// Bytes of a language server's message, and four times those of a document.
    lsp_message = 64 << 20;
    /// Screen recordings of one sandbox that go on at once.
    recordings = 8;
    /// Nodes of one answer of the accessibility tree.
    accessibility_nodes = 5_000;
}

impl Limits {
    /// Applies `NAME=VALUE`. A value is a positive whole number, with K, M or G for powers of 1024.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let name = name.trim().replace('-', "_");
        let limit = TABLE.iter().find(|limit| limit.name == name);
        let limit = limit.ok_or_else(|| format!("no limit is called {name}; --help lists them"))?;
        let value =
            parse(value.trim()).ok_or("the value must be a positive whole number, such as 500, 64K, 10M or 1G")?;
        (limit.set)(self, value);
        Ok(())
    }
}

fn parse(text: &str) -> Option<usize> {
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    let number: usize = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|value| (1..=isize::MAX.unsigned_abs()).contains(value))
}

static INSIDE: OnceLock<Limits> = OnceLock::new();

/// Puts limits in force for the toolbox of this process; an agent does that once.
pub fn install(limits: Limits) {
    _ = INSIDE.set(limits);
}

/// What bounds the toolbox of this process.
pub fn inside() -> &'static Limits {
    INSIDE.get_or_init(Limits::default)
}

/// The table as text.
pub fn help() -> String {
    let rows = TABLE.iter().map(|limit| {
        let name = limit.name.replace('_', "-");
        format!("  {name:<18} {:>6}  {}\n", short(limit.default), limit.doc)
    });
    format!("Limits (--limit NAME=VALUE, with their defaults):\n{}", rows.collect::<String>())
}

fn short(value: usize) -> String {
    let unit = [(30, "G"), (20, "M"), (10, "K")].into_iter().find(|(shift, _)| value.is_multiple_of(1 << shift));
    unit.map_or_else(|| value.to_string(), |(shift, unit)| format!("{}{unit}", value >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let mut limits = Limits::default();
        assert_eq!(limits.set("api-body=64K"), Ok(()));
        assert_eq!(limits.set("api_keys = 3"), Ok(()));
        assert_eq!(limits, Limits { api_body: 65536, api_keys: 3, ..Limits::default() });
        for bad in [
            "",
            "api-body",
            "nope=1",
            "api-body=",
            "api-body=0",
            "api-body=-1",
            "api-body=K",
            "api-body=1T",
            "api-body=é",
        ] {
            assert!(limits.set(bad).is_err(), "{bad}");
        }
        assert!(limits.set("api-body=99999999999999999G").is_err());
    }

    #[test]
    fn each_limit_is_listed() {
        let help = help();
        assert!(help.contains("api-body              10M  Bytes of a control plane request's body."), "{help}");
        assert_eq!(help.lines().count(), TABLE.len() + 1);
    }
}
