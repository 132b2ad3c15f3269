//! Users and groups by name or number, from the sandbox's own `/etc/passwd` and `/etc/group`.

use std::fs;

/// The uid of a user given by name or number.
pub fn uid(owner: &str) -> Option<u32> {
    look_up("/etc/passwd", owner)
}

/// The gid of a group given by name or number.
pub fn gid(group: &str) -> Option<u32> {
    look_up("/etc/group", group)
}

fn look_up(database: &str, name: &str) -> Option<u32> {
    let text = fs::read(database).unwrap_or_default();
    id_in(&String::from_utf8_lossy(&text), name).or_else(|| name.parse().ok())
}

/// Both databases have the name first and the number third.
fn id_in(database: &str, name: &str) -> Option<u32> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::id_in;

    #[test]
    fn finds_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\ndaytona:x:1000:1000::/home/daytona:/bin/bash\n";
        assert_eq!(id_in(passwd, "daytona"), Some(1000));
        assert_eq!(id_in(passwd, "broken"), None);
        assert_eq!(id_in(passwd, "nobody"), None);
    }
}
