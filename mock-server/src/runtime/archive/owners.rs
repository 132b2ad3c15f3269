//! Whose files are in an archive: ids as sandboxes see them, so that an archive can be read in another tier and on another
//! machine. What attributes hold of ids is translated, too.

use std::{ffi::CStr, io};

use serde::{Deserialize, Serialize};

use super::damaged;
use crate::runtime::idmap::{COUNT, IdMap, Ids, SHIFT};

/// Who owns what nobody inside can own.
const NOBODY: u32 = 65_534;

const CAPABILITY: &[u8] = b"security.capability";
const LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// How ids on this disk and ids inside belong together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Owners {
    /// They are the same: the process sees what sandboxes see (tier subuid), or the files are mapped when they are mounted.
    Same,
    /// On disk each is higher by [`SHIFT`] (tier root).
    Shifted,
    /// There is one (tier single).
    One { uid: Ids, gid: Ids },
}

impl Owners {
    /// Of what sandboxes with this map write.
    pub fn of(map: &IdMap) -> Owners {
        match map {
            IdMap::Shifted => Owners::Shifted,
            IdMap::Single { uid, gid } => Owners::One { uid: *uid, gid: *gid },
            IdMap::Subuid { .. } | IdMap::None => Owners::Same,
        }
    }

    pub fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let lower = |id: u32| id.checked_sub(SHIFT).filter(|id| *id < COUNT).unwrap_or(NOBODY);
        match self {
            Owners::Same => (uid, gid),
            Owners::Shifted => (lower(uid), lower(gid)),
            Owners::One { uid, gid } => (uid.inside, gid.inside),
        }
    }

    /// # Errors
    /// For ids that no sandbox has.
    pub fn outside(self, uid: u32, gid: u32) -> io::Result<(u32, u32)> {
        if uid >= COUNT || gid >= COUNT {
            return Err(damaged("an owner"));
        }
        Ok(match self {
            Owners::Same => (uid, gid),
            Owners::Shifted => (SHIFT + uid, SHIFT + gid),
            Owners::One { uid, gid } => (uid.outside, gid.outside),
        })
    }

    /// The value of an attribute as it is in archives.
    pub fn inside_value(self, name: &CStr, value: Vec<u8>) -> Vec<u8> {
        translated(name, value, |id| self.inside(id, id).0)
    }

    /// The value of an attribute as it is on this disk.
    pub fn outside_value(self, name: &CStr, value: Vec<u8>) -> Vec<u8> {
        translated(name, value, |id| self.outside(id, id).map_or(NOBODY, |ids| ids.0))
    }
}

/// The ids in capabilities (`vfs_ns_cap_data`: from version 3 on the last word) and in access control lists
/// (`posix_acl_xattr_entry`: tag, permissions, id) by others.
fn translated(name: &CStr, mut value: Vec<u8>, id: impl Fn(u32) -> u32) -> Vec<u8> {
    const NAMED: [[u8; 2]; 2] = [[0x02, 0], [0x08, 0]];
    let places: Vec<usize> = if name.to_bytes() == CAPABILITY {
        vec![20]
    } else if LISTS.contains(&name.to_bytes()) {
        let named = |at: &usize| value.get(*at..at + 2).is_some_and(|tag| NAMED.iter().any(|named| named == tag));
        (4..value.len()).step_by(8).filter(named).map(|at| at + 4).collect()
    } else {
        Vec::new()
    };
    for at in places {
        if let Some(bytes) = value.get_mut(at..at + 4).and_then(|bytes| <&mut [u8; 4]>::try_from(bytes).ok()) {
            *bytes = id(u32::from_le_bytes(*bytes)).to_le_bytes();
        }
    }
    value
}

/// Attributes that archives of strangers may have.
pub fn is_known(name: &CStr) -> bool {
    let name = name.to_bytes();
    let overlay = name.starts_with(b"user.overlay.") && name != crate::runtime::base::OPAQUE.as_bytes();
    name.starts_with(b"user.") && !overlay || name == CAPABILITY || LISTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Owners = Owners::Shifted;

    #[test]
    fn ids_go_out_and_come_in() {
        let one = Ids { inside: 1000, outside: 501 };
        for owners in [Owners::Same, ROOT, Owners::One { uid: one, gid: one }] {
            let (uid, gid) = owners.outside(1000, 1000).expect("fine");
            assert_eq!(owners.inside(uid, gid), (1000, 1000), "{owners:?}");
            assert!(owners.outside(COUNT, 0).is_err() && owners.outside(0, u32::MAX).is_err());
        }
        assert_eq!(ROOT.outside(0, 5).expect("fine"), (SHIFT, SHIFT + 5));
        assert_eq!(ROOT.inside(0, SHIFT + COUNT), (NOBODY, NOBODY), "nobody inside has the host's ids");
    }

    #[test]
    fn ids_in_attributes_are_translated() {
        let capability = [&3_u32.to_le_bytes()[..], &[0; 16], &SHIFT.to_le_bytes()].concat();
        let inside = ROOT.inside_value(c"security.capability", capability.clone());
        assert_eq!(inside[20..], [0; 4]);
        assert_eq!(ROOT.outside_value(c"security.capability", inside), capability);
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |id| [&2_u32.to_le_bytes()[..], &entry(1, u32::MAX), &entry(2, id)].concat();
        assert_eq!(ROOT.inside_value(c"system.posix_acl_access", list(SHIFT + 7)), list(7));
        assert_eq!(ROOT.outside_value(c"system.posix_acl_default", list(7)), list(SHIFT + 7));
        for short in [&[][..], &[1, 2, 3], &[0; 9]] {
            assert_eq!(ROOT.inside_value(c"system.posix_acl_access", short.to_vec()), short);
        }
        assert_eq!(ROOT.inside_value(c"user.x", capability.clone()), capability);
    }

    #[test]
    fn only_what_files_need_is_known() {
        for name in [c"user.x", c"security.capability", c"user.overlay.opaque"] {
            assert!(is_known(name), "{name:?}");
        }
        for name in [c"trusted.overlay.redirect", c"user.overlay.redirect", c"security.selinux", c"system.nfs4_acl"] {
            assert!(!is_known(name), "{name:?}");
        }
    }
}
