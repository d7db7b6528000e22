//! The one spelling of a path: what a decision sees, and what an upstream gets.
//!
//! Servers differ in how they read `%2e`, `//`, `;` or `\`. A path that two
//! servers could read as two paths is refused; what is left has one spelling.

use std::borrow::Cow;

/// The canonical spelling of the path of a request target, or why there is none.
///
/// Escapes of characters that may stand in a segment by themselves are decoded,
/// the digits of all others are in capitals, and what must be escaped is.
///
/// RFC 3986 section 6.2.2 decodes unreserved characters only. Here `:`, `@` and
/// most of the `sub-delims` are decoded as well: upstreams do it before they
/// route, so that `/%40all` would else reach what `deny("*", "/@all")` names.
/// `%2B` stays, since some servers read a plain `+` as a space.
///
/// INVARIANT: canonical paths are fixed points.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("the request target is not a path that starts with `/`");
    }
    let path = if path.bytes().all(is_plain) {
        Cow::Borrowed(path)
    } else {
        respelled(path)?
    };
    check_segments(&path)?;
    Ok(path)
}

/// Whether a character is written as itself, whatever stands around it.
const fn is_plain(b: u8) -> bool {
    matches!(b, b'/' | b'+') || is_decoded(b)
}

/// Whether the escape of a character is decoded.
const fn is_decoded(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

fn respelled(path: &str) -> Result<Cow<'_, str>, &'static str> {
    let mut out = String::with_capacity(path.len() + 16);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = bytes.next().zip(bytes.next());
                let byte = digits.and_then(|(high, low)| Some(hex(high)? << 4 | hex(low)?));
                match byte.ok_or("the path holds a `%` that starts no escape")? {
                    // SECURITY: a server that decodes before it splits sees
                    // other segments than one that splits before it decodes.
                    b'/' | b'\\' | b'.' | b';' => {
                        return Err("the path holds an escaped `/`, `\\`, `.` or `;`");
                    }
                    0..=0x1f | 0x7f => return Err("the path holds a control character"),
                    byte if is_decoded(byte) => out.push(char::from(byte)),
                    byte => escape(&mut out, byte),
                }
            }
            b'\\' => return Err("the path holds a `\\`"),
            b';' => return Err("the path holds a `;`: path parameters are not supported"),
            0..=0x20 | 0x7f => return Err("the path holds a control character or a space"),
            0x80.. => return Err("the path holds a character that is not ASCII and not escaped"),
            byte if is_plain(byte) => out.push(char::from(byte)),
            byte => escape(&mut out, byte),
        }
    }
    // SECURITY: `%252e` is `.` to a server that decodes twice. The result is
    // searched, so that `%25%32%65` is found too.
    let escapes_an_escape = out.match_indices("%25").any(|(at, _)| {
        let mut next = out.bytes().skip(at + 3);
        let both = next.next().zip(next.next());
        both.is_some_and(|(high, low)| high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    });
    if escapes_an_escape {
        return Err("the path is escaped twice");
    }
    Ok(if out == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(out)
    })
}

fn check_segments(path: &str) -> Result<(), &'static str> {
    if path.contains("//") {
        return Err("the path holds an empty segment (`//`)");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("the path holds a `.` or `..` segment");
    }
    Ok(())
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn escape(out: &mut String, byte: u8) {
    let digit = |value: u8| {
        char::from_digit(u32::from(value), 16)
            .unwrap_or('0')
            .to_ascii_uppercase()
    };
    out.extend(['%', digit(byte >> 4), digit(byte & 0x0f)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/api/x", "/api/x"),
            ("/api/x/", "/api/x/"),
            ("/%61pi/%7Euser", "/api/~user"),
            ("/a%20b/%c3%a9", "/a%20b/%C3%A9"),
            ("/%40all", "/@all"),
            ("/c++/a%2bb", "/c++/a%2Bb"),
            ("/a[1]|{x}", "/a%5B1%5D%7C%7Bx%7D"),
            ("/100%25", "/100%25"),
            ("/100%25/x", "/100%25/x"),
            ("/a.b/...", "/a.b/..."),
            ("/%3Fq%23f", "/%3Fq%23f"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_canonical_is_not_copied() {
        for path in ["/api/x", "/a%20b", "/c++/a%2Bb"] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "*",
            "api",
            "http://x/",
            "//",
            "//api",
            "/api//x",
            "/api//",
            "/.",
            "/..",
            "/./x",
            "/a/../b",
            "/a/..",
            "/%2e%2e/x",
            "/%2E",
            "/a%2eb",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;x=1",
            "/a%3bx",
            "/%00",
            "/a%0d%0aX:y",
            "/a%7f",
            "/a\u{1}",
            "/a b",
            "/é",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%252e%252e/x",
            "/%25%32%65",
            "/%2%35",
        ] {
            assert!(canonical(path).is_err(), "{path:?}");
        }
    }

    /// Texts that are rich in what matters here.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zA-Z0-9._~!$&'()*,=:@+/-]{0,4}",
            "[ -~]{0,3}",
            "%[0-9a-fA-F]{2}",
            "%25",
            Just("/".to_owned()),
            Just("..".to_owned()),
            ".{0,2}",
        ];
        proptest::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// All that an upstream could make of a path by decoding it once.
    fn decoded(path: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = path.bytes();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'%' => {
                    let (high, low) = (bytes.next().unwrap(), bytes.next().unwrap());
                    hex(high).unwrap() << 4 | hex(low).unwrap()
                }
                byte => byte,
            });
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn canonical_paths_are_fixed_points(path in paths()) {
            if let Ok(first) = canonical(&path) {
                prop_assert_eq!(canonical(&first), Ok(Cow::Borrowed(&*first)));
            }
        }

        #[test]
        fn respelling_keeps_what_the_path_means(path in paths()) {
            if let Ok(spelled) = canonical(&path) {
                prop_assert_eq!(decoded(&path), decoded(&spelled));
            }
        }

        #[test]
        fn an_upstream_that_decodes_finds_the_same_segments(path in paths()) {
            if let Ok(spelled) = canonical(&path) {
                let seen = decoded(&spelled);
                let segments = |bytes: &[u8]| bytes.split(|b| *b == b'/').count();
                prop_assert_eq!(segments(&seen), segments(spelled.as_bytes()));
                prop_assert!(seen.split(|b| *b == b'/').all(|s| s != b"." && s != b".."));
                prop_assert!(!seen.iter().any(|b| *b < 0x20 || *b == 0x7f || *b == b'\\'));
            }
        }

        #[test]
        fn two_spellings_of_one_path_become_one(path in "/[a-zA-Z0-9_~:@/-]{0,12}", at in 0_usize..12) {
            if let Ok(spelled) = canonical(&path) {
                let other: String = path.chars().enumerate().map(|(i, c)| {
                    if i == at && c != '/' { format!("%{:02x}", u32::from(c)) } else { c.to_string() }
                }).collect();
                prop_assert_eq!(canonical(&other), Ok(spelled));
            }
        }
    }
}
