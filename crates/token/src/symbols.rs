//! Biscuit's symbol tables: numbers in blocks stand for strings.
//!
//! First-party blocks share one table that grows along the token. A
//! third-party block has a table of its own, and the shared one skips it.

use crate::denial::Denial;

/// The strings that every Biscuit table starts with (the Biscuit specification, "symbol table").
const DEFAULT: [&str; 28] = [
    "read",
    "write",
    "resource",
    "operation",
    "right",
    "time",
    "role",
    "owner",
    "tenant",
    "namespace",
    "user",
    "team",
    "service",
    "admin",
    "email",
    "group",
    "member",
    "ip_address",
    "client",
    "client_ip",
    "domain",
    "path",
    "version",
    "cluster",
    "node",
    "hostname",
    "nonce",
    "query",
];

/// The number of the first string that a block adds.
const OFFSET: u64 = 1024;

/// A table that grows by the symbols of each block that belongs to it.
#[derive(Default)]
pub(crate) struct Symbols(Vec<String>);

impl Symbols {
    /// Adds a block's own symbols. Each string has one number, or the token
    /// would read differently elsewhere.
    pub(crate) fn extend(&mut self, block: usize, added: Vec<String>) -> Result<(), Denial> {
        for symbol in added {
            if DEFAULT.contains(&symbol.as_str()) || self.0.contains(&symbol) {
                return Err(Denial::outside(block, "a symbol is declared twice"));
            }
            self.0.push(symbol);
        }
        Ok(())
    }

    pub(crate) fn get(&self, number: u64) -> Option<&str> {
        match number.checked_sub(OFFSET) {
            Some(own) => self.0.get(usize::try_from(own).ok()?).map(String::as_str),
            None => DEFAULT.get(usize::try_from(number).ok()?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_the_offset_are_the_default_strings() {
        let mut symbols = Symbols::default();
        symbols.extend(0, vec!["scope".into()]).unwrap();
        assert_eq!(symbols.get(5), Some("time"));
        assert_eq!(symbols.get(27), Some("query"));
        assert_eq!(symbols.get(28), None);
        assert_eq!(symbols.get(1024), Some("scope"));
        assert_eq!(symbols.get(1025), None);
        assert_eq!(symbols.get(u64::MAX), None);
    }

    #[test]
    fn a_symbol_has_one_number() {
        let mut symbols = Symbols::default();
        assert!(symbols.extend(0, vec!["time".into()]).is_err());
        assert!(symbols.extend(0, vec!["a".into(), "a".into()]).is_err());
    }
}
