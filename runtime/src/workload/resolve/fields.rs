//! What the long forms of flags share: `key=value` fields between commas.

/// Fields between commas; a field in double quotes may hold commas, and a doubled
/// quote in it is a quote (RFC 4180). `None` when a quote is not closed.
pub(super) fn split_csv(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

/// A name of a network or an instance: a letter or digit, then letters, digits, `_`,
/// `.` and `-`. The error is the end of a sentence.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name has at most {MAX_NAME} characters"));
    }
    if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!(
            "{name:?} is not a name: only letters, digits, `_`, `.` and `-` can be in it, a letter or digit first"
        ));
    }
    Ok(())
}

/// Longest name, in bytes (NAME_MAX of limits.h).
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_may_hold_commas() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[""])),
            ("a=1,b", Some(&["a=1", "b"])),
            (r#""a=1,2",b"#, Some(&["a=1,2", "b"])),
            (r#""a=""q""",b"#, Some(&[r#"a="q""#, "b"])),
            (r#"a="1,2"#, None),
        ];
        for (text, wanted) in table {
            let wanted = wanted.map(|fields| fields.iter().map(|f| (*f).to_owned()).collect());
            assert_eq!(split_csv(text), wanted, "{text}");
        }
    }

    #[test]
    fn names_can_not_lead_elsewhere() {
        for name in ["a", "0", "web-db_1.2", &"x".repeat(255)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-a",
            "_a",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
