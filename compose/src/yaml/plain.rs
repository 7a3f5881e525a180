//! What a scalar without quotes means where nothing says what it should be:
//! YAML 1.2's core schema (section 10.3.2).

use super::Data;

/// Nothing at all, `~` and `null`.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads a plain scalar. A number with a leading zero stays a text: YAML 1.1
/// takes it as octal, 1.2 as decimal.
pub(crate) fn resolve(text: &str) -> Data {
    if is_null(text) {
        return Data::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Data::Bool(true),
        "false" | "False" | "FALSE" => return Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Data::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Data::Int(number);
    }
    match float(text) {
        Some(number) => Data::Float(number),
        None => Data::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits_only(digits)
            .then(|| i64::from_str_radix(digits, 16).ok())
            .flatten();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits_only(digits)
            .then(|| i64::from_str_radix(digits, 8).ok())
            .flatten();
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let leading = digits.len() > 1 && digits.starts_with('0');
    (decimal && !leading).then(|| text.parse().ok()).flatten()
}

fn digits_only(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn float(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(sign * f64::INFINITY);
    }
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let number = mantissa
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && (mantissa.contains('.') || mantissa.len() < digits.len());
    let leading = mantissa.len() > 1 && mantissa.starts_with('0') && !mantissa.starts_with("0.");
    (number && !leading).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, data) in [
            ("", Data::Null),
            ("~", Data::Null),
            ("yes", Data::Text("yes".into())),
            ("true", Data::Bool(true)),
            ("-12", Data::Int(-12)),
            ("0x1F", Data::Int(31)),
            ("0o17", Data::Int(15)),
            ("0777", Data::Text("0777".into())),
            ("1.10", Data::Float(1.1)),
            ("1e3", Data::Float(1000.0)),
            ("0.5", Data::Float(0.5)),
            (".5", Data::Float(0.5)),
            ("1.2.3", Data::Text("1.2.3".into())),
            ("22:22", Data::Text("22:22".into())),
            (
                "99999999999999999999",
                Data::Text("99999999999999999999".into()),
            ),
            ("e5", Data::Text("e5".into())),
            (".", Data::Text(".".into())),
            ("-.inf", Data::Float(f64::NEG_INFINITY)),
        ] {
            assert_eq!(resolve(text), data, "{text:?}");
        }
    }
}
