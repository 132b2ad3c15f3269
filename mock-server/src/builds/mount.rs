//! What a `--mount` of a `RUN` says (Dockerfile reference, "RUN --mount").

use super::{run::absolute, words::Vars};

/// The sort of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    const ALL: [(&str, Kind); 5] = [
        ("bind", Kind::Bind),
        ("cache", Kind::Cache),
        ("tmpfs", Kind::Tmpfs),
        ("secret", Kind::Secret),
        ("ssh", Kind::Ssh),
    ];

    pub fn as_str(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// What becomes of a cache that another step has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Both write to it.
    Shared,
    /// This one gets another, empty one.
    Private,
    /// This one waits.
    Locked,
}

/// One `--mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub kind: Kind,
    /// Absolute, inside.
    pub target: Option<String>,
    pub source: Option<String>,
    /// A stage or an image.
    pub from: Option<String>,
    pub id: Option<String>,
    pub sharing: Sharing,
    pub read_only: bool,
    pub required: bool,
    /// Bytes of a tmpfs.
    pub size: Option<u64>,
    /// Of a cache that is new.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
}

impl Mount {
    /// # Errors
    /// What isn't understood, named: leaving it out would build something else.
    pub fn parse(text: &str, work_dir: &str, vars: Vars) -> Result<Mount, String> {
        let text = super::words::word(text, vars)?;
        let mut mount = Mount {
            kind: Kind::Bind,
            target: None,
            source: None,
            from: None,
            id: None,
            sharing: Sharing::Shared,
            read_only: true,
            required: false,
            size: None,
            uid: None,
            gid: None,
            mode: None,
        };
        let mut read_only = None;
        let fields: Vec<(String, Option<&str>)> = text.split(',').map(field).collect();
        for (key, value) in &fields {
            let bad = || format!("--mount: {}: an invalid value for {key}", value.unwrap_or_default());
            let flag = || boolean(value.unwrap_or("true")).ok_or_else(bad);
            match (key.as_str(), *value) {
                ("ro" | "readonly", _) => read_only = Some(flag()?),
                ("rw" | "readwrite", _) => read_only = Some(!flag()?),
                ("required", _) => mount.required = flag()?,
                (_, None) => return Err(format!("--mount: invalid field '{key}' must be a key=value pair")),
                ("type", Some(value)) => mount.kind = kind(value)?,
                ("target" | "dst" | "destination", Some(value)) => mount.target = Some(absolute(work_dir, value)),
                ("source" | "src", Some(value)) => mount.source = Some(value.to_owned()),
                ("from", Some(value)) => mount.from = Some(value.to_owned()),
                ("id", Some(value)) => mount.id = Some(value.to_owned()),
                ("size", Some(value)) => mount.size = Some(bytes(value).ok_or_else(bad)?),
                ("uid", Some(value)) => mount.uid = Some(value.parse().map_err(|_| bad())?),
                ("gid", Some(value)) => mount.gid = Some(value.parse().map_err(|_| bad())?),
                ("mode", Some(value)) => mount.mode = Some(octal(value).ok_or_else(bad)?),
                ("sharing", Some(value)) => mount.sharing = sharing(value).ok_or_else(bad)?,
                ("env", Some(_)) => {}
                (key, _) => return Err(format!("--mount: unexpected key '{key}'")),
            }
        }
        mount.read_only = read_only.unwrap_or(mount.kind == Kind::Bind);
        match fields.iter().find(|(key, _)| !mount.kind.takes(key)) {
            Some((key, _)) => Err(format!("--mount: {key} is not allowed for {} mounts", mount.kind.as_str())),
            None => Ok(mount),
        }
    }
}

impl Kind {
    fn takes(self, key: &str) -> bool {
        match key {
            "type" | "target" | "dst" | "destination" => true,
            "from" | "source" | "src" | "ro" | "readonly" | "rw" | "readwrite" => {
                matches!(self, Kind::Bind | Kind::Cache)
            }
            "id" | "uid" | "gid" | "mode" => matches!(self, Kind::Cache | Kind::Secret | Kind::Ssh),
            "sharing" => self == Kind::Cache,
            "size" => self == Kind::Tmpfs,
            "required" => matches!(self, Kind::Secret | Kind::Ssh),
            "env" => self == Kind::Secret,
            _ => false,
        }
    }
}

fn field(text: &str) -> (String, Option<&str>) {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    (key.trim().to_lowercase(), value)
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind);
    found.ok_or_else(|| format!("--mount: unsupported mount type \"{name}\""))
}

fn sharing(text: &str) -> Option<Sharing> {
    match text {
        "shared" => Some(Sharing::Shared),
        "private" => Some(Sharing::Private),
        "locked" => Some(Sharing::Locked),
        _ => None,
    }
}

/// As Go reads them.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// `64m`, `1GiB`, `4096`: powers of 1024, as container engines read them.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.trim_start().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1024_u64.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, String> {
        Mount::parse(text, "/w", &|name| (name == "D").then(|| "d".to_owned()))
    }

    #[test]
    fn every_option_is_understood_or_refused() {
        let bind = parse("target=$D,source=x,rw").expect("a bind");
        assert_eq!((bind.kind, bind.target.as_deref(), bind.read_only), (Kind::Bind, Some("/w/d"), false));
        assert!(parse("type=bind,dst=/x").expect("a bind").read_only);
        let cache =
            parse("type=cache,target=/c,uid=5,gid=6,mode=0770,sharing=locked,id=i,from=s,src=/y").expect("a cache");
        assert_eq!((cache.uid, cache.gid, cache.mode, cache.read_only), (Some(5), Some(6), Some(0o770), false));
        assert_eq!((cache.sharing, bind.sharing), (Sharing::Locked, Sharing::Shared));
        assert_eq!(parse("type=tmpfs,target=/t,size=64m").expect("a tmpfs").size, Some(64 << 20));
        assert!(parse("type=secret,id=x,required").expect("a secret").required);
        assert!(!parse("type=ssh,required=false").expect("a socket").required);
        for (bad, reason) in [
            ("type=npipe", "unsupported mount type"),
            ("target=/x,colour=red", "unexpected key 'colour'"),
            ("target=/x,id", "must be a key=value pair"),
            ("target=/x,mode=700", "not allowed for bind"),
            ("type=tmpfs,target=/x,from=y", "not allowed for tmpfs"),
            ("type=tmpfs,target=/x,size=lots", "invalid value for size"),
            ("type=cache,target=/x,sharing=some", "invalid value for sharing"),
            ("type=cache,target=/x,uid=bob", "invalid value for uid"),
            ("type=bind,target=/x,rw=maybe", "invalid value for rw"),
        ] {
            let told = parse(bad).expect_err(bad);
            assert!(told.contains(reason), "{bad}: {told}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [("0", Some(0)), ("1k", Some(1024)), ("2GB", Some(2 << 30)), ("1 MiB", Some(1 << 20))] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert!(bytes("99999999999t").is_none() && bytes("m").is_none() && bytes("1x").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_mount_or_none(text in "((type|target|size|uid|ro|x)=?(cache|tmpfs|1g|/a)?,?){0,5}|\\PC*") {
            _ = parse(&text);
        }
    }
}
