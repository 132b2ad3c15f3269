//! A filter that lets system calls which need more than one id appear to succeed.

use std::io;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

#[cfg(target_arch = "x86_64")]
const OLD_CHOWN: &[libc::c_long] = &[libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CHOWN: &[libc::c_long] = &[];

const CALLS: &[libc::c_long] = &[
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
];

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

const fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

/// Makes `chown`, `setuid` and their kin return 0 without doing anything, in this process and all it starts.
pub fn pretend_ids() -> io::Result<()> {
    let calls: Vec<_> = CALLS.iter().chain(OLD_CHOWN).collect();
    let mut filter = vec![
        statement(LOAD, ARCH),
        // Another architecture's numbers mean other calls: leave those alone.
        libc::sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: ARCHITECTURE },
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
        statement(LOAD, NUMBER),
    ];
    for (n, call) in calls.iter().enumerate() {
        let to_the_end = (calls.len() - n) as u8;
        filter.push(libc::sock_filter { code: JUMP_IF_EQUAL, jt: to_the_end, jf: 0, k: **call as u32 });
    }
    filter.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    filter.push(statement(RETURN, libc::SECCOMP_RET_ERRNO));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program lives through the call, and its length is right.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
