//! Numbers before nouns.

/// `1 call`, `2 calls`, `2 sandboxes`.
pub(crate) fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let ending = match number {
        1 => "",
        _ if noun.ends_with('x') => "es",
        _ => "s",
    };
    format!("{number} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn one_has_no_s() {
        assert_eq!(
            [count(0_u64, "call"), count(1_usize, "call"), count(2_u32, "call")],
            ["0 calls", "1 call", "2 calls"]
        );
        assert_eq!(count(3_u32, "sandbox"), "3 sandboxes");
    }
}
